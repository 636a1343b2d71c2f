package listen_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/cmd/kedge/listen"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/subscriptions/payload"
)

// A room is a receiver and one who pushes to it.
type room struct {
	t    *testing.T
	url  string
	key  signature.Key
	at   time.Time
	told []listen.Push
	x    *listen.Receiver
}

func newRoom(t *testing.T, o listen.Options) *room {
	key, err := signature.NewKey(signature.HMAC)
	if err != nil {
		t.Fatal(err)
	}
	r := &room{t: t, key: key, at: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)}
	o.Keys, o.Now = []signature.Key{key}, func() time.Time { return r.at }
	o.Tell = func(p listen.Push) { r.told = append(r.told, p) }
	r.x = listen.New(o)
	srv := httptest.NewServer(r.x)
	t.Cleanup(srv.Close)
	r.url = srv.URL + o.Path
	return r
}

// push sends a message in a form, signed at a time, and returns what was told
// of it.
func (r *room) push(f payload.Form, m payload.Message, at time.Time, change ...func(*http.Request)) listen.Push {
	r.t.Helper()
	form := f.Request(&m)
	method := f.Method
	if method == "" {
		method = "POST"
	}
	req, err := http.NewRequest(method, r.url, strings.NewReader(string(form.Body)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.URL.RawQuery = form.Query.Encode()
	req.Header = form.Header
	req.Header.Set(signature.HeaderID, m.ID)
	req.Header.Set(signature.HeaderTimestamp, itoa(at.Unix()))
	req.Header.Set(signature.HeaderSignature, signature.Sign([]signature.Key{r.key}, m.ID, at, form.Body))
	req.Header.Set("Kedge-Event", m.Type)
	req.Header.Set("Kedge-Attempt", "1")
	for _, f := range change {
		f(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		r.t.Fatal(err)
	}
	p := r.told[len(r.told)-1]
	if p.Status != resp.StatusCode {
		r.t.Errorf("told %d, answered %d", p.Status, resp.StatusCode)
	}
	return p
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func message(id string, seq int64, resource string) payload.Message {
	return payload.Message{ID: id, Type: "tasks.update", Sequence: seq, Data: payload.Data{Resource: resource, Record: []byte(`{"id":"t"}`)}}
}

// What is told of the signature, in each format.
func TestVerdicts(t *testing.T) {
	r := newRoom(t, listen.Options{})
	for i, f := range []payload.Form{{}, {Format: "cloudevents-structured"}, {Format: "cloudevents-binary"}, {Method: "PUT"}} {
		p := r.push(f, message(itoa(int64(i+1)), int64(i+1), "tasks/t-1"), r.at)
		if p.Verdict != listen.Verified || p.Resource != "tasks/t-1" || p.Sequence != int64(i+1) || p.Type != "tasks.update" || p.Attempt != 1 || len(p.Notes) != 0 {
			t.Errorf("%v: %+v", f, p)
		}
	}
	if p := r.push(payload.Form{Method: "GET"}, message("get", 9, ""), r.at); p.Verdict != listen.Verified || p.Sequence != 9 {
		t.Errorf("GET: %+v", p)
	}
	if r.x.Bad() {
		t.Error("bad, though all were verified and in order")
	}
	for _, tt := range []struct {
		name   string
		at     time.Time
		change func(*http.Request)
		want   string
	}{
		{"299 s old", r.at.Add(-299 * time.Second), func(*http.Request) {}, listen.Verified},
		{"301 s old", r.at.Add(-301 * time.Second), func(*http.Request) {}, listen.TooOld},
		{"another signature", r.at, func(q *http.Request) { q.Header.Set(signature.HeaderSignature, "v1,AAAA") }, listen.BadSignature},
		{"no signature", r.at, func(q *http.Request) { q.Header.Del(signature.HeaderSignature) }, listen.BadSignature},
		{"another id", r.at, func(q *http.Request) { q.Header.Set(signature.HeaderID, "x") }, listen.BadSignature},
	} {
		if p := r.push(payload.Form{}, message(tt.name, 0, ""), tt.at, tt.change); p.Verdict != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, p.Verdict, tt.want)
		}
	}
	if !r.x.Bad() {
		t.Error("not bad")
	}
}

// Duplicates, gaps and pushes out of order are told; retries and replays are
// none of these.
func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse bool // the first
		seqs   []int64
		notes  string // of the last one
		bad    bool
	}{
		{"in order", false, []int64{1, 2, 3}, "", false},
		{"again after 2xx", false, []int64{1, 2, 2}, "duplicate", false},
		{"older after newer", false, []int64{2, 1}, "OUT OF ORDER", true},
		{"retry", true, []int64{1, 1}, "", false},
		{"next before the refused one", true, []int64{1, 2}, "OUT OF ORDER", true},
	} {
		o := listen.Options{}
		if tt.refuse {
			o.Respond, o.First = 503, 1
		}
		r := newRoom(t, o)
		var p listen.Push
		for _, seq := range tt.seqs {
			p = r.push(payload.Form{}, message(itoa(seq), seq, "tasks/t-1"), r.at)
		}
		if strings.Join(p.Notes, ",") != tt.notes || r.x.Bad() != tt.bad {
			t.Errorf("%s: %v, bad %v", tt.name, p.Notes, r.x.Bad())
		}
	}
	r := newRoom(t, listen.Options{})
	r.push(payload.Form{}, message("2", 2, "tasks/t-1"), r.at)
	if p := r.push(payload.Form{}, message("1", 1, "tasks/t-1"), r.at, func(q *http.Request) { q.Header.Set("Kedge-Replay", "true") }); !p.Replay || len(p.Notes) != 0 {
		t.Errorf("replay: %+v", p)
	}
	r.push(payload.Form{}, message("other", 1, "tasks/t-2"), r.at)
	m := message("4", 4, "tasks/t-1")
	m.Gap = &payload.Gap{ID: 7, From: 3, To: 3, Count: 1, Reason: "dead"}
	for _, f := range []string{"standard", "cloudevents-structured", "cloudevents-binary"} {
		m.ID += "x"
		m.Sequence++
		if p := r.push(payload.Form{Format: f}, m, r.at); strings.Join(p.Notes, ",") != "gap 7 (dead): 3 to 3" {
			t.Errorf("%s: %v", f, p.Notes)
		}
	}
	if r.x.Bad() {
		t.Error("bad, though nothing was out of order")
	}
}

