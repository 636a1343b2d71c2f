package connectors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A writer notes the keys of each batch and answers with its function.
type writer struct {
	driver
	batches []string
	write   func(changes []kedge.Change) ([]connectors.Result, error) // nil applies all
}

func (w *writer) Write(ctx context.Context, changes []kedge.Change) ([]connectors.Result, error) {
	w.batches = append(w.batches, keys(changes))
	if w.write != nil {
		return w.write(changes)
	}
	return applied(changes), nil
}

func applied(changes []kedge.Change) []connectors.Result {
	results := make([]connectors.Result, len(changes))
	for i := range changes {
		results[i].State = connectors.Updated
	}
	return results
}

func keys(changes []kedge.Change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(string(c.Key))
	}
	return b.String()
}

// changesOf returns one update for each letter of letters, of entity others
// if it is a capital.
func changesOf(letters string) []kedge.Change {
	var changes []kedge.Change
	for _, l := range letters {
		c := kedge.Change{Op: kedge.Update, Entity: "things", Key: kedge.Key(string(l))}
		if l < 'a' {
			c.Entity = "others"
		}
		changes = append(changes, c)
	}
	return changes
}

// states returns a letter per result: u updated, r rejected, - unset.
func states(results []connectors.Result) string {
	var b strings.Builder
	for _, r := range results {
		b.WriteByte(map[connectors.State]byte{connectors.Updated: 'u', connectors.Rejected: 'r', connectors.Unset: '-'}[r.State])
	}
	return b.String()
}

func newWriter(batch int, write func([]kedge.Change) ([]connectors.Result, error)) (*writer, *connectors.Conn) {
	others, limited := things, things
	others.Name, limited.WriteBatch = "others", batch
	w := &writer{write: write}
	w.entities = []kedge.Entity{others, limited}
	return w, connectors.New(w, nil)
}

// Batches are of one entity, of distinct keys and of limited size, in order.
func TestWriteBatches(t *testing.T) {
	for _, tt := range []struct {
		limit         int
		changes, want string
	}{
		{0, "", "[]"}, {0, "abc", "[abc]"}, {3, "abc", "[abc]"}, {3, "abcd", "[abc d]"}, {1, "ab", "[a b]"},
		{0, "abAcd", "[ab A cd]"}, {0, "abab", "[ab ab]"}, {3, "abcaA", "[abc a A]"},
	} {
		w, conn := newWriter(tt.limit, nil)
		results, err := conn.Write(t.Context(), changesOf(tt.changes))
		if err != nil || fmt.Sprint(w.batches) != tt.want || states(results) != strings.Repeat("u", len(tt.changes)) {
			t.Errorf("%q in batches of %d: batches %v, results %s, error %v; want %s", tt.changes, tt.limit, w.batches, states(results), err, tt.want)
		}
		for i, r := range results {
			if r.Key != changesOf(tt.changes)[i].Key {
				t.Errorf("%q: result %d has the key %q, want that of the change", tt.changes, i, r.Key)
			}
		}
	}
}

// Inserts whose key the system makes are not the same record.
func TestWriteWithoutKeys(t *testing.T) {
	made := 0
	w, conn := newWriter(0, func(changes []kedge.Change) ([]connectors.Result, error) {
		results := make([]connectors.Result, len(changes))
		for i := range results {
			made++
			results[i] = connectors.Result{State: connectors.Inserted, Key: kedge.Key(fmt.Sprint("k", made))}
		}
		return results, nil
	})
	inserts := make([]kedge.Change, 3)
	for i := range inserts {
		inserts[i] = kedge.Change{Op: kedge.Insert, Entity: "things"}
	}
	results, err := conn.Write(t.Context(), inserts)
	if err != nil || len(w.batches) != 1 || results[2].Key != "k3" {
		t.Errorf("got %d batches, results %v, error %v; want one batch and the key k3", len(w.batches), results, err)
	}
}

// A batch that is too large is halved down to single changes; one that is
// still too large is rejected, and the others are written once each.
func TestWriteTooLarge(t *testing.T) {
	tooLarge := &kedge.Error{Kind: kedge.TooLarge}
	for _, tt := range []struct{ changes, big, states, batches string }{
		{"abcd", "", "uuuu", "[abcd ab cd]"},
		{"abc", "", "uuu", "[abc ab c]"},
		{"abcd", "c", "uuru", "[abcd ab cd c d]"},
		{"a", "a", "r", "[a]"},
	} {
		w, conn := newWriter(0, func(changes []kedge.Change) ([]connectors.Result, error) {
			if len(changes) > 2 || tt.big != "" && strings.Contains(keys(changes), tt.big) {
				return nil, tooLarge
			}
			return applied(changes), nil
		})
		results, err := conn.Write(t.Context(), changesOf(tt.changes))
		if err != nil || states(results) != tt.states || fmt.Sprint(w.batches) != tt.batches {
			t.Errorf("%q with %q too large: results %s, batches %v, error %v; want %s, %s", tt.changes, tt.big, states(results), w.batches, err, tt.states, tt.batches)
		}
		for _, r := range results {
			if r.State == connectors.Rejected && r.Err.Kind != kedge.TooLarge {
				t.Errorf("rejected with kind %v, want TooLarge", r.Err.Kind)
			}
		}
	}
}

