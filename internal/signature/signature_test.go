package signature_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/internal/signature"
)

func parse(t testing.TB, text string) signature.Key {
	t.Helper()
	k, err := signature.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func header(id string, at int64, sig string) http.Header {
	h := http.Header{}
	h.Set(signature.HeaderID, id)
	h.Set(signature.HeaderTimestamp, strconv.FormatInt(at, 10))
	h.Set(signature.HeaderSignature, sig)
	return h
}

// The example that the reference libraries of Standard Webhooks test with.
func TestPublishedExample(t *testing.T) {
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	k := parse(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	body, at := []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0)
	if got := signature.Sign([]signature.Key{k}, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body); got != want {
		t.Errorf("Sign = %s, want %s", got, want)
	}
	if err := signature.Verify([]signature.Key{k}, header("msg_p5jXN8AQM9LWM0D4loKWxJek", at.Unix(), want), body, at); err != nil {
		t.Error(err)
	}
}

func TestBothAlgorithms(t *testing.T) {
	now, body := time.Unix(1700000000, 0), []byte(`{"a":1}`)
	for _, alg := range []string{signature.HMAC, signature.Ed25519} {
		t.Run(alg, func(t *testing.T) {
			fresh, err := signature.NewKey(alg)
			if err != nil || fresh.Alg() != alg {
				t.Fatalf("NewKey: %s, %v", fresh.Alg(), err)
			}
			old, _ := signature.NewKey(alg)
			foreign, _ := signature.NewKey(alg)
			signing := []signature.Key{parse(t, fresh.Secret()), old}
			sigs := signature.Sign(signing, "m", now, body)
			if n := len(strings.Fields(sigs)); n != 2 {
				t.Fatalf("%d signatures, want 2", n)
			}
			verify := func(k signature.Key, at int64, body string) error {
				return signature.Verify([]signature.Key{k}, header("m", at, sigs), []byte(body), now)
			}
			for what, tt := range map[string]struct {
				err, want error
			}{
				"newest":          {verify(parse(t, fresh.Shared()), now.Unix(), `{"a":1}`), nil},
				"old":             {verify(parse(t, old.Shared()), now.Unix(), `{"a":1}`), nil},
				"foreign":         {verify(foreign, now.Unix(), `{"a":1}`), signature.ErrMismatch},
				"changed body":    {verify(old, now.Unix(), `{"a":2}`), signature.ErrMismatch},
				"changed time":    {verify(old, now.Unix()-1, `{"a":1}`), signature.ErrMismatch},
				"301 s old":       {verify(old, now.Unix()-301, `{"a":1}`), signature.ErrTooOld},
				"301 s too early": {verify(old, now.Unix()+301, `{"a":1}`), signature.ErrTooNew},
				"missing":         {signature.Verify([]signature.Key{old}, http.Header{}, nil, now), signature.ErrMissing},
				"no number":       {signature.Verify([]signature.Key{old}, http.Header{"Webhook-Id": {"m"}, "Webhook-Timestamp": {"x"}, "Webhook-Signature": {"v1,"}}, nil, now), signature.ErrTime},
			} {
				if !errors.Is(tt.err, tt.want) {
					t.Errorf("%s: %v, want %v", what, tt.err, tt.want)
				}
			}
			for _, d := range []int64{-300, 300} {
				h := header("m", now.Unix()+d, signature.Sign(signing, "m", time.Unix(now.Unix()+d, 0), body))
				if err := signature.Verify([]signature.Key{fresh}, h, body, now); err != nil {
					t.Errorf("%d s away: %v", d, err)
				}
			}
		})
	}
}

// A signature of one algorithm says nothing about a key of the other.
func TestAlgorithmsAreNotMixed(t *testing.T) {
	now := time.Unix(1, 0)
	mac, _ := signature.NewKey(signature.HMAC)
	pair, _ := signature.NewKey(signature.Ed25519)
	sig := signature.Sign([]signature.Key{mac}, "m", now, nil)
	if err := signature.Verify([]signature.Key{pair}, header("m", 1, strings.Replace(sig, "v1,", "v1a,", 1)), nil, now); !errors.Is(err, signature.ErrMismatch) {
		t.Error(err)
	}
}

func TestParseKey(t *testing.T) {
	enc := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	seed := ed25519.NewKeyFromSeed(make([]byte, 32))
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{"whsec_" + enc(23), false}, {"whsec_" + enc(24), true}, {"whsec_" + enc(64), true}, {"whsec_" + enc(65), false},
		{"whsk_" + enc(32), true}, {"whsk_" + base64.StdEncoding.EncodeToString(seed), true}, {"whsk_" + enc(64), false}, {"whsk_" + enc(33), false},
		{"whpk_" + enc(32), true}, {"whpk_" + enc(31), false},
		{"", false}, {enc(32), false}, {"whsec_!", false}, {"other_" + enc(32), false},
	} {
		k, err := signature.ParseKey(tt.text)
		if (err == nil) != tt.ok {
			t.Errorf("ParseKey(%q): %v", tt.text, err)
		}
		if err != nil && len(tt.text) > 8 && strings.Contains(err.Error(), tt.text[6:]) {
			t.Errorf("the error shows the key: %v", err)
		}
		if err == nil && k.String() != "***" {
			t.Errorf("String shows the key")
		}
	}
	if _, err := signature.NewKey("rsa"); err == nil {
		t.Error("NewKey made an RSA key")
	}
}

// Vectors that another program made.
func TestMACVectors(t *testing.T) {
	for _, tt := range []struct{ hash, key, body, want string }{
		// RFC 4231 test case 2 and RFC 2202 test case 2 have the same input.
		{"sha256", "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"sha1", "Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{"sha512", "Jefe", "what do ya want for nothing?", "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
	} {
		got, err := signature.MAC(tt.hash, []byte(tt.key), []byte(tt.body))
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%s: %x, %v, want %s", tt.hash, got, err, tt.want)
		}
	}
	if _, err := signature.MAC("md5", nil, nil); err == nil {
		t.Error("md5 was accepted")
	}
}
