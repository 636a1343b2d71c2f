package syncer_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// TestRetryAfterIsKept: after each 429 that asks for 2 seconds, the service
// sees no request of the connection for 2 seconds.
func TestRetryAfterIsKept(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var w atomic.Pointer[odataWorld]
		o := odatatest.Options{Faults: []string{"429=0.3,2"}, Now: func() time.Time {
			if w := w.Load(); w != nil {
				return w.httpNow()
			}
			return time.Time{}
		}}
		w.Store(newODataWorld(t, s, o, nil))
		w.Load().quiet(syncer.Request{})
		w.Load().same()
		var until time.Time
		refused := 0
		for _, r := range w.Load().service.Requests() {
			if r.At.Before(until) {
				t.Errorf("%s?%s came %v too early", r.Path, r.Query, until.Sub(r.At))
			}
			if r.Status == http.StatusTooManyRequests {
				refused++
				until = r.At.Add(2 * time.Second)
			}
		}
		if refused == 0 {
			t.Error("no request was refused")
		}
	}, syncer.Migrations()...)
}

// TestTokenIsReplacedDuringTheRun: the service refuses a token in the middle of
// a run. One new token is fetched, and no page is lost or asked for again.
func TestTokenIsReplacedDuringTheRun(t *testing.T) {
	o := odatatest.Options{Auth: odatatest.Auth{Kind: "oauth2", ClientID: "app", ClientSecret: "s"}}
	eachOData(t, o, nil, func(t *testing.T, w *odataWorld) {
		w.options["auth"] = map[string]any{"type": "oauth2_client", "clientId": "app", "clientSecret": "s", "tokenURL": w.options["url"].(string) + "oauth/token"}
		once := sync.OnceFunc(w.service.ExpireTokens)
		w.hook = func(point string) {
			if point == "p5" {
				once()
			}
		}
		w.line(w.run(syncer.Request{}), "all 60 new 60 updated 0 failed 0")
		w.same()
		var refused []string
		tokens, asked := 0, map[string]int{}
		for _, r := range w.service.Requests() {
			switch {
			case r.Path == "/oauth/token":
				tokens++
			case r.Status == http.StatusUnauthorized:
				refused = append(refused, r.Path+"?"+r.Query)
			default:
				asked[r.Path+"?"+r.Query]++
			}
		}
		if tokens != 2 || len(refused) != 1 || asked[refused[0]] != 1 {
			t.Errorf("%d tokens were fetched and %q refused, want 2 tokens, and one request refused and sent again", tokens, refused)
		}
	})
}

// TestExpiredLinkInEveryForm: services say in different ways that they do not
// know a delta link any more. Each time everything is read and swept once, and
// then only changes are read again.
func TestExpiredLinkInEveryForm(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"410":              {http.StatusGone, `{"error":{"code":"syncStateNotFound","message":"x"}}`},
		"404":              {http.StatusNotFound, ``},
		"400 with a code":  {http.StatusBadRequest, `{"error":{"code":"resyncRequired","message":"x"}}`},
		"400 of our own":   {http.StatusBadRequest, `{"error":{"code":"myTokenIsOld","message":"x"}}`},
		"501 of all links": {http.StatusNotImplemented, ``},
	} {
		t.Run(name, func(t *testing.T) {
			w := newODataWorld(t, storetest.SQLite(t, syncer.Migrations()...), odatatest.Options{}, map[string]any{"anchorExpiredCodes": []string{"myTokenIsOld"}})
			var expired atomic.Bool
			front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.RawQuery, "$deltatoken=") && expired.Load() {
					rw.WriteHeader(answer.status)
					_, _ = rw.Write([]byte(answer.body))
					expired.Store(false) // links that are given out from now on are good
					return
				}
				w.service.Handler().ServeHTTP(rw, r)
			}))
			t.Cleanup(front.Close)
			w.options["url"] = front.URL
			w.quiet(syncer.Request{})
			w.edit(1)
			expired.Store(true)
			if e := w.quiet(syncer.Request{}).Entities[0]; e.Mode != "full" || e.Deleted != 6 {
				t.Errorf("the read is %s with %d deleted, want full with the 6 that the sweep finds", e.Mode, e.Deleted)
			}
			w.same()
			w.edit(2)
			if e := w.quiet(syncer.Request{}).Entities[0]; e.Mode != "incremental" {
				t.Errorf("then the read is %s, want incremental", e.Mode)
			}
			w.same()
		})
	}
}

// TestMissingIsNotNull: a property that is not sent changes nothing; null does.
func TestMissingIsNotNull(t *testing.T) {
	eachOData(t, odatatest.Options{}, nil, func(t *testing.T, w *odataWorld) {
		w.quiet(syncer.Request{})
		name := func(row int, v kedge.Value) {
			r := itemRow(row, 1)
			r.Values[1] = v
			w.check(w.service.Put("items", r))
		}
		name(1, odatatest.Omit)
		name(2, kedge.Null())
		w.line(w.run(syncer.Request{}), "all 2 new 0 updated 2 failed 0")
		for row, want := range map[int]kedge.Value{1: itemRow(1, 0).Values[1], 2: kedge.Null()} {
			if got := w.item(row).Get("name"); !kedge.Equal(got, want) {
				t.Errorf("item %d: name is %v %q, want %v %q", row, got.Type(), got.Text(), want.Type(), want.Text())
			}
		}
	})
}

// TestBadText is a row that is not UTF-8: it waits in quarantine with its key
// and field, and the rest of its page is stored.
func TestBadText(t *testing.T) {
	eachOData(t, odatatest.Options{}, nil, func(t *testing.T, w *odataWorld) {
		bad := itemRow(7, 0)
		bad.Values[1] = kedge.JSON("\"a\xffb\"")
		w.check(w.service.Put("items", bad))
		w.line(w.run(syncer.Request{}), "all 60 new 59 updated 0 failed 1")
		rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{})
		w.check(err)
		if len(rows) != 1 || rows[0].Key != bad.Values[0].Text() || rows[0].Field != "name" || rows[0].Stage != "decode" {
			t.Errorf("quarantine: %+v", rows)
		}
	})
}

// item returns the local row of an item.
func (w *odataWorld) item(i int) *kedge.Record {
	w.t.Helper()
	found, err := w.local("").ReadKeys(w.t.Context(), "item", itemFields, []kedge.Key{kedge.NewKey(itemRow(i, 0).Values[0])})
	w.check(err)
	return &found[0].Record
}

// TestServiceStartedAnew is the sample service that was ended and started
// again: it has the rows that it begins with, and knows no link of before.
func TestServiceStartedAnew(t *testing.T) {
	eachOData(t, odatatest.Options{}, nil, func(t *testing.T, w *odataWorld) {
		var now atomic.Pointer[odatatest.Service]
		now.Store(w.service)
		front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { now.Load().Handler().ServeHTTP(rw, r) }))
		t.Cleanup(front.Close)
		w.options["url"] = front.URL
		w.quiet(syncer.Request{})
		w.edit(1)
		w.quiet(syncer.Request{})
		w.service = odatatest.New(odatatest.Options{Entities: []kedge.Entity{items}})
		for i := range 60 {
			w.check(w.service.Put("items", itemRow(i, 0)))
		}
		now.Store(w.service)
		if e := w.quiet(syncer.Request{}).Entities[0]; e.Mode != "full" {
			t.Errorf("the read is %s, want full", e.Mode)
		}
		w.same()
	})
}