// What was applied before the system found the batch too large is not sent again.
func TestWritePartlyTooLarge(t *testing.T) {
	first := true
	w, conn := newWriter(0, func(changes []kedge.Change) ([]connectors.Result, error) {
		results := applied(changes)
		if first {
			first = false
			results[1], results[3] = connectors.Result{}, connectors.Result{}
			return results, &kedge.Error{Kind: kedge.TooLarge}
		}
		return results, nil
	})
	results, err := conn.Write(t.Context(), changesOf("abcd"))
	if err != nil || states(results) != "uuuu" || fmt.Sprint(w.batches) != "[abcd bd]" {
		t.Errorf("results %s, batches %v, error %v; want uuuu, [abcd bd]", states(results), w.batches, err)
	}
}

// An error stops the writing; what was done before it is told.
func TestWriteStops(t *testing.T) {
	for _, kind := range []kedge.Kind{kedge.Transient, kedge.OutcomeUnknown} {
		w, conn := newWriter(2, func(changes []kedge.Change) ([]connectors.Result, error) {
			if changes[0].Key != "c" {
				return applied(changes), nil
			}
			return append(applied(changes[:1]), connectors.Result{}), &kedge.Error{Kind: kind}
		})
		results, err := conn.Write(t.Context(), changesOf("abcdef"))
		wantKind(t, "Write", err, kind)
		if states(results) != "uuu---" || fmt.Sprint(w.batches) != "[ab cd]" {
			t.Errorf("results %s, batches %v; want uuu---, [ab cd]", states(results), w.batches)
		}
	}
}

// A write that never returned may have happened.
func TestWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waitingWriter{}
		_, err := connectors.New(w, nil).Write(t.Context(), changesOf("a"))
		wantKind(t, "a write that never returns", err, kedge.OutcomeUnknown)
	})
}

type waitingWriter struct{ driver }

func (w *waitingWriter) Write(ctx context.Context, _ []kedge.Change) ([]connectors.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestBrokenResults(t *testing.T) {
	ok := connectors.Result{State: connectors.Updated}
	for name, results := range map[string][]connectors.Result{
		"none":                     nil,
		"too few":                  {ok},
		"too many":                 {ok, ok, ok},
		"unset":                    {ok, {}},
		"rejected without error":   {ok, {State: connectors.Rejected}},
		"an error but not refused": {ok, {State: connectors.Updated, Err: &kedge.Error{}}},
		"an unknown state":         {ok, {State: 99}},
	} {
		_, conn := newWriter(0, func([]kedge.Change) ([]connectors.Result, error) { return results, nil })
		_, err := conn.Write(t.Context(), changesOf("ab"))
		wantKind(t, name, err, kedge.Internal)
	}
	_, conn := newWriter(0, func([]kedge.Change) ([]connectors.Result, error) {
		return []connectors.Result{{State: connectors.Inserted}}, nil
	})
	_, err := conn.Write(t.Context(), []kedge.Change{{Op: kedge.Insert, Entity: "things"}})
	wantKind(t, "an inserted record without key", err, kedge.Internal)
}

// The system's own words are kept to 4 KiB, cut between characters.
func TestRemoteIsCut(t *testing.T) {
	for n, want := range map[int]int{4095: 4095, 4096: 4096, 4097: 4096, 5000: 4096} {
		_, conn := newWriter(0, func(changes []kedge.Change) ([]connectors.Result, error) {
			e := &kedge.Error{Kind: kedge.Invalid, Err: errors.New("refused")}
			return []connectors.Result{{State: connectors.Rejected, Err: e, Remote: strings.Repeat("x", n-2) + "ë"}}, nil
		})
		results, err := conn.Write(t.Context(), changesOf("a"))
		if n == 4097 {
			want-- // the last character does not fit
		}
		if err != nil || len(results[0].Remote) != want {
			t.Errorf("%d bytes: kept %d, error %v; want %d", n, len(results[0].Remote), err, want)
		}
	}
}
