package command

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestTraces: a run is a span, its entities are in it, their pages and requests
// in them, and no span tells a key, a value or an address.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	spans := map[string]*traces.Span{} // by id
	var all strings.Builder
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		in := new(collector.ExportTraceServiceRequest)
		if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, in) != nil {
			t.Errorf("%s: %v", r.URL.Path, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		all.WriteString(in.String())
		for _, rs := range in.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, s := range ss.Spans {
					spans[string(s.SpanId)] = s
				}
			}
		}
	}))
	defer sink.Close()
	stop, err := sendTraces(t.Context(), sink.URL, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "sqlite:"+filepath.Join(t.TempDir(), "kedge.db"))
	s.run("filed", "")
	stop()
	within := map[string]bool{} // "page in entity"
	for _, span := range spans {
		if parent := spans[string(span.ParentSpanId)]; parent != nil {
			within[span.Name+" in "+parent.Name] = true
		} else {
			within[span.Name] = true
		}
	}
	for _, want := range []string{"run", "entity in run", "page in entity", "request in entity"} {
		if !within[want] {
			t.Errorf("no %s; there are %v", want, within)
		}
	}
	for _, secret := range []string{"C00001", "127.0.0.1", "http://"} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("the traces tell %s", secret)
		}
	}
	if !strings.Contains(all.String(), "filed") || !strings.Contains(all.String(), "customers") || !strings.Contains(all.String(), "crm") {
		t.Error("the traces name nothing")
	}
}
