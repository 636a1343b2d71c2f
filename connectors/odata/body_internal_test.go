package odata

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"pgregory.net/rapid"
)

func TestPlainDecimal(t *testing.T) {
	for text, want := range map[string]string{
		"19.90": "19.90", "1e-7": "0.0000001", "-1.50e3": "-1500", "+1": "1", ".5": "0.5", "5.": "5", "007": "7", "0e5": "0", "1.25E1": "12.5", "-0.10": "-0.10",
	} {
		if got := plainDecimal(text); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[+-]?[0-9]{0,12}(\.[0-9]{0,12})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "decimal")
		if !kedge.ValidDecimal(text) {
			return
		}
		got := plainDecimal(text)
		if kedge.CanonicalDecimal(got) != kedge.CanonicalDecimal(text) || !json.Valid([]byte(got)) || strings.ContainsAny(got, "eE+") {
			t.Errorf("%s: got %s", text, got)
		}
	})
}

func TestRequestID(t *testing.T) {
	const id = "0a000000-0000-4000-8000-00000000000f"
	if got := requestID(id); got != id {
		t.Errorf("a UUID became %s", got)
	}
	a, b := requestID("change 1"), requestID("change 2")
	if a == b || a != requestID("change 1") || !uuidText.MatchString(a) {
		t.Errorf("got %s and %s", a, b)
	}
}

// A repeat says when the request was sent first, until it was answered; the
// memory of that is bounded.
func TestFirstSent(t *testing.T) {
	f := firstSent{at: map[string]time.Time{}}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	id := func(i int) string { return requestID(strconv.Itoa(i)) }
	for i := range 3 * maxFirstSent {
		f.of(id(i), start.Add(time.Duration(i)))
	}
	last := 3*maxFirstSent - 1
	later := start.Add(time.Hour)
	if got := f.of(id(last), later); !got.Equal(start.Add(time.Duration(last))) {
		t.Errorf("the time of a repeat is %v", got)
	}
	if len(f.at) != maxFirstSent {
		t.Errorf("%d requests are remembered, want %d", len(f.at), maxFirstSent)
	}
	r := &request{repeat: repeatability{id: id(last)}}
	f.settle(r, &reply{status: 503})
	if got := f.of(id(last), later); got.Equal(later) {
		t.Error("a request without a real answer is forgotten")
	}
	f.settle(r, &reply{status: 400})
	if got := f.of(id(last), later); !got.Equal(later) {
		t.Errorf("after an answer, the time is %v", got)
	}
}
