package odata

import (
	"encoding/json"
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

// A repeat says when the request was sent first; the memory of that is bounded.
func TestFirstSent(t *testing.T) {
	var f firstSent
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 3 * maxFirstSent {
		f.of(requestID(string(rune(i))), start.Add(time.Duration(i)))
	}
	last := requestID(string(rune(3*maxFirstSent - 1)))
	if got := f.of(last, start.Add(time.Hour)); !got.Before(start.Add(time.Second)) {
		t.Errorf("the time of a repeat is %v", got)
	}
	if len(f.at) != maxFirstSent || len(f.ring) != maxFirstSent {
		t.Errorf("%d requests are remembered, want %d", len(f.at), maxFirstSent)
	}
}
