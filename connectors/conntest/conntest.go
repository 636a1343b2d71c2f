// Package conntest is the conformance kit for connectors: every driver passes
// it against its real system, or a faithful one.
//
// A driver's test makes a [Harness] and calls [Run]. Each check is a subtest
// with a name such as "delta/Deletes". A check that a system cannot run, for
// instance because it has no deltas, must be listed in [Harness.Lacks] with
// the reason; a check that is listed there and could run fails, so that the
// list is always the truth about the system.
package conntest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A Harness tells [Run] how to get a system to test.
type Harness struct {
	// Start returns a new system whose entities [Widgets] and [Parts] are
	// empty. It is called for each check and cleans up with t.Cleanup.
	Start func(t testing.TB) System

	// Lacks gives the reason for each check that the system cannot run, by the
	// name of the check.
	Lacks map[string]string
}

// A System is a remote system under test. Its methods other than Driver work
// behind the driver's back, as another program would. They return an error of
// kind Unsupported for what the system cannot hold as it is or cannot do, such
// as a NUL in a text or nanoseconds where it keeps microseconds; the check
// then cannot run. Implement [Holder], [Failer], [Expirer], [Secreter],
// [Loser] and [Transactor] where the system can.
type System interface {
	// Driver returns a new driver for the system, as another process would
	// have. The kit closes it if it is an io.Closer.
	Driver() connectors.Driver

	// Put writes whole records in one commit: what the system did not have is
	// inserted, what it had is replaced. Missing values become null. Where
	// versions are times or commits, the records of one Put share a version.
	// Key and Fields are set; Version and Removed are not.
	Put(ctx context.Context, entity string, records ...kedge.Record) error

	// Delete removes records in one commit.
	Delete(ctx context.Context, entity string, keys ...kedge.Key) error

	// Calls returns how many requests for records the system has answered, or
	// -1 if it cannot know.
	Calls() int
}

// A Holder can keep a transaction open that has taken its version or commit
// number already.
type Holder interface {
	// Hold writes r as Put does, but only commit makes it visible. Commits of
	// others go on meanwhile.
	Hold(ctx context.Context, entity string, r kedge.Record) (commit func() error, err error)
}

// A Failer can make requests for records go wrong.
type Failer interface {
	// Fail lets the requests for records of existing and new drivers fail with
	// f until stop is called; ok is false if the system cannot fail like that.
	// Each request is made once: no client waits and tries again.
	Fail(f Fault) (stop func(), ok bool)
}

// An Expirer can forget the history of an entity, so that the anchors and
// tokens of incremental reads that it has given out are no longer known.
type Expirer interface {
	Expire(ctx context.Context, entity string) error
}

// A Fault says how requests go wrong: by Status, Cut or Garbage.
type Fault struct {
	Status     int           // the answer has this HTTP status
	RetryAfter time.Duration // the answer asks for this delay; with Status 429 and 503
	Cut        bool          // the connection breaks in the middle of the answer
	Garbage    bool          // the answer is not in the system's format
	Text       string        // part of the words in the answer that are meant for people
}

// A Secreter has credentials that its drivers use.
type Secreter interface {
	// Secrets returns the texts that must never be seen in an error.
	Secrets() []string
}

// A check is one test of a driver. Its run returns an error that says what
// was got and what was wanted, or one made by cannot.
type check struct {
	name string
	run  func(ctx context.Context, e *env) error
}

// checks returns all checks in the order in which they run.
func checks() []check {
	return slices.Concat(schemaChecks, pagingChecks, fullChecks, deltaChecks, valueChecks, keyChecks, filterChecks, writeChecks, txChecks, lifeChecks)
}

// Run runs all checks as subtests of t.
func Run(t *testing.T, h Harness) {
	t.Helper()
	all := checks()
	for _, name := range h.unknown(all) {
		t.Errorf("Lacks names %q, which is not a check", name)
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			reason, lacked := h.Lacks[c.name]
			skip, err := verdict(c.on(t, h.Start(t)), reason, lacked)
			if err != nil {
				t.Error(err)
			} else if skip {
				t.Skip("lacks it: " + reason)
			}
		})
	}
}

// verdict says what the outcome of a check means for a harness that lists it
// in Lacks with reason, or does not.
func verdict(outcome error, reason string, lacked bool) (skip bool, err error) {
	why, cant := errors.AsType[*cannotRun](outcome)
	switch {
	case cant && lacked && reason != "":
		return true, nil
	case cant:
		return false, fmt.Errorf("cannot run (%w); list it in Lacks with the reason", why)
	case lacked:
		return false, fmt.Errorf("is listed in Lacks, but can run (outcome: %v)", outcome)
	}
	return false, outcome
}

// unknown returns the names in Lacks that no check has.
func (h *Harness) unknown(all []check) []string {
	var names []string
	for name := range h.Lacks {
		if !slices.ContainsFunc(all, func(c check) bool { return c.name == name }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// on runs c on sys and closes the drivers that it used.
func (c *check) on(t testing.TB, sys System) error {
	e := &env{sys: sys}
	defer e.close()
	return c.run(t.Context(), e)
}
