package odatatest

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Every fault shows its effect.
func TestFaults(t *testing.T) {
	cases := map[string]func(t *testing.T){
		"429": func(t *testing.T) {
			_, url := newThings(t, 1, Options{Faults: []string{"429=1,7"}})
			if r := get(t, url+"things"); r.status != 429 || r.header.Get("Retry-After") != "7" {
				t.Errorf("status %d and Retry-After %q, want 429 and 7", r.status, r.header.Get("Retry-After"))
			}
		},
		"part-429": func(t *testing.T) {
			s, url := newThings(t, 1, Options{Seed: 1, Faults: []string{"part-429=0.5,7"}})
			got, raw := sendBatch(t, url, "json", []part{adding("1", "", "p"), adding("2", "", "q"), adding("3", "", "r"), adding("4", "", "s")})
			done := 0
			for _, p := range got {
				if p.status == 201 {
					done++
				} else if p.status != 429 {
					t.Errorf("status %d, want 201 or 429", p.status)
				}
			}
			if done == 0 || done == 4 || len(s.Records("things")) != 1+done || !strings.Contains(raw.raw, `"retry-after":"7"`) {
				t.Errorf("%d of 4 done and %d rows: %s", done, len(s.Records("things")), raw.raw)
			}
		},
		"500": func(t *testing.T) {
			_, url := newThings(t, 1, Options{Faults: []string{"500=1"}})
			if r := get(t, url+"$metadata"); r.status != 500 {
				t.Errorf("status %d, want 500", r.status)
			}
		},
		"cut": func(t *testing.T) {
			_, url := newThings(t, 9, Options{Faults: []string{"cut=1"}})
			if r := get(t, url+"things"); r.status != 200 || r.err == nil || !strings.HasPrefix(r.raw, "{") || strings.HasSuffix(r.raw, "}") {
				t.Errorf("status %d, error %v, body %q: want 200 and half a page", r.status, r.err, r.raw)
			}
		},
		"lose-reply": func(t *testing.T) {
			s, url := newThings(t, 1, Options{Faults: []string{"lose-reply=1"}})
			if r := send(t, "PATCH", url+"things('a')", `{"n":"5"}`); r.err == nil || s.Records("things")[0].Get("n").Int() != 5 {
				t.Errorf("status %d, want a lost reply and n to be 5", r.status)
			}
		},
		"slow": func(t *testing.T) {
			var waited time.Duration
			_, url := newThings(t, 1, Options{Faults: []string{"slow=90s"}, Wait: func(_ context.Context, d time.Duration) { waited = d }})
			get(t, url+"things")
			if waited != 90*time.Second {
				t.Errorf("waited %v, want 90s", waited)
			}
		},
		"dup-next": func(t *testing.T) {
			_, url := newThings(t, 9, Options{Faults: []string{"dup-next=2"}})
			first := getPage(t, url+"things", "Prefer", "odata.maxpagesize=2")
			if again := getPage(t, first.Next).Next; again != first.Next {
				t.Errorf("the second next link is %s, want that of the first page", again)
			}
			if third := getPage(t, first.Next).Next; third == first.Next {
				t.Error("the third next link is that of the first page too")
			}
		},
		"anchor-expiry": func(t *testing.T) {
			_, url := newThings(t, 1, Options{Faults: []string{"anchor-expiry=2"}})
			link := start(t, url, "")
			wantText(t, "uses of a delta link", statuses(t, link, link, link, link), "200 410 200 410")
		},
		"auth-expiry": func(t *testing.T) {
			s, url := newThings(t, 1, Options{Faults: []string{"auth-expiry=2"}, Auth: Auth{Kind: "oauth2", ClientID: "me"}})
			token := signIn(t, s, url)
			for i, want := range []int{200, 200, 401, 401} {
				if r := get(t, url+"things", "Authorization", "Bearer "+token); r.status != want {
					t.Errorf("use %d of a token: status %d, want %d", i+1, r.status, want)
				}
			}
		},
	}
	everyName(t, FaultNames(), cases)
	for name, test := range cases {
		t.Run(name, test)
	}
}

