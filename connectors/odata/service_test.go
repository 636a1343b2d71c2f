package odata_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// newDriver returns a driver for the service at url. Waits of its client end at
// once. options are those of the connection's block.
func newDriver(t testing.TB, url string, options map[string]any) *odata.Driver {
	t.Helper()
	block := map[string]any{"url": url}
	for k, v := range options {
		block[k] = v
	}
	text, err := json.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := odata.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	d, err := odata.New(cfg, testEnv())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func testEnv() connectors.Env {
	return connectors.Env{Name: "test", HTTP: func(o httpclient.Options) (*httpclient.Client, error) {
		o.Sleep = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
		return httpclient.New(o)
	}}
}

// A copy is what a reader has of an entity.
type local map[kedge.Key]kedge.Record

// take merges a page as a syncer does.
func (l local) take(t testing.TB, p *connectors.Page) {
	t.Helper()
	for _, bad := range p.Rejected {
		t.Errorf("rejected: field %s: %v", bad.Field, bad.Err)
	}
	for _, r := range p.Records {
		if r.Removed != kedge.Live {
			delete(l, r.Key)
			continue
		}
		if old, ok := l[r.Key]; ok {
			for i, v := range r.Values {
				if v.IsMissing() {
					r.Values[i] = old.Values[i]
				}
			}
		}
		l[r.Key] = r
	}
}

// readAll reads pages until the last one and returns its anchor and the number
// of records. between runs after each page.
func readAll(t testing.TB, d connectors.Driver, req connectors.ReadRequest, l local, between func(page int)) (kedge.Anchor, int) {
	t.Helper()
	n := 0
	for i := range 10_000 {
		p, err := d.ReadPage(t.Context(), req)
		if err != nil {
			t.Fatalf("page %d: %v", i+1, err)
		}
		if len(p.Records)+len(p.Rejected) > 2*req.Size {
			t.Fatalf("page %d has %d rows, more than twice the %d wanted", i+1, len(p.Records), req.Size)
		}
		l.take(t, p)
		n += len(p.Records)
		if p.Next == "" {
			return p.Anchor, n
		}
		req.Token = p.Next
		if between != nil {
			between(i + 1)
		}
	}
	t.Fatal("no end after 10,000 pages")
	return "", 0
}

// same compares what was read with what the service has.
func same(t testing.TB, s *odatatest.Service, set string, fields []string, l local) {
	t.Helper()
	want := s.Records(set)
	if len(want) != len(l) {
		t.Errorf("got %d records, want %d", len(l), len(want))
	}
	wrong := 0
	for _, w := range want {
		got, ok := l[w.Key]
		for _, f := range fields {
			value := w.Get(strings.Replace(f, "PrimaryContact/", "PrimaryContact", 1)) // of the navigation, if there is no constraint
			if wrong < 5 && (!ok || !kedge.Equal(got.Get(f), value)) {
				t.Errorf("field %s of a record: got %v %q, want %v %q", f, got.Get(f).Type(), got.Get(f).Text(), value.Type(), value.Text())
				wrong++
			}
		}
	}
}

// fieldsOf returns all fields of an entity.
func fieldsOf(t testing.TB, d connectors.Driver, entity string) []string {
	t.Helper()
	s, err := d.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range s.Entity(entity).Fields {
		names = append(names, f.Name)
	}
	return names
}

func TestReadDemo(t *testing.T) {
	for _, tracking := range []string{"auto", "delta", "watermark", "full"} {
		for _, paging := range []string{"auto", "server", "keyset"} {
			t.Run(tracking+"/"+paging, func(t *testing.T) {
				s := odatatest.New(odatatest.Options{Rows: 300})
				d := newDriver(t, s.Start(t), map[string]any{"tracking": tracking, "paging": paging})
				for _, set := range []string{"customers", "orderLines"} {
					fields := fieldsOf(t, d, set)
					l := local{}
					readAll(t, d, connectors.ReadRequest{Entity: set, Fields: fields, Size: 37}, l, nil)
					same(t, s, set, fields, l)
				}
				for _, r := range s.Requests() {
					if r.Method != http.MethodGet {
						t.Errorf("sent %s; the driver only reads", r.Method)
					}
				}
			})
		}
	}
}

func names(list []odatatest.Name) []string {
	var out []string
	for _, n := range list {
		out = append(out, n.Name)
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == odatatest.ForeignLinks })
}
