package odatatest

import (
	"net/http"
	"strings"
	"testing"
)

// Bench mode answers byte for byte as normal mode does: full reads, deltas,
// and after edits.
func TestBenchEqualsNormal(t *testing.T) {
	clock := newClock()
	normal := New(Options{Rows: 25, Now: clock.Now})
	bench := New(Options{Rows: 25, Now: clock.Now, Bench: true})
	bench.history = normal.history // which links hold
	accept := "application/json;odata.metadata=minimal;IEEE754Compatible=true"
	// Both under one name, since links hold it.
	const root = "http://odatatest.example/"
	walk := func(s *Service, url string) (pages []string, delta string) {
		for url != "" {
			r, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", accept)
			r.Header.Set("Prefer", "odata.maxpagesize=10,odata.track-changes")
			a, _ := s.answer(r)
			if a.status != 200 {
				t.Fatalf("%s: status %d: %s", url, a.status, a.body)
			}
			rq, _ := s.newRequest(r)
			url, delta = links(rq, a.body)
			pages = append(pages, string(a.body)+a.header.Get("Content-Type")+a.header.Get("Preference-Applied")+a.header.Get("OData-Version"))
		}
		return pages, delta
	}
	same := func(what, url string) string {
		t.Helper()
		want, link := walk(normal, url)
		for _, round := range []string{"made", "kept"} {
			got, benchLink := walk(bench, url)
			if strings.Join(got, "\n") != strings.Join(want, "\n") || benchLink != link {
				t.Errorf("%s, %s: got\n%s\nwant\n%s", what, round, got, want)
			}
		}
		return link
	}
	link := same("full read", root+"customers?$select=No,Name")
	if link == "" {
		t.Fatal("no delta link")
	}
	for i := range 3 {
		for _, s := range []*Service{normal, bench} {
			if err := s.BenchEdit("customers", 12); err != nil {
				t.Fatal(err)
			}
		}
		same("full read after edits", root+"customers?$select=No,Name")
		if pages, _ := walk(bench, link); len(pages) != 2 {
			t.Errorf("delta %d has %d pages, want 2 for 12 rows", i, len(pages))
		}
		link = same("delta", link)
	}
}

// Prerendered answers are ready before the first request, and void after edits.
func TestPrerender(t *testing.T) {
	s := New(Options{Rows: 25, Bench: true})
	url := s.Start(t)
	read := Read{URL: url + "customers?$select=No,Name", Header: http.Header{"Accept": {"application/json"}, "Prefer": {"odata.maxpagesize=10,odata.track-changes"}}}
	link, err := s.Prerender(read)
	if err != nil || link == "" {
		t.Fatalf("got link %q, %v", link, err)
	}
	ready := func() int {
		s.bench.mu.RLock()
		defer s.bench.mu.RUnlock()
		return len(s.bench.kept)
	}
	if ready() != 3 {
		t.Errorf("%d answers are ready, want 3", ready())
	}
	rows, pages, delta := readAll(t, read.URL, "Accept", "application/json", "Prefer", "odata.maxpagesize=10,odata.track-changes")
	if len(rows) != 25 || pages != 3 || delta != link || ready() != 3 {
		t.Errorf("got %d rows, %d pages, link %q, %d answers; want 25, 3, %q, 3", len(rows), pages, delta, ready(), link)
	}
	if err := s.BenchEdit("customers", 5); err != nil || ready() != 0 {
		t.Errorf("after an edit: %v and %d answers, want none", err, ready())
	}
	if _, err := s.Prerender(Read{URL: link, Header: read.Header}); err != nil || ready() != 1 {
		t.Errorf("delta: %v and %d answers, want 1", err, ready())
	}
	rows, _, _ = readAll(t, link, "Accept", "application/json", "Prefer", "odata.maxpagesize=10,odata.track-changes")
	if len(rows) != 5 {
		t.Errorf("delta has %d rows, want 5", len(rows))
	}
	if _, err := s.Prerender(Read{URL: url + "nope"}); err == nil {
		t.Error("prerendering what does not exist gives no error")
	}
}

// Kept answers are those of the same credentials and faults.
func TestBenchStillRefuses(t *testing.T) {
	s := New(Options{Rows: 3, Bench: true, Auth: Auth{Kind: "bearer", Token: "t"}})
	url := s.Start(t)
	if r := get(t, url+"customers", "Authorization", "Bearer t"); r.status != 200 {
		t.Errorf("status %d, want 200", r.status)
	}
	if r := get(t, url+"customers"); r.status != 401 {
		t.Errorf("without credentials: status %d, want 401", r.status)
	}
	if r := do(t, "HEAD", url+"customers", "", "Authorization", "Bearer t"); r.status != 200 || r.raw != "" {
		t.Errorf("HEAD: status %d and %d bytes", r.status, len(r.raw))
	}
	if r := get(t, url+"customers", "Authorization", "Bearer t"); !strings.HasSuffix(r.raw, "}") {
		t.Errorf("after HEAD: %q", r.raw)
	}
}

// BenchmarkServe compares making a page with sending a kept one.
func BenchmarkServe(b *testing.B) {
	for _, mode := range []struct {
		name  string
		bench bool
	}{{"normal", false}, {"bench", true}} {
		b.Run(mode.name, func(b *testing.B) {
			s := New(Options{Rows: 1000, Bench: mode.bench})
			r, err := http.NewRequest(http.MethodGet, "http://odatatest.example/customers", nil)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if a, _ := s.answer(r); a.status != 200 {
					b.Fatal(a.status)
				}
			}
			b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
