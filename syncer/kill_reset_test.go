package syncer_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge/internal/store"
)

// TestKillReset kills resets while they read (r1), and at each step of the
// transaction in which they replace (r2): nothing has changed then, and the next
// sync sends what was edited here. A reset that survives drops it.
func TestKillReset(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"r1", "r2"} {
		t.Run(point, func(t *testing.T) {
			eachTwoWay(t, func(t *testing.T, c *twoWaySite) {
				c.settled()
				for nth := 1; ; nth += 5 {
					made := c.sides.made
					c.sides.churn(nth)
					if !c.diesInReset(point, nth) {
						if nth == 1 {
							t.Fatalf("no run passed %s", point)
						}
						c.sides.want, c.sides.made = c.sides.farSide(), made
						c.settled()
						return
					}
					c.settled()
				}
			})
		})
	}
}

// diesInReset starts a reset and tells whether it died. Then the database must
// be as it was.
func (c *twoWaySite) diesInReset(point string, nth int) bool {
	c.t.Helper()
	s, err := store.Open(c.t.Context(), c.DSN, nil)
	c.check(err)
	defer s.Close()
	before := c.state(s)
	p := c.crashPlan
	p.Point, p.Nth, p.Reset = point, nth, true
	err = p.start(c.t)
	if err == nil {
		if n := len(c.dump(s, "integration_stage")); n != 0 {
			c.t.Errorf("%d staged pages are left", n)
		}
		return false
	}
	if !errors.Is(err, errDied) {
		c.t.Fatal(err)
	}
	if diff := cmp.Diff(before, c.state(s)); diff != "" {
		c.t.Errorf("the reset that died changed something (-before +after):\n%s", diff)
	}
	return true
}
