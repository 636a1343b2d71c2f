package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An eventSender sends events to servers in turn, each again until one has
// answered with 200.
type eventSender struct {
	t    *testing.T
	key  string
	stop chan struct{}
	done chan int

	mu      sync.Mutex
	servers []string
}

// newEventSender makes what the sender needs, and starts it; it sends as soon
// as there is a server.
func newEventSender(s *site) *eventSender {
	s.t.Helper()
	s.write("note.json", `{"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}}`)
	s.kedge(0, "ingest", "groups", "create", "Load", "--prefix", "load")
	s.kedge(0, "ingest", "schemas", "create", "load", "note", "note.json")
	s.kedge(0, "ingest", "integrations", "create", "feed", "load_note")
	out, _ := s.kedge(0, "ingest", "keys", "create", "feed", "test")
	e := &eventSender{t: s.t, stop: make(chan struct{}), done: make(chan int, 1)}
	for word := range strings.FieldsSeq(out) {
		if strings.HasPrefix(word, "kdgi_") {
			e.key = word
		}
	}
	go e.run()
	return e
}

func (e *eventSender) add(url string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.servers = append(e.servers, url)
}

func (e *eventSender) remove(url string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.servers = slices.DeleteFunc(e.servers, func(s string) bool { return s == url })
}

// end stops the sender and returns how many events were accepted.
func (e *eventSender) end() int {
	close(e.stop)
	return <-e.done
}

func (e *eventSender) run() {
	pace := time.NewTicker(10 * time.Millisecond) // the servers have other work, too
	defer pace.Stop()
	accepted := 0
	for turn := 0; ; turn++ {
		select {
		case <-e.t.Context().Done():
			e.done <- accepted
			return
		case <-pace.C:
		}
		select {
		case <-e.stop:
			e.done <- accepted
			return
		default:
		}
		if e.send(turn, accepted) {
			accepted++
		}
	}
}

// send sends the event of a number, and reports whether it was accepted. An
// event whose answer was lost is sent again, to the next server.
func (e *eventSender) send(turn, number int) bool {
	e.mu.Lock()
	servers := slices.Clone(e.servers)
	e.mu.Unlock()
	if len(servers) == 0 {
		return false
	}
	url := servers[turn%len(servers)] + "/integration/custom-data/event/load_note"
	req, err := http.NewRequest("POST", url, strings.NewReader(fmt.Sprintf(`{"id": "n%05d"}`, number)))
	if err != nil {
		e.t.Error(err)
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Ingest-Key", e.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false // it was killed
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK && resp.StatusCode < 500 {
		e.t.Errorf("event: %d %s", resp.StatusCode, text)
	}
	return resp.StatusCode == http.StatusOK
}
