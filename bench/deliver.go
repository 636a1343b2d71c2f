package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const (
	deliveries    = 10_000
	deliverTurns  = 3
	floorConns    = 32
	eventText     = 700 // bytes of a record, so that a body has about 1 KB
	latencyEvents = 1000
	latencyRate   = 100 // events a second
)

// microDeliver measures deliveries against a loop of signed POSTs to the same
// receiver, in turn.
func microDeliver(in microInput) (finding, error) {
	ctx := context.Background()
	target, stop, err := startReceiver()
	if err != nil {
		return finding{}, err
	}
	defer stop()
	st, err := openPush(ctx, in.dsn)
	if err != nil {
		return finding{}, err
	}
	defer st.Close()
	d := &deliverer{ctx: ctx, st: st, target: target}
	var f finding
	for _, c := range []struct {
		what  string
		subs  int
		least float64
	}{
		{"deliveries, 1 subscription × 10,000 records", 1, 0.15},
		{"deliveries, 100 subscriptions × 100 events", 100, 0.15},
		{"deliveries, 10,000 subscriptions × 1 event", 10_000, 0.12},
	} {
		rows, err := d.compare(c.what+", "+st.Engine().String(), c.subs, c.least)
		if err != nil {
			return f, err
		}
		f.Rows = append(f.Rows, rows...)
	}
	rows, err := d.latency()
	f.Rows = append(f.Rows, rows...)
	if err != nil {
		return f, err
	}
	bad, err := d.badTargets()
	f.Rows = append(f.Rows, bad...)
	return f, err
}

func openPush(ctx context.Context, dsn string) (*store.Store, error) {
	keys, err := store.NewKeyRing(store.Key{ID: "bench", Value: bytes.Repeat([]byte{1}, store.KeySize)})
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, dsn, &store.Options{Keys: keys})
	if err != nil {
		return nil, err
	}
	_, err = st.Migrate(ctx, append(store.Migrations(), subscriptions.Migrations()...))
	return st, err
}

// A deliverer lets kedge and the floor deliver to one receiver.
type deliverer struct {
	ctx    context.Context
	st     *store.Store
	target string
	seq    int
}

// compare returns the ratio of the rates, and kedge's rate.
func (d *deliverer) compare(what string, subs int, least float64) ([]row, error) {
	var p pair
	for range deliverTurns {
		floor, err := d.floor(deliveries)
		if err != nil {
			return nil, err
		}
		own, err := d.kedge(subs, nil)
		if err != nil {
			return nil, err
		}
		p.floor, p.kedge = append(p.floor, floor), append(p.kedge, own)
	}
	k := median(p.kedge)
	rate := float64(deliveries) / k.wall.Seconds()
	abs := atLeast(what+", per second", rate, 5000, "%.0f")
	if subs == deliveries {
		abs = atMost(what+", seconds until all first attempts", k.wall.Seconds(), 3, "%.2f")
	}
	return []row{p.rate(what, least), abs}, nil
}

// floor POSTs n signed bodies of 1 KB over keep-alive connections.
func (d *deliverer) floor(n int) (usage, error) {
	tr := &http.Transport{MaxIdleConnsPerHost: floorConns}
	defer tr.CloseIdleConnections()
	hc := &http.Client{Transport: tr}
	key, err := signature.NewKey(signature.HMAC)
	if err != nil {
		return usage{}, err
	}
	begin, cpu := time.Now(), cpuTime()
	var next atomic.Int64
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for range floorConns {
		all.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := post(hc, d.target, key); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return usage{}, *err
	}
	return usage{wall: time.Since(begin), cpu: cpuTime() - cpu}, d.reset(n)
}

var floorText = strings.Repeat("x", eventText+250)

