package conntest

import (
	"errors"
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

// outcomes runs all checks on a system and returns the names of those that
// failed and of those that could not run.
func outcomes(t *testing.T, start func(testing.TB) System) (failed, cannotRunNames []string) {
	t.Helper()
	for _, c := range checks() {
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
	failed, cant := outcomes(t, func(t testing.TB) System { return bare{newSystem(t, less)} })
	if len(failed) > 0 {
		t.Errorf("checks that fail on a system that can do little: %v, want none", failed)
	}
	want := []string{"schema/NoRecordRead", "full/Handoff", "life/Ack", "life/ErrorKinds", "life/NoSecretInErrors", "life/RetryAfter"}
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
