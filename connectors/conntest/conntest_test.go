package conntest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// TestKit runs all checks on a system that lacks nothing.
func TestKit(t *testing.T) {
	Run(t, Harness{Start: func(t testing.TB) System { return newSystem(t, mutation{}) }})
}

func TestNamesAreDistinctAndGrouped(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range checks() {
		if seen[c.name] || strings.Count(c.name, "/") != 1 {
			t.Errorf("check %q comes twice or is not GROUP/NAME", c.name)
		}
		seen[c.name] = true
	}
}

// outcomes runs checks on systems of their own and returns the names of those
// that failed and of those that could not run.
func outcomes(t *testing.T, of []check, start func(testing.TB) System) (failed, cannotRunNames []string) {
	t.Helper()
	for _, c := range of {
		err := c.on(t, start(t))
		if _, cant := errors.AsType[*cannotRun](err); cant {
			cannotRunNames = append(cannotRunNames, c.name)
		} else if err != nil {
			failed = append(failed, c.name)
		}
	}
	return failed, cannotRunNames
}

// bare hides what a system can do beyond the required.
type bare struct{ System }

func (b bare) Calls() int { return -1 }

// TestCannotRun: a check that needs what a system does not have says so, and
// does not pass.
func TestCannotRun(t *testing.T) {
	less := mutation{schema: func(_ *driver, s *kedge.Schema) {
		for i := range s.Entities {
			e := &s.Entities[i]
			e.Delta, e.Deletes, e.Filter = false, false, false
		}
	}}
	failed, cant := outcomes(t, checks(), func(t testing.TB) System { return bare{newSystem(t, less)} })
	if len(failed) > 0 {
		t.Errorf("checks that fail on a system that can do little: %v, want none", failed)
	}
	want := []string{"schema/NoRecordRead", "full/Handoff", "life/Ack", "life/ErrorKinds", "write/LostReply", "tx/Rollback", "tx/Neighbours", "tx/OneBadKeepsTx", "life/NoSecretInErrors", "life/RetryAfter"}
	for _, c := range append(deltaChecks, filterChecks...) {
		want = append(want, c.name)
	}
	slices.Sort(want)
	slices.Sort(cant)
	if !slices.Equal(cant, want) {
		t.Errorf("checks that cannot run: got %v, want %v", cant, want)
	}
}

func TestLacksNamesUnknownChecks(t *testing.T) {
	h := Harness{Lacks: map[string]string{"delta/Deletes": "no", "delta/Nothing": "typo", "Deletes": "no group"}}
	if got, want := h.unknown(checks()), []string{"Deletes", "delta/Nothing"}; !slices.Equal(got, want) {
		t.Errorf("unknown names in Lacks: got %v, want %v", got, want)
	}
}

// A check is skipped only if it cannot run and Lacks says why.
func TestVerdict(t *testing.T) {
	cant, broken := cannot("no deltas"), errors.New("got 1, want 2")
	for _, tt := range []struct {
		outcome error
		lacked  bool
		reason  string
		skip    bool
		want    string
	}{
		{nil, false, "", false, ""},
		{broken, false, "", false, "got 1, want 2"},
		{cant, true, "the system has none", true, ""},
		{fmt.Errorf("Put: %w", cant), true, "the system has none", true, ""},
		{cant, true, "", false, "cannot run (no deltas); list it in Lacks with the reason"},
		{cant, false, "", false, "cannot run (no deltas); list it in Lacks with the reason"},
		{nil, true, "the system has none", false, "is listed in Lacks, but can run (outcome: <nil>)"},
		{broken, true, "the system has none", false, "is listed in Lacks, but can run (outcome: got 1, want 2)"},
	} {
		skip, err := verdict(tt.outcome, tt.reason, tt.lacked)
		if text := fmt.Sprint(err); skip != tt.skip || err != nil && text != tt.want || err == nil && tt.want != "" {
			t.Errorf("outcome %v, lacked %v %q: got skip %v and %v, want %v and %q", tt.outcome, tt.lacked, tt.reason, skip, err, tt.skip, tt.want)
		}
	}
}