func post(hc *http.Client, target string, key signature.Key) error {
	at := time.Now()
	body := []byte(`{"sent":` + strconv.FormatInt(at.UnixNano(), 10) + `,"text":"` + floorText + `"}`)
	r, err := http.NewRequest(http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(signature.HeaderID, "msg")
	r.Header.Set(signature.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	r.Header.Set(signature.HeaderSignature, signature.Sign([]signature.Key{key}, "msg", at, body))
	resp, err := hc.Do(r)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// noRows has a schema of one table.
type noRows struct{ connectors.Driver }

// Schema returns the table "things".
func (noRows) Schema(context.Context) (*kedge.Schema, error) {
	fields := []kedge.Field{{Name: "id", Type: kedge.TypeString}, {Name: "sent", Type: kedge.TypeInt}, {Name: "text", Type: kedge.TypeString}}
	return &kedge.Schema{Entities: []kedge.Entity{{Name: "things", Key: []string{"id"}, Fields: fields}}}, nil
}

// A pushing is a service at work.
type pushing struct {
	s    *subscriptions.Service
	stop func() error
	subs []*subscriptions.Subscription
}

var operator = subscriptions.Caller{Account: "bench", Admin: true, Grants: spec.Everything()}

// start starts a service with subscriptions, of which each target of more
// gives one beside those of the receiver.
func (d *deliverer) start(subs int, more ...string) (*pushing, error) {
	hc, err := httpclient.New(httpclient.Options{AllowHTTP: true, Egress: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Concurrency: 1024, Timeout: 15 * time.Second})
	if err != nil {
		return nil, err
	}
	cfg := subscriptions.Config{PublicURL: "http://localhost", Entities: map[string]spec.Entity{"things": {}}, Targets: subscriptions.Targets{HTTP: true, Ports: []int{}},
		Limits: subscriptions.Limits{PerAccount: 1_000_000}}
	s, err := subscriptions.New(d.ctx, d.st, noRows{}, hc, cfg, nil)
	if err != nil {
		return nil, err
	}
	p := &pushing{s: s}
	for i := range subs + len(more) {
		doc := &spec.Doc{}
		url := d.target
		if i >= subs {
			url = more[i-subs]
		}
		if doc, err = spec.Parse([]byte(`{"url":"` + url + `","resource":"things","events":["create"],"concurrency":32}`)); err != nil {
			return nil, err
		}
		sub, _, err := s.Create(d.ctx, operator, doc)
		if err != nil {
			return nil, err
		}
		p.subs = append(p.subs, sub)
	}
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for {
		var n int
		if err := d.st.DB().QueryRowContext(d.ctx, "SELECT count(*) FROM push_worker").Scan(&n); err != nil || n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	p.stop = func() error {
		cancel()
		err := <-done
		hc.Close()
		for _, table := range []string{"push_subscription", "push_queue", "push_delivery", "push_event", "push_outbox", "push_attempt", "push_gap", "push_dead"} {
			_, e := d.st.DB().ExecContext(d.ctx, "DELETE FROM "+table)
			err = errors.Join(err, e)
		}
		return err
	}
	return p, nil
}

// publish publishes n events in one transaction.
func (d *deliverer) publish(s *subscriptions.Service, n int) error {
	list := make([]kedge.Event, n)
	for i := range list {
		d.seq++
		key := kedge.String("thing-" + strconv.Itoa(d.seq))
		rec := &kedge.Record{Fields: thingFields, Values: []kedge.Value{key, kedge.Int(time.Now().UnixNano()), kedge.String(floorText[:eventText])}}
		list[i] = kedge.Event{Entity: "things", Key: kedge.NewKey(key), KeyNames: []string{"id"}, Op: kedge.OpCreate, After: rec, Origin: "bench"}
	}
	return d.st.InTx(d.ctx, func(ctx context.Context, tx *store.Tx) error {
		if _, err := s.Interest(ctx, tx, "things"); err != nil {
			return err
		}
		return s.Publish(ctx, tx, list...)
	})
}

var thingFields = kedge.NewFields("id", "sent", "text")

// kedge publishes events, of which each goes to subs subscriptions of the
// receiver, and returns the time until all of the deliveries have arrived.
func (d *deliverer) kedge(subs int, more []string) (u usage, err error) {
	p, err := d.start(subs, more...)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	begin, cpu := time.Now(), cpuTime()
	for left := deliveries / subs; left > 0; left -= 500 {
		if err := d.publish(p.s, min(500, left)); err != nil {
			return u, err
		}
	}
	if err := d.wait(deliveries / subs * subs); err != nil {
		return u, err
	}
	return usage{wall: time.Since(begin), cpu: cpuTime() - cpu}, d.reset(deliveries / subs * subs)
}

// latency returns the time from the commit's begin to the receiver at 100
// events a second.
func (d *deliverer) latency() (rows []row, err error) {
	p, err := d.start(1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	tick := time.NewTicker(time.Second / latencyRate)
	defer tick.Stop()
	for range latencyEvents {
		<-tick.C
		if err := d.publish(p.s, 1); err != nil {
			return nil, err
		}
	}
	if err := d.wait(latencyEvents); err != nil {
		return nil, err
	}
	own, err := d.stats(true)
	if err != nil {
		return nil, err
	}
	key, err := signature.NewKey(signature.HMAC)
	if err != nil {
		return nil, err
	}
	for range latencyEvents {
		<-tick.C
		if err := post(http.DefaultClient, d.target, key); err != nil {
			return nil, err
		}
	}
	floor, err := d.stats(true)
	if err != nil {
		return nil, err
	}
	what := "deliveries at 100 events/s, " + d.st.Engine().String() + ", "
	return []row{
		atMost(what+"p50 from publish to receiver, ms above the floor's", own.P50-floor.P50, 4, "%.1f"),
		atMost(what+"p50, ms", own.P50, 5, "%.1f"),
		atMost(what+"p99, ms", own.P99, 50, "%.1f"),
	}, nil
}

// badTargets returns what one dead and one slow target of 100 cost the others.
func (d *deliverer) badTargets() ([]row, error) {
	slow := httpServe(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(10 * time.Second):
		case <-r.Context().Done():
		}
	})
	defer slow.Close()
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	gone := "http://" + dead.Addr().String()
	if err := dead.Close(); err != nil {
		return nil, err
	}
	var healthy, ill []usage
	for range deliverTurns {
		u, err := d.kedge(98, nil)
		if err != nil {
			return nil, err
		}
		healthy = append(healthy, u)
		if u, err = d.kedge(98, []string{gone, "http://" + slow.Addr().String()}); err != nil {
			return nil, err
		}
		ill = append(ill, u)
	}
	return []row{atLeast("98 healthy targets beside 1 dead and 1 slow, rate ÷ alone, "+d.st.Engine().String(), ratio(median(healthy).wall, median(ill).wall), 0.9, "%.2f")}, nil
}

func httpServe(h http.HandlerFunc) *listening {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // loopback has ports
	}
	s := &http.Server{Handler: h}
	go s.Serve(l)
	return &listening{l, s}
}

type listening struct {
	net.Listener
	server *http.Server
}

// Close ends the server and its requests.
func (l *listening) Close() error { return l.server.Close() }

// receiverStats are what the receiver has seen.
type receiverStats struct {
	Count    int
	P50, P99 float64 // ms
}

func (d *deliverer) stats(reset bool) (receiverStats, error) {
	var s receiverStats
	resp, err := http.Get(d.target + "/stats?reset=" + strconv.FormatBool(reset))
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// wait waits until n deliveries have arrived.
func (d *deliverer) wait(n int) error {
	for since := time.Now(); ; {
		s, err := d.stats(false)
		if err != nil || s.Count >= n {
			return err
		}
		if time.Since(since) > time.Minute {
			return fmt.Errorf("%d of %d deliveries arrived", s.Count, n)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// reset forgets what has arrived, which must be n.
func (d *deliverer) reset(n int) error {
	s, err := d.stats(true)
	if err == nil && s.Count != n {
		err = fmt.Errorf("%d deliveries arrived, want %d", s.Count, n)
	}
	return err
}

// startReceiver starts a process that takes deliveries.
func startReceiver() (target string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, "receive", "127.0.0.1:0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if _, err := cmd.StdinPipe(); err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }, err
}

// receive is the process that takes deliveries: it counts them and notes how
// long ago each was made.
func receive(addr string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var ages []float64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		now := time.Now().UnixNano()
		_, rest, _ := bytes.Cut(body, []byte(`"sent":`))
		end := bytes.IndexByte(rest, ',')
		sent, _ := strconv.ParseInt(string(rest[:max(0, end)]), 10, 64)
		mu.Lock()
		ages = append(ages, float64(now-sent)/1e6)
		mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		s := receiverStats{Count: len(ages)}
		if reset := r.URL.Query().Get("reset") == "true"; reset && len(ages) > 0 {
			slices.Sort(ages)
			s.P50, s.P99 = ages[len(ages)/2], ages[len(ages)*99/100]
			ages = ages[:0]
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	fmt.Println("http://" + l.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with who started it
		os.Exit(0)
	}()
	return http.Serve(l, mux)
}

// deliver measures deliveries with one database.
func (b *bench) deliver(e engine) ([]row, error) {
	s, err := b.newSink(e, nil)
	if err != nil {
		return nil, err
	}
	if err := b.durable(s); err != nil {
		return nil, err
	}
	f, err := b.micro("deliver-"+string(e), s)
	if err != nil {
		return nil, err
	}
	return f.Rows, b.drop(s)
}
