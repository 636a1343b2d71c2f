package kedge_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
)

// TestKeyRoundTrip checks that a key tells its parts apart whatever is in them.
func TestKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "parts")
		texts := rapid.SliceOfN(rapid.StringMatching(`[a,\\'/% é]{1,5}`), n, n).Draw(t, "texts")
		values := make([]kedge.Value, n)
		for i := range values {
			values[i] = kedge.String(texts[i])
		}
		k := kedge.NewKey(values...)
		if got, err := k.Parts(n); err != nil || !slices.Equal(got, texts) {
			t.Errorf("Parts of %q = %q, %v, want %q", k, got, err, texts)
		}
	})
}

func TestKeys(t *testing.T) {
	for _, tt := range []struct {
		name  string
		parts []kedge.Value
		want  kedge.Key
	}{
		{"one part is verbatim", []kedge.Value{kedge.String(`a,b\c`)}, `a,b\c`},
		{"composite", []kedge.Value{kedge.String(`a,b`), kedge.Int(7)}, `a\,b,7`},
		{"one spelling of a number", []kedge.Value{kedge.Decimal("1.50")}, "1.5"},
		{"null part", []kedge.Value{kedge.String("a"), kedge.Null()}, ""},
		{"missing", []kedge.Value{{}}, ""},
		{"empty text alone", []kedge.Value{kedge.String("")}, ""},
		{"empty text beside another", []kedge.Value{kedge.String(""), kedge.Int(1)}, ",1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := kedge.NewKey(tt.parts...); got != tt.want {
				t.Errorf("NewKey = %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := kedge.Key("a,b,c").Parts(2); err == nil {
		t.Error("three parts were read as two")
	}
}

func TestKindOf(t *testing.T) {
	gone := &kedge.Error{Op: "odata.ReadPage", Kind: kedge.NotFound, Entity: "accounts", Key: "42"}
	for _, tt := range []struct {
		name string
		err  error
		want kedge.Kind
	}{
		{"plain error", io.EOF, kedge.Internal},
		{"direct", gone, kedge.NotFound},
		{"wrapped", fmt.Errorf("run 7: %w", gone), kedge.NotFound},
		{"joined", errors.Join(io.EOF, gone), kedge.NotFound},
		{"outermost wins", &kedge.Error{Op: "syncer.Run", Kind: kedge.Transient, Err: gone}, kedge.Transient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := kedge.KindOf(tt.err); got != tt.want {
				t.Errorf("KindOf(%v) = %v, want %v", tt.err, got, tt.want)
			}
		})
	}
}

func TestErrorTextHasNoKey(t *testing.T) {
	err := &kedge.Error{Op: "odata.ReadKeys", Kind: kedge.NotFound, Entity: "customers", Key: "ann@example.com"}
	if got, want := err.Error(), "odata.ReadKeys customers: not found"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}
