package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// TestChild is the server that the tests below kill, and does nothing alone. It
// kills itself at the point of INGEST_KILL, which its parent arms by a request.
func TestChild(t *testing.T) {
	dsn := os.Getenv("INGEST_CHILD")
	if dsn == "" {
		return
	}
	s, err := store.Open(t.Context(), dsn, nil)
	if err != nil {
		t.Fatal(err)
	}
	var armed atomic.Bool
	service, err := ingest.New(ingest.Options{Store: s, Publisher: &publisher{}, Hook: func(point string) {
		if armed.Load() && point == os.Getenv("INGEST_KILL") {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	r := mux.NewRouter()
	service.Routes(r)
	r.HandleFunc("/arm", func(http.ResponseWriter, *http.Request) { armed.Store(true) })
	srv := http.Server{Handler: httpapi.WithRequestID(r)}
	l := listen(t)
	fmt.Println("http://" + l.Addr().String())
	go srv.Serve(l)
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
}

// child starts a server on w's database, which is killed at a point once it is
// armed, and makes w send to it. What it returns kills it and waits.
func (w *world) child(dsn, point string) (kill func()) {
	w.t.Helper()
	exe, err := os.Executable()
	w.must(err)
	cmd := exec.Command(exe, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "INGEST_CHILD="+dsn, "INGEST_KILL="+point)
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	w.must(err)
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatalf("the child said %q: %v", line, err)
	}
	w.url = strings.TrimSpace(line)
	end := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	w.t.Cleanup(end)
	return end
}

// A request that is killed at any of its steps has happened as a whole or not
// at all: before COMMIT not, after it yes.
func TestKilledAtEachStep(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		w := newWorld(t, storetest.Open(t, dsn, ingest.Migrations()...), ingest.Options{})
		w.exec(outbox)
		parent := w.url
		for n, point := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "commit", "committed"} {
			group := fmt.Sprintf("?groupKey=g%d", n)
			w.url = parent
			w.bulk(group, `[{"employeeId":"a"},{"employeeId":"b"},{"employeeId":"c"}]`).is(200)
			seq := w.count("SELECT seq FROM ingest_head")
			kill := w.child(dsn, point)
			w.arm()
			list := `[{"employeeId":"a","salary":1},{"employeeId":"b"},{"employeeId":"d"}]`
			if err := w.dies(group, list); err == nil {
				t.Errorf("%s: the server was not killed", point)
			}
			kill()
			happened := point == "committed"
			want := [4]int{3, 0, seq, 3}
			if happened {
				want = [4]int{3, 1, seq + 3, 6}
			}
			got := [4]int{
				w.count("SELECT count(*) FROM hr_employee WHERE _group_key = ?", group[10:]),
				w.count("SELECT count(*) FROM hr_employee WHERE _group_key = ? AND _id = 'd'", group[10:]),
				w.count("SELECT seq FROM ingest_head"),
				w.count("SELECT count(*) FROM ingest_change WHERE group_key = ?", group[10:]),
			}
			if got != want {
				t.Errorf("killed at %s: live, d, seq, history are %v, want %v", point, got, want)
			}
			if told := w.count("SELECT count(*) FROM test_outbox"); told > 0 != happened {
				t.Errorf("killed at %s: %d events are published", point, told)
			}
			// The sender tries again.
			w.url = parent
			if again := w.bulk(group, list).is(200); happened {
				again.has("unchanged", 3)
			} else {
				again.has("created", 1, "updated", 1, "removed", 1)
			}
		}
	})
}

func (w *world) arm() {
	w.t.Helper()
	res, err := http.Get(w.url + "/arm")
	w.must(err)
	res.Body.Close()
}

// dies sends a bulk and returns the error of the connection.
func (w *world) dies(query, body string) error {
	req, err := http.NewRequest("POST", w.url+base+"/bulk-event/employee"+query, strings.NewReader(body))
	w.must(err)
	req.Header.Set("X-Ingest-Key", w.key)
	res, err := http.DefaultClient.Do(req)
	if err == nil {
		res.Body.Close()
	}
	return err
}

// Acceptance 15: kill -9 under 10,000 events and bulks among them: every 200 is
// stored, and no bulk is half there.
func TestKilledUnderLoad(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		w := newWorld(t, storetest.Open(t, dsn, ingest.Migrations()...), ingest.Options{})
		const events, senders, perBulk = loadEvents, 32, 20
		var sent, answered atomic.Int64
		var mu sync.Mutex
		stored := map[string]bool{}
		next, kills := int64(events/3), 0
		kill := w.child(dsn, "")
		for sent.Load() < events {
			var wg sync.WaitGroup
			stop := make(chan struct{})
			stopped := sync.OnceFunc(func() { close(stop) })
			url := w.url
			for range senders {
				wg.Go(func() {
					client := &http.Client{Transport: &http.Transport{}}
					defer client.CloseIdleConnections()
					for {
						n := sent.Add(1)
						if n > events {
							return
						}
						id := fmt.Sprintf("e%d", n)
						if !w.deliver(client, url, id, n%200 == 0, perBulk) {
							stopped()
							return
						}
						mu.Lock()
						stored[id] = true
						mu.Unlock()
						if a := answered.Add(1); a == next && kills < 2 {
							kill()
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			wg.Wait()
			kills++
			next += int64(events / 3)
			if sent.Load() < events {
				kill = w.child(dsn, "")
			}
		}
		kill()
		if kills < 3 {
			t.Errorf("the server was killed %d times, want 2", kills-1)
		}
		w.allStored(stored, perBulk)
	})
}

// deliver sends an event, or a bulk in a group of its own, and tells whether
// the answer was 200.
func (w *world) deliver(client *http.Client, url, id string, bulk bool, n int) bool {
	path, body := "/event/employee", `{"employeeId":"`+id+`","salary":1}`
	if bulk {
		path = "/bulk-event/employee?groupKey=" + id
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`{"employeeId":"%s-%d"}`, id, i))
		}
		body = "[" + strings.Join(list, ",") + "]"
	}
	req, err := http.NewRequestWithContext(context.Background(), "POST", url+base+path, strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("X-Ingest-Key", w.key)
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err == nil && res.StatusCode == 200
}

// allStored compares the database with the answers.
func (w *world) allStored(stored map[string]bool, perBulk int) {
	w.t.Helper()
	var rows []struct {
		GroupKey string
		ID       string
	}
	w.must(w.store.DB().NewRaw("SELECT _group_key AS group_key, _id AS id FROM hr_employee").Scan(context.Background(), &rows))
	found, bulks := map[string]bool{}, map[string]int{}
	for _, r := range rows {
		if r.GroupKey == "" {
			found[r.ID] = true
		} else {
			bulks[r.GroupKey]++
		}
	}
	for id := range stored {
		if !found[id] && bulks[id] == 0 {
			w.t.Errorf("%s was answered 200 and is not stored", id)
		}
	}
	for group, n := range bulks {
		if n != perBulk {
			w.t.Errorf("bulk %s is there by %d of %d", group, n, perBulk)
		}
	}
	head := w.count("SELECT seq FROM ingest_head")
	if n := w.count("SELECT count(*) FROM ingest_change"); n != head || n != len(rows) {
		w.t.Errorf("%d changes, %d rows, last number %d: want one of each", n, len(rows), head)
	}
	if n := w.count("SELECT sum(live) FROM ingest_scope"); n != len(rows) {
		w.t.Errorf("scopes count %d, there are %d", n, len(rows))
	}
	if len(stored) < loadEvents*9/10 {
		w.t.Errorf("only %d requests were answered 200", len(stored))
	}
}
