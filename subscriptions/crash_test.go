package subscriptions_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/subscriptions"
)

// TestChild is the process of the tests below, and does nothing alone. It
// delivers until it is killed, and stops for good at the n-th time that it
// comes to a point, after telling so.
func TestChild(t *testing.T) {
	dsn := os.Getenv("PUSH_CHILD")
	if dsn == "" {
		return
	}
	db := storetest.Open(t, dsn, subscriptions.Migrations()...)
	w := newWorld(t, db)
	s := w.service(newOptions())
	point, nth, _ := strings.Cut(os.Getenv("PUSH_CHILD_POINT"), " ")
	n, _ := strconv.Atoi(nth)
	var seen atomic.Int64
	s.SetHook(func(p string) {
		if p == point && seen.Add(1) == int64(n) {
			fmt.Println("at " + p)
			select {}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Println("ready")
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// A child is a process that delivers.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
}

func startChild(t testing.TB, dsn, point string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(exe, "-test.run=^TestChild$"), lines: make(chan string, 100)}
	c.cmd.Env = append(os.Environ(), "PUSH_CHILD="+dsn, "PUSH_CHILD_POINT="+point)
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = in
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			c.lines <- scan.Text()
		}
	}()
	t.Cleanup(c.kill)
	c.await("ready")
	return c
}

func (c *child) await(line string) {
	c.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case got, ok := <-c.lines:
			if !ok {
				c.t.Fatalf("the child ended before it said %q", line)
			}
			if got == line {
				return
			}
		case <-deadline:
			c.t.Fatalf("the child did not say %q", line)
		}
	}
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// A ledger is a receiver that checks order and counts.
type ledger struct {
	*receiver
	mu       sync.Mutex
	accepted map[string][]int64 // sequences by subscription and resource, each once
	seen     map[string]bool    // message ids
	total    int
	marks    map[int]chan struct{} // closed at so many messages
}

func newLedger(t testing.TB) *ledger {
	l := &ledger{accepted: map[string][]int64{}, seen: map[string]bool{}, marks: map[int]chan struct{}{}}
	l.receiver = newReceiver(t, func(rw http.ResponseWriter, _ *http.Request, p push) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.seen[p.ID] {
			l.seen[p.ID] = true
			lane := p.Subscription + " " + p.Data.Resource
			l.accepted[lane] = append(l.accepted[lane], p.Sequence)
		}
		l.total++
		if c := l.marks[len(l.seen)]; c != nil {
			close(c)
			delete(l.marks, len(l.seen))
		}
		rw.WriteHeader(204)
	})
	return l
}

// at returns a channel that is closed once n different messages have come.
func (l *ledger) at(n int) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan struct{})
	if len(l.seen) >= n {
		close(c)
	} else {
		l.marks[n] = c
	}
	return c
}

func (l *ledger) await(n int) {
	l.t.Helper()
	select {
	case <-l.at(n):
	case <-time.After(60 * time.Second):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t.Fatalf("%d messages came, want %d", len(l.seen), n)
	}
}

func (l *ledger) ordered() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for r, list := range l.accepted {
		if !slices.IsSorted(list) {
			l.t.Errorf("%s came in the order %v", r, list)
		}
	}
}

// updates publishes n updates of records, in pages.
func (w *world) updates(n, records int) {
	var list []kedge.Event
	for i := range n {
		list = append(list, task(kedge.OpUpdate, fmt.Sprintf("t-%d", i%records), "proj1", fmt.Sprint(i)))
		if len(list) == 100 || i == n-1 {
			w.publish(list...)
			list = nil
		}
	}
}

// The process is killed at each point, again and again: everything arrives, in
// order per record, and who starts next need not wait for a lease.
func TestKilled(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		w := newWorld(t, storetest.Open(t, dsn, subscriptions.Migrations()...))
		l := newLedger(t)
		w.subscribe(l.URL, `{"url":"%s","resource":"tasks","events":["update"],"concurrency":8}`)
		const n = 400
		w.updates(n, 20) // C2: committed, and nobody there to fan out
		for _, point := range []string{"fanout 1", "sent 1", "results 1", "fanout 1", "sent 57", "results 2"} {
			c := startChild(t, dsn, point)
			c.await("at " + strings.Fields(point)[0])
			c.kill()
			w.updates(10, 20)
		}
		begin := time.Now()
		startChild(t, dsn, "")
		l.await(n + 60)
		if d := time.Since(begin); d > 14*time.Second {
			t.Errorf("the next process began after %v", d)
		}
		l.ordered()
		w.until("deliveries", "SELECT count(*) FROM push_delivery", 0)
		w.until("pending", "SELECT CAST(sum(pending) AS bigint) FROM push_queue", 0)
	})
}

// Three replicas, one of them killed amid the deliveries and one stopped beyond
// its lease: the others go on within 20 s, in order, and nothing is lost.
func TestReplicas(t *testing.T) {
	// Who is stopped inside a transaction keeps its locks until the server ends
	// it; by default that is after a minute.
	dsn := storetest.PostgresDSN(t)
	dsn += map[bool]string{true: "&", false: "?"}[strings.Contains(dsn, "?")] + "idle_in_transaction_session_timeout=2000"
	w := newWorld(t, storetest.Open(t, dsn, subscriptions.Migrations()...))
	l := newLedger(t)
	for range 12 {
		w.subscribe(l.URL, `{"url":"%s","resource":"tasks","events":["update"],"concurrency":2}`)
	}
	children := []*child{startChild(t, dsn, ""), startChild(t, dsn, ""), startChild(t, dsn, "")}
	n := 3000
	if os.Getenv("KEDGE_SOAK") != "" {
		n = 10_000
	}
	go w.updates(n/12, 50)
	<-l.at(n / 4)
	children[0].kill()
	<-l.at(n / 2)
	if err := children[1].cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := w.db.DB().ExecContext(t.Context(), "UPDATE push_worker SET expires = 0"); err != nil {
		t.Fatal(err) // as if it was stopped for long; the others prove themselves again
	}
	l.await(n / 12 * 12)
	if err := children[1].cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	l.ordered()
	w.until("deliveries", "SELECT count(*) FROM push_delivery", 0)
}