// Handshakes are answered, and other paths are not there.
func TestHandshakes(t *testing.T) {
	r := newRoom(t, listen.Options{Path: "/secret", Respond: 503})
	m := payload.Message{ID: "v", Type: "kedge.verify", Data: payload.Data{More: []byte(`"challenge":"abc"`)}}
	if p := r.push(payload.Form{}, m, r.at); p.Status != 200 || p.Verdict != listen.Verified {
		t.Errorf("challenge: %+v", p)
	}
	req, err := http.NewRequest("OPTIONS", r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("WebHook-Request-Origin", "kedge.example.com")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("WebHook-Allowed-Origin") != "kedge.example.com" {
		t.Errorf("OPTIONS: %v", resp.Header)
	}
	if resp, err = http.Get(strings.Replace(r.url, "secret", "other", 1)); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 || len(r.told) != 1 {
		t.Errorf("another path: %d, told %v", resp.StatusCode, r.told)
	}
}

// What is forwarded arrives as it came, and its answer goes back.
func TestForward(t *testing.T) {
	var got *http.Request
	var body []byte
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		got = q
		body, _ = io.ReadAll(q.Body)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer target.Close()
	u, err := url.Parse(target.URL + "/hook")
	if err != nil {
		t.Fatal(err)
	}
	hc, err := httpclient.New(httpclient.Options{Origin: u})
	if err != nil {
		t.Fatal(err)
	}
	defer hc.Close()
	r := newRoom(t, listen.Options{Forward: u, Client: hc})
	if p := r.push(payload.Form{}, message("1", 1, "tasks/t-1"), r.at); p.Status != http.StatusTeapot {
		t.Errorf("answered %d", p.Status)
	}
	if err := signature.Verify([]signature.Key{r.key}, got.Header, body, r.at); err != nil || got.URL.Path != "/hook" {
		t.Errorf("forwarded to %s: %v", got.URL, err)
	}
	target.Close()
	if p := r.push(payload.Form{}, message("2", 2, "tasks/t-1"), r.at); p.Status != http.StatusBadGateway {
		t.Errorf("answered %d when the target is gone", p.Status)
	}
}
