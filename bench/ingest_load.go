package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A load is what the process that sends events is asked to do.
type loadJob struct {
	Addr     string        // host:port
	Path     string        // with the table
	Key      string        // ingest key
	Conns    int           // keep-alive connections
	For      time.Duration // how long it sends
	Rate     float64       // requests a second in all; 0: as many as it can
	Prefix   string        // of the ids
	Distinct int           // ids; 0: each request has a new one
}

// A loaded is what came of it.
type loaded struct {
	Requests int
	Took     time.Duration
	P50, P99 time.Duration
}

// load is the process that sends events. It writes requests and reads answers
// by hand, because it shares the processors with the server.
func load(args []string) error {
	var job loadJob
	if err := json.Unmarshal([]byte(args[0]), &job); err != nil {
		return err
	}
	var sent atomic.Int64
	times := make([][]time.Duration, job.Conns)
	errs := make([]error, job.Conns)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range job.Conns {
		wg.Go(func() { times[i], errs[i] = job.send(&sent, began, i) })
	}
	wg.Wait()
	out := loaded{Took: time.Since(began)}
	all := slices.Concat(times...)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	slices.Sort(all)
	out.Requests, out.P50, out.P99 = len(all), all[len(all)/2], all[len(all)*99/100]
	return json.NewEncoder(os.Stdout).Encode(out)
}

// send sends on one connection until the time is over.
func (j *loadJob) send(sent *atomic.Int64, began time.Time, n int) ([]time.Duration, error) {
	c, err := net.Dial("tcp", j.Addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	var times []time.Duration
	var buf bytes.Buffer
	for k := 0; time.Since(began) < j.For; k++ {
		if j.Rate > 0 { // each connection has its own share of the rate, from a place of its own in the interval
			interval := time.Duration(float64(time.Second) * float64(j.Conns) / j.Rate)
			at := began.Add(time.Duration(k)*interval + interval*time.Duration(n)/time.Duration(j.Conns))
			time.Sleep(time.Until(at))
		}
		id := sent.Add(1)
		if j.Distinct > 0 {
			id %= int64(j.Distinct)
		}
		body := eventBody(j.Prefix, int(id), 0)
		buf.Reset()
		fmt.Fprintf(&buf, "POST %s HTTP/1.1\r\nHost: %s\r\nX-Ingest-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", j.Path, j.Addr, j.Key, len(body))
		buf.WriteString(body)
		start := time.Now()
		if _, err := c.Write(buf.Bytes()); err != nil {
			return nil, err
		}
		if err := readAnswer(in); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// readAnswer reads a response with a length, which must be 200.
func readAnswer(in *bufio.Reader) error {
	status, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			break
		}
		if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return err
			}
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200") {
		return fmt.Errorf("answer %s %s", strings.TrimSpace(status), body)
	}
	return nil
}

// eventBody is a resource of about 1 KB.
func eventBody(prefix string, id, variant int) string {
	return fmt.Sprintf(`{"employeeId":"%s%d","active":true,"updatedAt":%d,"salary":%d.50,"employee":{"username":"user%d","email":"user%d@example.com","phone":"+49 30 %07d","address":{"street":"Main Street %d","city":"Berlin","zip":"%05d"}},"tags":["a","b","c%d"],"note":"%s"}`,
		prefix, id, variant, id%10000, id, id, id%10000000, id%300, id%100000, id%7, strings.Repeat("lorem ipsum ", 58))
}

const eventSchema = `{"type":"object","required":["employeeId"],"properties":{"employeeId":{"type":"string","maxLength":64},"active":{"type":"boolean"},"updatedAt":{"type":"integer","minimum":0},"salary":{"type":"number","minimum":0},
"employee":{"type":"object","required":["username"],"properties":{"username":{"type":"string","maxLength":100},"email":{"type":"string","maxLength":200},"phone":{"type":"string","pattern":"^[+0-9 ]+$"},
"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},"zip":{"type":"string","pattern":"^[0-9]{5}$"}}}}},"tags":{"type":"array","items":{"type":"string"},"maxItems":20},"note":{"type":"string"}},
"kedge":{"id":"employeeId","name":"$.employee.username"}}`
