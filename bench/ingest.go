package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"database/sql"
)

const (
	ingestConns = 64
	ingestFor   = 4 * time.Second
	ingestKey   = "0123456789abcdef0123456789abcdef"
	ingestPath  = "/integration/custom-data/event/b_employee"
	bulkPath    = "/integration/custom-data/bulk-event/b_employee"
	bigScope    = 1_000_000
)

// A pushed is a server that takes pushed data: kedge, or the floor.
type pushed struct {
	b    *bench
	cmd  *exec.Cmd
	addr string
}

// ingest measures pushed data: events by req/s and by CPU, their time at half
// load, and bulks by CPU.
func (b *bench) ingest() ([]row, error) {
	for name, text := range map[string]string{"event.schema.json": eventSchema, "ingest.yaml": `version: 1
store: {dsn: "sqlite:ingest.db"}
server: {listen: "127.0.0.1:0"}
log: {level: warn}
ingest:
  groups: [{name: Bench, prefix: b}]
  schemas: [{group: Bench, table: employee, file: event.schema.json, maxRemoved: {percent: 1, min: 100000}}]
  integrations: [{name: bench, tables: [b_employee], keys: [{name: bench, from: ` + ingestKey + `}]}]
`} {
		if err := os.WriteFile(b.path(name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	kedge, err := b.pushTo("kedge", "--config", "ingest.yaml", "serve")
	if err != nil {
		return nil, err
	}
	defer kedge.stop()
	floor, err := b.pushTo("floor-ingest", "event.schema.json", "sqlite:floor-ingest.db")
	if err != nil {
		return nil, err
	}
	defer floor.stop()
	var rows []row
	for _, measure := range []func(kedge, floor *pushed) ([]row, error){b.events, b.bulks, b.bigBulk} {
		r, err := measure(kedge, floor)
		if err != nil {
			return rows, err
		}
		rows = append(rows, r...)
	}
	return append(rows, atMost("RSS of the server under this load", float64(kedge.rss()>>20), 200, "%.0f MiB")), nil
}

// pushTo starts a server and waits until it listens.
func (b *bench) pushTo(program string, args ...string) (*pushed, error) {
	p := &pushed{b: b, cmd: exec.CommandContext(b.ctx, b.path(program), args...)}
	p.cmd.Dir, p.cmd.Stderr = b.dir, os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s does not listen: %w", program, err)
	}
	u, err := url.Parse(line[strings.Index(line, "http://") : len(line)-1])
	if err != nil {
		return nil, err
	}
	p.addr = u.Host
	return p, nil
}

func (p *pushed) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// cpu is what the server took until now.
func (p *pushed) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// rss is the most that it ever had.
func (p *pushed) rss() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// A sample is one run of load on a server.
type sample struct {
	rate float64       // requests a second
	cpu  time.Duration // of the server, a request
	p99  time.Duration
}

func (p *pushed) load(job loadJob) (sample, error) {
	job.Addr, job.Path, job.Key, job.Conns, job.For = p.addr, ingestPath, ingestKey, ingestConns, ingestFor
	text, err := json.Marshal(job)
	if err != nil {
		return sample{}, err
	}
	exe, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	before := p.cpu()
	var out loaded
	if _, err := p.b.runJSON(&out, exe, "load", string(text)); err != nil {
		return sample{}, err
	}
	return sample{float64(out.Requests) / out.Took.Seconds(), (p.cpu() - before) / time.Duration(out.Requests), out.P99}, nil
}

// events measures events of 1 KB that are new, and that are not.
func (b *bench) events(kedge, floor *pushed) ([]row, error) {
	var rows []row
	half := 0.0
	for _, kind := range []struct {
		name       string
		distinct   int
		rate, cpus float64
	}{{"new", 0, 0.40, 2.0}, {"unchanged", 2000, 0.60, 1.4}} {
		var ks, fs []sample
		for n := range b.pairs {
			prefix := fmt.Sprintf("%s%d-", kind.name, n)
			if kind.distinct > 0 {
				prefix = "same"
				if _, err := kedge.load(loadJob{Prefix: prefix, Distinct: kind.distinct}); err != nil {
					return nil, err
				}
			}
			k, err := kedge.load(loadJob{Prefix: prefix, Distinct: kind.distinct})
			if err != nil {
				return nil, err
			}
			f, err := floor.load(loadJob{Prefix: prefix, Distinct: kind.distinct})
			if err != nil {
				return nil, err
			}
			ks, fs = append(ks, k), append(fs, f)
		}
		rateOf := func(s sample) float64 { return s.rate }
		cpuOf := func(s sample) time.Duration { return s.cpu }
		kr, fr := middle(ks, rateOf), middle(fs, rateOf)
		kc, fc := middle(ks, cpuOf), middle(fs, cpuOf)
		r := atLeast("event 1 KB, "+kind.name+", req/s", kr/fr, kind.rate, "%.2f")
		r.Kedge, r.Floor = fmt.Sprintf("%.0f/s", kr), fmt.Sprintf("%.0f/s", fr)
		c := atMost("event 1 KB, "+kind.name+", CPU a request", float64(kc)/float64(fc), kind.cpus, "%.2f")
		c.Kedge, c.Floor = kc.String(), fc.String()
		rows = append(rows, r, c)
		if half == 0 {
			half = kr / 2
		}
	}
	s, err := kedge.load(loadJob{Prefix: "half", Rate: half})
	if err != nil {
		return nil, err
	}
	r := atMost("event 1 KB, new, p99 at half load", float64(s.p99.Microseconds())/1000, 50, "%.1f ms")
	r.Kedge = fmt.Sprintf("%.0f/s", s.rate)
	return append(rows, r), nil
}

// post sends a body and returns what the server took for it.
func (p *pushed) post(path string, body []byte, want int) (cpu, wall time.Duration, err error) {
	before, began := p.cpu(), time.Now()
	req, err := http.NewRequestWithContext(p.b.ctx, "POST", "http://"+p.addr+path, bytes.NewReader(body))
	if err != nil {
		return 0, 0, err
	}
	req.Header.Set("X-Ingest-Key", ingestKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != want {
		err = fmt.Errorf("%s: %d %s", path, res.StatusCode, text)
	}
	return p.cpu() - before, time.Since(began), err
}

// list is a bulk of resources of 1 KB, of which those with changed(i) differ by
// the variant.
func list(prefix string, bytesMax, most int, variant func(i int) int) []byte {
	out := []byte{'['}
	for i := 0; i < most; i++ {
		e := eventBody(prefix, i, variant(i))
		if len(out)+len(e)+2 > bytesMax {
			break
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, e...)
	}
	return append(out, ']')
}

// bulks measures lists of 4 MB into groups of their own: all new, and 1 %
// changed. Several in a row, because the clock of CPU time is coarse.
func (b *bench) bulks(kedge, floor *pushed) ([]row, error) {
	const times = 8
	var rows []row
	for _, kind := range []struct {
		name   string
		budget float64
	}{{"new", 2.0}, {"1 % changed", 1.4}} {
		var ks, fs []time.Duration
		for n := range b.pairs {
			var k, f time.Duration
			for i := range times {
				group := fmt.Sprintf("?groupKey=n%d-%d", n, i)
				body := list("b", 4<<20, 1<<20, func(int) int { return 0 })
				if kind.name != "new" {
					group = "?groupKey=n0-0"
					body = list("b", 4<<20, 1<<20, func(j int) int {
						if j%100 == 0 {
							return 1 + n*times + i
						}
						return 0
					})
				}
				cpu, _, err := kedge.post(bulkPath+group, body, 200)
				if err != nil {
					return nil, err
				}
				k += cpu
				if cpu, _, err = floor.post(bulkPath, body, 200); err != nil {
					return nil, err
				}
				f += cpu
			}
			ks, fs = append(ks, k/times), append(fs, f/times)
		}
		same := func(d time.Duration) time.Duration { return d }
		kc, fc := middle(ks, same), middle(fs, same)
		r := atMost("bulk 4 MB of 1 KB, "+kind.name+", CPU", float64(kc)/float64(fc), kind.budget, "%.2f")
		r.Kedge, r.Floor = short(kc), short(fc)
		rows = append(rows, r)
	}
	return rows, nil
}

// bigBulk measures a list of 1,000 into a scope of 1,000,000, up to the removals
// (the breaker refuses them), against reading ids and hashes in order.
func (b *bench) bigBulk(kedge, _ *pushed) ([]row, error) {
	db, err := sql.Open("sqlite", "file:"+b.path("ingest.db")+"?_pragma=busy_timeout(60000)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	const fill = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)
INSERT INTO ingest_resource (schema_no, group_key, id, data, hash, schema_version, valid, seq, created_at, updated_at)
SELECT 1, 'big', printf('r%07d', i), '{}', randomblob(16), 1, 1, -i, 0, 0 FROM n`
	if _, err := db.ExecContext(b.ctx, fill); err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(b.ctx, "INSERT INTO ingest_scope (schema_no, group_key, live) VALUES (1, 'big', 1000000)"); err != nil {
		return nil, err
	}
	body := list("r", 4<<20, 1000, func(int) int { return 0 })
	var ks, fs []time.Duration
	for range b.pairs {
		_, wall, err := kedge.post(bulkPath+"?groupKey=big", body, http.StatusConflict)
		if err != nil {
			return nil, err
		}
		began := time.Now()
		if err := readScope(b, db); err != nil {
			return nil, err
		}
		ks, fs = append(ks, wall), append(fs, time.Since(began))
	}
	same := func(d time.Duration) time.Duration { return d }
	k, f := middle(ks, same), middle(fs, same)
	r := atMost("bulk of 1,000 into a scope of 1,000,000, before removals", float64(k)/float64(f), 1.5, "%.2f")
	r.Kedge, r.Floor = short(k), short(f)
	return []row{r}, nil
}

func readScope(b *bench, db *sql.DB) error {
	rows, err := db.QueryContext(b.ctx, "SELECT id, hash FROM ingest_resource WHERE schema_no = 1 AND group_key = 'big' ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var id string
		var hash sql.RawBytes
		if err := rows.Scan(&id, &hash); err != nil {
			return err
		}
		n++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if n < bigScope {
		return fmt.Errorf("%d of %d rows", n, bigScope)
	}
	return nil
}
