package store_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"pgregory.net/rapid"
)

func key(id string, b byte) store.Key {
	return store.Key{ID: id, Value: bytes.Repeat([]byte{b}, store.KeySize)}
}

func ring(t testing.TB, keys ...store.Key) *store.KeyRing {
	t.Helper()
	k, err := store.NewKeyRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestNewKeyRing(t *testing.T) {
	long := strings.Repeat("k", 64)
	for _, tt := range []struct {
		name string
		keys []store.Key
		text string // "" if the ring is good
	}{
		{"one", []store.Key{key("k1", 1)}, ""},
		{"two", []store.Key{key("k2", 2), key("k1", 1)}, ""},
		{"longest id", []store.Key{key(long, 1)}, ""},
		{"id too long", []store.Key{key(long+"k", 1)}, "its id is not"},
		{"none", nil, "there is no key"},
		{"no id", []store.Key{key("", 1)}, "its id is not"},
		{"bad id", []store.Key{key("my key", 1)}, "its id is not"},
		{"twice", []store.Key{key("k1", 1), key("k1", 2)}, "k1 is used twice"},
		{"short", []store.Key{{ID: "k1", Value: make([]byte, 31)}}, "31 bytes, not 32"},
		{"long", []store.Key{{ID: "k1", Value: make([]byte, 33)}}, "33 bytes, not 32"},
	} {
		_, err := store.NewKeyRing(tt.keys...)
		if tt.text == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err == nil || kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, want an invalid error with %q", tt.name, err, tt.text)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	before, after := ring(t, key("k1", 1)), ring(t, key("k2", 2), key("k1", 1))
	sealed, err := before.Seal([]byte("token"), "crm")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Open(sealed, "crm"); err != nil || string(got) != "token" {
		t.Errorf("old value with the new ring: %q, %v", got, err)
	}
	if sealed, err = after.Seal([]byte("token"), "crm"); err != nil {
		t.Fatal(err)
	}
	_, err = before.Open(sealed, "crm")
	wantKind(t, "new value with the old ring", err, kedge.Invalid)
	if err != nil && !strings.Contains(err.Error(), "sealed with key k2") {
		t.Errorf("the error does not name the missing key: %v", err)
	}
	_, err = ring(t, key("k2", 9)).Open(sealed, "crm")
	wantKind(t, "another key of the same name", err, kedge.Invalid)
}

// Whatever is changed, the value does not open; and it opens if nothing is.
func TestSealProperty(t *testing.T) {
	k := ring(t, key("k1", 1))
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		context := rapid.String().Draw(t, "context")
		sealed, err := k.Seal(plain, context)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open(sealed, context); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open = %x, %v, want %x", got, err, plain)
		}
		if _, err := k.Open(sealed, context+"x"); kedge.KindOf(err) != kedge.Invalid {
			t.Fatalf("another context: %v, want invalid", err)
		}
		i := rapid.IntRange(0, len(sealed)-1).Draw(t, "i")
		changed := bytes.Clone(sealed)
		changed[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		if _, err := k.Open(changed, context); kedge.KindOf(err) != kedge.Invalid {
			t.Fatalf("byte %d changed: %v, want invalid", i, err)
		}
		if _, err := k.Open(sealed[:i], context); kedge.KindOf(err) != kedge.Invalid {
			t.Fatalf("cut to %d bytes: %v, want invalid", i, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	k := ring(f, key("k1", 1))
	sealed, err := k.Seal([]byte("token"), "crm")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte{1, 2, 'k', '1'})
	f.Add([]byte{1, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := k.Open(b, "crm")
		if err == nil && string(got) != "token" {
			t.Errorf("%x opens to %x, which nobody sealed", b, got)
		}
		if err != nil && kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("%v, want kind invalid", err)
		}
	})
}
