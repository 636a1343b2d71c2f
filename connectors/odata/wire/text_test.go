package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzText compares texts with those of encoding/json, which replaces what is
// not valid where this package refuses it.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "plain", `a\nb`, `\u00e9`, `\ud83d\ude00`, `\ud83d`, `\ud83d\u0041`, "\xff", `ends with \\`, "tab\tinside",
		"seven77", "eight888", "quote at 8\x22", strings.Repeat("x", 63) + "\u00fc", `é\t` + strings.Repeat("y", 17) + `\"z`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, inner string) {
		src := `"` + inner + `"`
		sc := scanner{s: src}
		raw, flags, next := sc.text(0)
		var want string
		valid := json.Valid([]byte(src))
		if (next == len(src)) != valid {
			t.Fatalf("text of %q ends at %d; valid JSON: %v", src, next, valid)
		}
		if !valid {
			return
		}
		if err := json.Unmarshal([]byte(src), &want); err != nil {
			t.Fatal(err)
		}
		space := textSpace{size: 32}
		before, _ := space.plainText(`a\tb`, escaped)
		got, err := space.plainText(raw, flags)
		switch {
		case err == nil && got != want:
			t.Errorf("%q gives %q, want %q", src, got, want)
		case err != nil && utf8.ValidString(src) && !strings.Contains(want, "\ufffd"):
			t.Errorf("%q is refused, want %q", src, want)
		case err == nil && !utf8.ValidString(got):
			t.Errorf("%q gives invalid UTF-8", src)
		}
		if before != "a\tb" {
			t.Errorf("a text given out before became %q", before)
		}
	})
}

// runEnd looks at eight bytes at once; here it is checked for each byte at
// each place.
func TestRunEnd(t *testing.T) {
	for place := range 20 {
		for b := range 256 {
			s := strings.Repeat("a", place) + string([]byte{byte(b)}) + "\u00fc!\x00\xff"
			want, flags := place, uint8(0)
			for ; s[want] >= ' ' && s[want] != '"' && s[want] != '\\'; want++ {
				if s[want] >= 0x80 {
					flags = nonASCII
				}
			}
			if got, saw := runEnd(s, 0); got != want || saw != flags {
				t.Fatalf("runEnd(%q) = %d, %d, want %d, %d", s, got, saw, want, flags)
			}
		}
	}
}