func TestParseFault(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Fault
		err  string
	}{
		{"429=0.5", Fault{Name: "429", P: 0.5, Delay: time.Second}, ""},
		{"429=1,0", Fault{Name: "429", P: 1}, ""},
		{"429=1,2.5", Fault{}, "number of seconds"},
		{"429=1,-1", Fault{}, "number of seconds"},
		{"500=0", Fault{Name: "500"}, ""},
		{"500=1.01", Fault{}, "probability"},
		{"500=-0.01", Fault{}, "probability"},
		{"500=NaN", Fault{}, "probability"},
		{"cut=x", Fault{}, "probability"},
		{"slow=1m30s", Fault{Name: "slow", Delay: 90 * time.Second}, ""},
		{"slow=-1s", Fault{}, "less than nothing"},
		{"slow=5", Fault{}, "duration"},
		{"dup-next=1", Fault{Name: "dup-next", N: 1}, ""},
		{"dup-next=0", Fault{}, "1 or more"},
		{"anchor-expiry=x", Fault{}, "1 or more"},
		{"auth-expiry", Fault{}, "no value"},
		{"nope=1", Fault{}, "there are: 429, 500"},
	} {
		got, err := ParseFault(tt.text)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("ParseFault(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("ParseFault(%q): error %v, want one with %q", tt.text, err, tt.err)
		}
	}
}

// The same seed gives the same failures, another one gives others.
func TestFaultsAreSeeded(t *testing.T) {
	run := func(seed uint64) string {
		_, url := newThings(t, 1, Options{Seed: seed, Faults: []string{"500=0.5"}})
		var urls []string
		for range 32 {
			urls = append(urls, url+"things")
		}
		return statuses(t, urls...)
	}
	first := run(1)
	if again := run(1); again != first {
		t.Errorf("seed 1 gave %s and then %s", first, again)
	}
	if run(2) == first {
		t.Error("seeds 1 and 2 give the same failures")
	}
	if strings.Count(first, "500") < 8 || strings.Count(first, "200") < 8 {
		t.Errorf("with p=0.5 got %s", first)
	}
}

// Failures are for reads of rows, until they are stopped.
func TestFail(t *testing.T) {
	s, url := newThings(t, 3, Options{})
	whole := get(t, url+"things").raw
	for _, tt := range []struct {
		f      Failure
		status int
		after  string
		body   func(raw string, err error) bool
	}{
		{Failure{Status: 503, RetryAfter: 1500 * time.Millisecond, Text: "secret"}, 503, "2", func(raw string, err error) bool { return strings.Contains(raw, "secret") && err == nil }},
		{Failure{Cut: true}, 200, "", func(raw string, err error) bool { return raw == whole[:len(whole)/2] && err != nil }},
		{Failure{Cut: true, CutAt: 1}, 200, "", func(raw string, err error) bool { return raw == "{" && err != nil }},
		{Failure{Cut: true, CutAt: len(whole) - 1}, 200, "", func(raw string, err error) bool { return raw == whole[:len(whole)-1] && err != nil }},
		{Failure{Garbage: true}, 200, "", func(raw string, err error) bool { return strings.Contains(raw, "not json") && err == nil }},
	} {
		stop := s.Fail(tt.f)
		r := get(t, url+"things")
		if r.status != tt.status || r.header.Get("Retry-After") != tt.after || !tt.body(r.raw, r.err) {
			t.Errorf("%+v: got status %d, Retry-After %q, error %v, body %q", tt.f, r.status, r.header.Get("Retry-After"), r.err, r.raw)
		}
		if r := get(t, url+"$metadata"); r.status != 200 {
			t.Errorf("%+v: $metadata has status %d, want 200", tt.f, r.status)
		}
		stop()
		if r := get(t, url+"things"); r.status != 200 || r.raw != whole {
			t.Errorf("after %+v: status %d", tt.f, r.status)
		}
	}
}

// Reads and edits at once: for the race detector, and no page is torn.
func TestConcurrency(t *testing.T) {
	s, url := newThings(t, 20, Options{Bench: true})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				rows, _, _ := readAll(t, url+"things?$orderby=n", "Prefer", "odata.maxpagesize=7")
				if len(rows) < 19 {
					t.Errorf("got %d rows, want at least 19", len(rows))
				}
				s.Records("things")
				s.Requests()
				s.Calls()
			}
		})
		wg.Go(func() {
			for i := range 20 {
				if err := s.Put("things", thing("t", i)); err != nil {
					t.Error(err)
				}
				if err := s.SetFaults("slow=0s"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r := get(t, url+"things"); r.status != http.StatusOK {
		t.Errorf("status %d", r.status)
	}
}
