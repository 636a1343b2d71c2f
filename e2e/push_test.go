//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/resources"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// projects is a driver that has a schema and no records.
type projects struct{ connectors.Driver }

func (projects) Schema(context.Context) (*kedge.Schema, error) {
	text := func(name string) kedge.Field { return kedge.Field{Name: name, Type: kedge.TypeString, Nullable: true} }
	return &kedge.Schema{Entities: []kedge.Entity{{Name: "tasks", Key: []string{"id"},
		Fields: []kedge.Field{text("id"), text("subject"), {Name: "hours", Type: kedge.TypeInt}, {Name: "price", Type: kedge.TypeDecimal, Nullable: true}}}}}, nil
}

// A pushed is a request as the receiver got it.
type pushed struct {
	header map[string]string
	body   []byte
}

// A hook is a service, a receiver of its pushes, and a verifier in Node.
type hook struct {
	t       *testing.T
	s       *subscriptions.Service
	db      *store.Store
	url     string
	got     chan pushed
	refuse  chan int // statuses of the next answers
	in      io.Writer
	answers *bufio.Reader
}

func newHook(t *testing.T) *hook {
	h := &hook{t: t, got: make(chan pushed, 100), refuse: make(chan int, 100), db: storetest.SQLite(t, subscriptions.Migrations()...)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		p := pushed{map[string]string{}, body}
		for name := range r.Header {
			p.header[strings.ToLower(name)] = r.Header.Get(name)
		}
		select {
		case status := <-h.refuse:
			w.WriteHeader(status)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
		h.got <- p
	}))
	t.Cleanup(srv.Close)
	h.url = srv.URL
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true, Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Concurrency: 16, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hc.Close)
	cfg := subscriptions.Config{PublicURL: "https://kedge.example.com", Entities: map[string]spec.Entity{"tasks": {}}, Targets: subscriptions.Targets{HTTP: true, Ports: []int{}},
		Retry: subscriptions.Retry{Schedule: []time.Duration{10 * time.Millisecond, 10 * time.Millisecond}, Jitter: -1}}
	if h.s, err = subscriptions.New(t.Context(), h.db, projects{}, hc, cfg, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	h.node()
	return h
}

// node starts the verifier.
func (h *hook) node() {
	cmd := exec.Command("node", "push.js")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			h.t.Error(err)
		}
	})
	h.in, h.answers = in, bufio.NewReader(out)
}

// check has a program look at a push, and returns what it makes of it.
func (h *hook) check(what string, p pushed, more map[string]any) (any, string) {
	h.t.Helper()
	line := map[string]any{"check": what, "headers": p.header, "body": p.body}
	for k, v := range more {
		line[k] = v
	}
	if err := json.NewEncoder(h.in).Encode(line); err != nil {
		h.t.Fatal(err)
	}
	text, err := h.answers.ReadBytes('\n')
	if err != nil {
		h.t.Fatal(err)
	}
	var a struct {
		OK    bool
		Value any
		Error string
	}
	if err := json.Unmarshal(text, &a); err != nil {
		h.t.Fatal(err)
	}
	if !a.OK {
		return nil, a.Error
	}
	return a.Value, ""
}

var operator = subscriptions.Caller{Account: "acme", User: "u7", Admin: true, Grants: spec.Everything()}

func (h *hook) subscribe(more string) (id, secret string) {
	h.t.Helper()
	d, err := spec.Parse([]byte(fmt.Sprintf(`{"url":%q,"resource":"tasks","events":["create","update","delete"]%s}`, h.url, more)))
	if err != nil {
		h.t.Fatal(err)
	}
	sub, secret, err := h.s.Create(h.t.Context(), operator, d)
	if err != nil {
		h.t.Fatal(err)
	}
	return sub.ID, secret
}

