package syncer_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// TestKillUpload kills runs at each point that uploads pass: edits noted and not
// sent (p7), about to be sent (p8), sent without an answer (p9), some sent and
// others that refer to them not (p10).
func TestKillUpload(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"p7", "p8", "p9", "p10"} {
		t.Run(point, func(t *testing.T) {
			eachTwoWay(t, func(t *testing.T, c *twoWaySite) {
				c.settled()
				c.everyPassing(point, false)
			})
		})
	}
}

// TestKillTwoWay kills runs at the points of downloads, while both sides are edited.
func TestKillTwoWay(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"p1", "p2", "p3", "p5", "p6", "p11"} {
		t.Run(point, func(t *testing.T) {
			eachTwoWay(t, func(t *testing.T, c *twoWaySite) {
				c.settled()
				c.everyPassing(point, point == "p6")
			})
		})
	}
}

// TestKillTwoWayBetweenTwoDatabases kills runs of both directions whose local
// side is not in kedge's database: rows are written there, and what is known
// about them is not.
func TestKillTwoWayBetweenTwoDatabases(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"p3", "p4", "p9"} {
		t.Run(point, func(t *testing.T) {
			storetest.EachDSN(t, func(t *testing.T, dsn string) {
				c := newTwoWaySite(t, dsn, true)
				c.settled()
				c.everyPassing(point, false)
			})
		})
	}
}

// TestKillFirstUpload kills the first run of two sides that have records of
// their own and records in common, again and again.
func TestKillFirstUpload(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"p2", "p5", "p6", "p7", "p8", "p9", "p10"} {
		t.Run(point, func(t *testing.T) {
			eachTwoWay(t, func(t *testing.T, c *twoWaySite) {
				c.sides.local("INSERT INTO item (id, name, note, boss) VALUES ('i03', 'first', '-', 'i08'), ('mine', 'first', '-', 'i03')",
					"INSERT INTO task (id, code, title, item) VALUES ('own3', 't03', 'first', 'i03'), ('mine', 'mine', 'first', 'mine')")
				c.sides.expect("items", "mine", "name", "first", "note", "-", "boss", "i03")
				c.sides.expect("tasks", "mine", "title", "first", "item", "mine")
				c.sides.made++
				deaths := 0
				for nth := 1; ; nth++ {
					p := c.crashPlan
					p.Point, p.Nth = point, nth
					if err := p.start(t); err == nil {
						break
					} else if !errors.Is(err, errDied) {
						t.Fatal(err)
					}
					deaths++
				}
				if deaths == 0 {
					t.Errorf("no run passed %s", point)
				}
				c.settled()
			})
		})
	}
}

// TestPausedSender stops a process before or after it sends, until another has
// taken over. When it goes on it writes nothing here; what it still sends does
// not make a record twice.
func TestPausedSender(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"p7", "p8", "p9"} {
		t.Run(point, func(t *testing.T) {
			eachTwoWay(t, func(t *testing.T, c *twoWaySite) {
				c.settled()
				c.sides.churn(1)
				goOn := c.pause(point)
				c.takeOver()
				s, err := store.Open(t.Context(), c.DSN, nil)
				c.check(err)
				before, sent := c.state(s), len(c.sides.far.Writes())
				if err := goOn(); err == nil {
					t.Error("the paused run ended well")
				}
				if diff := cmp.Diff(before, c.state(s)); diff != "" {
					t.Errorf("the paused run wrote something (-before +after):\n%s", diff)
				}
				if late := c.sides.far.Writes()[sent:]; slices.ContainsFunc(late, func(w odatatest.Write) bool { return w.Applied }) {
					t.Errorf("the paused run changed the other side: %+v", late)
				}
				c.check(s.Close())
				c.settled()
			})
		})
	}
}

// pause starts a run that stops at the point, and waits until it has. The
// result lets it go on, and waits for its end.
func (c *twoWaySite) pause(point string) (goOn func() error) {
	c.t.Helper()
	p := c.crashPlan
	p.Point, p.Nth, p.Stop, p.TTL = point, 1, true, time.Second
	cmd := p.command(c.t)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	c.check(err)
	c.check(cmd.Start())
	if _, err := io.ReadFull(stdout, make([]byte, len("stopped\n"))); err != nil {
		c.t.Fatalf("the child did not come to the point: %v: %s", err, stderr.String())
	}
	return func() error {
		c.check(cmd.Process.Signal(syscall.SIGCONT))
		return cmd.Wait()
	}
}

// state is all that a run writes but for its log.
func (c *twoWaySite) state(s *store.Store) []string {
	c.t.Helper()
	var out []string
	for k, v := range c.sides.nearSide() {
		out = append(out, k+" "+v)
	}
	slices.Sort(out)
	for _, table := range []string{"integration_link", "integration_base", "integration_transaction", "integration_writelog", "integration_conflict"} {
		out = append(out, c.dump(s, table)...)
	}
	return append(out, c.kept(s)...)
}
