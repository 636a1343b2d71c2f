package subscriptions_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions"
)

// A target at a private address, however it is spelt, gets no packet, and is
// given up after the third try.
func TestEgress(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, subscriptions.Migrations()...))
	var dialed atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			dialed.Add(1)
			c.Close()
		}
	}()
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true, Concurrency: 4, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer hc.Close()
	w.s, err = subscriptions.New(t.Context(), w.db, tables{}, hc, w.cfg, &subscriptions.Options{Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	w.run(w.s)
	w.until("workers", "SELECT count(*) FROM push_worker", 1)
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "0.0.0.0", "100.64.0.1", "224.0.0.1", "168.63.129.16", "[fe80::1]", "2130706433", "0x7f.1"} {
		sub, _ := w.subscribe(fmt.Sprintf("http://%s:%d", host, port), `{"url":"%s","resource":"tasks","events":["create"]}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
		if host == "2130706433" || host == "0x7f.1" { // spellings that the resolver may not know
			w.until("attempts that failed", "SELECT count(*) FROM push_attempt WHERE sub = ? AND class IN ('blocked', 'dns')", 1, sub.ID)
		} else {
			for i := range 3 {
				w.until(host+" blocked", "SELECT count(*) FROM push_attempt WHERE sub = ? AND class = 'blocked'", int64(i+1), sub.ID)
				w.advance(50 * time.Millisecond)
			}
			w.state(sub.ID, "disabled", "blocked")
		}
		if err := w.s.Delete(t.Context(), admin, sub.ID); err != nil {
			t.Fatal(err)
		}
	}
	if n := dialed.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

// Whatever a receiver does, it harms only itself, and its failures are told by
// class.
func TestReceiverFaults(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		good := newReceiver(t, nil)
		w.subscribe(good.URL, `{"url":"%s","resource":"tasks/t-1","events":["update"]}`)
		expired := httptest.NewUnstartedServer(http.NotFoundHandler())
		expired.TLS = &tls.Config{}
		expired.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		expired.StartTLS() // a certificate that nobody vouches for
		defer expired.Close()
		closed := httptest.NewServer(http.NotFoundHandler())
		closed.Close()
		hang := make(chan struct{})
		defer close(hang)
		serve := func(h http.HandlerFunc) string {
			s := httptest.NewServer(h)
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
			t.Cleanup(s.Close)
			return s.URL
		}
		for _, tt := range []struct {
			class, url string
		}{
			{"connect", closed.URL},
			{"dns", "http://nowhere.invalid/"},
			{"tls", expired.URL},
			{"server", serve(func(rw http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })},
			{"ok", serve(func(rw http.ResponseWriter, r *http.Request) { // endless body
				rw.WriteHeader(200)
				for r.Context().Err() == nil {
					if _, err := rw.Write(make([]byte, 8<<10)); err != nil {
						return
					}
				}
			})},
			{"ok", serve(func(rw http.ResponseWriter, r *http.Request) { // hangs inside the answer
				rw.WriteHeader(200)
				rw.(http.Flusher).Flush()
				select {
				case <-hang:
				case <-r.Context().Done():
				}
			})},
			{"rejected", serve(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(422) })},
			{"denied", serve(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(404) })},
			{"throttled", serve(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(429) })},
			{"throttled", serve(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")
				rw.WriteHeader(503)
			})},
			{"server", serve(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) })},
		} {
			sub, _ := w.subscribe(tt.url, `{"url":"%s","resource":"tasks/t-1","events":["update"]}`)
			w.publish(task(kedge.OpUpdate, "t-1", "proj1", "a"))
			good.next()
			w.until(tt.class+" from "+tt.url, "SELECT count(*) FROM push_attempt WHERE sub = ? AND class = ?", 1, sub.ID, tt.class)
			if err := w.s.Delete(t.Context(), admin, sub.ID); err != nil {
				t.Fatal(detail(err))
			}
		}
	})
}

// A receiver that does not answer in time is a failure of class timeout.
func TestTimeout(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, subscriptions.Migrations()...))
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true, Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer hc.Close()
	if w.s, err = subscriptions.New(t.Context(), w.db, tables{}, hc, w.cfg, &subscriptions.Options{Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	w.run(w.s)
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-ctx.Done() }))
	defer s.Close()
	defer cancel()
	sub, _ := w.subscribe(s.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
	w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
	w.until("time-outs", "SELECT count(*) FROM push_attempt WHERE sub = ? AND class = 'timeout' AND status = 0", 1, sub.ID)
}

// The waits of retries are those of the schedule, and with the default one a
// delivery ends after ten attempts in 75 h 35 min.
func TestSchedule(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, subscriptions.Migrations()...), func(c *subscriptions.Config) { c.Retry.Schedule = nil })
	w.run(w.s)
	st := &status{}
	st.set(404)
	x := newReceiver(t, st.answer)
	sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
	w.publish(task(kedge.OpCreate, "t-1", "proj1", "a"))
	begin := w.clock.Now()
	for i, wait := range []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour} {
		x.next()
		w.attempts(sub.ID, i+1)
		w.until("due", "SELECT due_at FROM push_delivery", w.clock.Now().Add(wait).UnixMilli())
		w.advance(wait)
	}
	x.next()
	w.until("dead", "SELECT count(*) FROM push_dead WHERE attempts = 10", 1)
	if d := w.clock.Now().Sub(begin).Truncate(time.Minute); d != 75*time.Hour+35*time.Minute {
		t.Errorf("it took %v", d)
	}
}

// What kedge keeps of an answer is short, printable, and holds nothing that
// may be a secret or name a person.
func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"plain text\n<b>error</b>\x00\x1b": "plain text <b>error</b>",
		"mail jane.doe@example.com now":    "mail [email] now",
		"call 0170 123 45 67, code 12345":  "call [number], code 12345",
		"bearer abcdefghijklmnopqrstuv":    "bearer [token]",
		"\xff\xfeok":                       "ok",
	} {
		if got := subscriptions.Redact([]byte(in)); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	long := ""
	for range 300 {
		long += "ü x "
	}
	if got := subscriptions.Redact([]byte(long)); len(got) > 512 || len(got) < 510 {
		t.Errorf("%d bytes are kept", len(got))
	}
}