func (h *hook) publish(op kedge.Operation, key string) {
	h.t.Helper()
	r := &kedge.Record{Fields: kedge.NewFields("id", "subject", "hours", "price"),
		Values: []kedge.Value{kedge.String(key), kedge.String("Zähler \xff \"x\""), kedge.Int(1 << 60), kedge.Decimal("19.90")}}
	err := h.db.InTx(h.t.Context(), func(ctx context.Context, tx *store.Tx) error {
		if _, err := h.s.Interest(ctx, tx, "tasks"); err != nil {
			return err
		}
		return h.s.Publish(ctx, tx, kedge.Event{Entity: "tasks", Key: kedge.Key(key), KeyNames: []string{"id"}, Op: op, After: r})
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hook) next() pushed {
	h.t.Helper()
	select {
	case p := <-h.got:
		return p
	case <-time.After(20 * time.Second):
		h.t.Fatal("no push came")
		return pushed{}
	}
}

// settle waits until all that arrived is noted.
func (h *hook) settle() {
	h.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		n, err := h.db.DB().NewSelect().Table("push_delivery").Count(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%d deliveries still wait", n)
		}
	}
}

// sentAt is the time of a push, as milliseconds of JavaScript.
func (p pushed) sentAt(t *testing.T) int64 {
	var s int64
	if _, err := fmt.Sscan(p.header["webhook-timestamp"], &s); err != nil {
		t.Fatal(err)
	}
	return s * 1000
}

// TestPushesAreStandardWebhooks has standardwebhooks verify a first attempt, a
// retry, a replay, a test, and with both secrets of a rotation; not when they
// are too old or were changed. node:crypto verifies ed25519.
func TestPushesAreStandardWebhooks(t *testing.T) {
	h := newHook(t)
	id, secret := h.subscribe("")
	verified := func(name string, p pushed, secret string) {
		t.Helper()
		at := p.sentAt(t)
		if _, err := h.check("standard", p, map[string]any{"secret": secret, "at": at}); err != "" {
			t.Errorf("%s: %s", name, err)
		}
	}
	h.refuse <- 500
	h.publish(kedge.OpCreate, "t-1")
	first := h.next()
	verified("first attempt", first, secret)
	retry := h.next()
	verified("retry", retry, secret)
	if retry.header["webhook-id"] != first.header["webhook-id"] || retry.header["kedge-attempt"] != "2" {
		t.Errorf("retry %v", retry.header)
	}
	at := first.sentAt(t)
	for _, tt := range []struct {
		name string
		at   int64
		body string
		want string
	}{
		{"299 s old", at + 299_000, "", ""}, {"301 s old", at + 301_000, "", "too old"},
		{"299 s early", at - 299_000, "", ""}, {"301 s early", at - 301_000, "", "too new"},
		{"changed", at, "{}", "No matching signature"},
	} {
		p := first
		if tt.body != "" {
			p.body = []byte(tt.body)
		}
		if _, err := h.check("standard", p, map[string]any{"secret": secret, "at": tt.at}); (err == "") != (tt.want == "") || !strings.Contains(err, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, err, tt.want)
		}
	}
	fresh, _, err := h.s.Rotate(t.Context(), operator, id, time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	h.publish(kedge.OpUpdate, "t-1")
	p := h.next()
	verified("new secret", p, fresh)
	verified("old secret", p, secret)
	if _, err := h.s.Test(t.Context(), operator, id); err != nil {
		t.Fatal(err)
	}
	verified("test", h.next(), fresh)
	h.settle() // what still waits is not replayed
	if _, err := h.s.StartReplay(t.Context(), operator, id, subscriptions.ReplayQuery{From: new(time.Now().Add(-time.Hour)), Force: true}); err != nil {
		t.Fatal(err)
	}
	p = h.next()
	verified("replay", p, fresh)
	if p.header["kedge-replay"] != "true" || p.header["webhook-id"] != first.header["webhook-id"] {
		t.Errorf("replay %v", p.header)
	}
	h.next()

	if err := h.s.Delete(t.Context(), operator, id); err != nil {
		t.Fatal(err)
	}
	_, public := h.subscribe(`,"signing":{"alg":"ed25519"}`)
	h.publish(kedge.OpCreate, "t-2")
	p = h.next()
	if _, err := h.check("v1a", p, map[string]any{"publicKey": public}); err != "" {
		t.Errorf("ed25519: %s", err)
	}
	p.body = append(p.body, ' ')
	if _, err := h.check("v1a", p, map[string]any{"publicKey": public}); err == "" {
		t.Error("a changed body passes")
	}
}

// TestPushesAreCloudEvents has cloudevents read both formats.
func TestPushesAreCloudEvents(t *testing.T) {
	for _, format := range []string{"cloudevents-structured", "cloudevents-binary"} {
		h := newHook(t)
		id, _ := h.subscribe(`,"format":"` + format + `"`)
		h.publish(kedge.OpCreate, "t ü/1")
		p := h.next()
		v, err := h.check("cloudevents", p, nil)
		if err != "" {
			t.Fatalf("%s: %s: %v %s", format, err, p.header, p.body)
		}
		e := v.(map[string]any)
		data := e["data"].(map[string]any)
		if e["specversion"] != "1.0" || e["id"] != p.header["webhook-id"] || e["type"] != "kedge.tasks.create" || e["source"] != "https://kedge.example.com/resources/tasks" ||
			e["datacontenttype"] != "application/json" || e["account"] != "acme" || e["subscription"] != id || len(e["sequence"].(string)) != 20 || data["operation"] != "create" {
			t.Errorf("%s: %v", format, e)
		}
	}
}

// TestPushesFitTheirSchema has ajv compile $schema, strictly, and validate
// pushes and the sample.
func TestPushesFitTheirSchema(t *testing.T) {
	h := newHook(t)
	r := resources.New(h.s.Catalog(), projects{}, nil)
	viewer := resources.Viewer{Account: "acme", Grants: spec.Everything()}
	schema, err := r.Schema(viewer, "tasks")
	if err != nil {
		t.Fatal(err)
	}
	sample, err := r.Sample(viewer, "tasks")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.check("schema", pushed{body: sample}, map[string]any{"schema": schema}); err != "" {
		t.Errorf("the sample: %s", err)
	}
	for _, more := range []string{"", `,"numbers":"string"`, `,"payload":"thin"`} {
		id, _ := h.subscribe(more)
		for _, op := range []kedge.Operation{kedge.OpCreate, kedge.OpUpdate, kedge.OpDelete} {
			h.publish(op, "t-1")
			p := h.next()
			if _, err := h.check("schema", p, map[string]any{"schema": schema}); err != "" {
				t.Errorf("%s %s: %s: %s", more, op, err, p.body)
			}
		}
		if err := h.s.Delete(t.Context(), operator, id); err != nil {
			t.Fatal(err)
		}
	}
	wrong := []byte(strings.Replace(string(sample), "tasks.create", "tasks.made", 1))
	if _, err := h.check("schema", pushed{body: wrong}, map[string]any{"schema": schema}); err == "" {
		t.Error("the schema lets everything pass")
	}
}
