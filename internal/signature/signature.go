// Package signature signs and verifies messages by Standard Webhooks 1.0
// (https://www.standardwebhooks.com): HMAC-SHA256 ("v1") and ed25519 ("v1a")
// over id, time and the raw body. [MAC] is the plain HMAC of systems that
// know no standard.
package signature

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of a signed message.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp" // Unix seconds of the attempt
	HeaderSignature = "webhook-signature" // signatures separated by spaces
)

// Tolerance is how far the time of a message may lie from now, both ways.
const Tolerance = 300 * time.Second

// The lengths of an HMAC secret, in bytes.
const (
	MinSecret = 24
	MaxSecret = 64
	newSecret = 32
)

// The algorithms of keys.
const (
	HMAC    = "hmac"
	Ed25519 = "ed25519"
)

const (
	prefixSecret  = "whsec_"
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
	maxSignatures = 32 // of one header that are looked at
)

// A Key signs, verifies or both. The zero Key does neither.
type Key struct {
	mac     []byte
	private ed25519.PrivateKey
	public  ed25519.PublicKey
}

// NewKey returns a random key of the algorithm [HMAC] or [Ed25519].
func NewKey(alg string) (Key, error) {
	switch alg {
	case HMAC:
		b := make([]byte, newSecret)
		_, err := rand.Read(b)
		return Key{mac: b}, err
	case Ed25519:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		return Key{private: private, public: public}, err
	}
	return Key{}, fmt.Errorf("unknown algorithm; use %s or %s", HMAC, Ed25519)
}

// ParseKey reads a key: "whsec_" and base64 of 24 to 64 bytes (HMAC), "whsk_"
// and base64 of a private ed25519 key (64 bytes, or its seed of 32), "whpk_"
// and base64 of a public one, which only verifies. No error shows the text.
func ParseKey(text string) (Key, error) {
	i := strings.IndexByte(text, '_') + 1
	raw, err := base64.StdEncoding.DecodeString(text[i:])
	if err != nil {
		return Key{}, errors.New("the key is not base64 after its prefix")
	}
	switch prefix := text[:i]; {
	case prefix == prefixSecret && len(raw) >= MinSecret && len(raw) <= MaxSecret:
		return Key{mac: raw}, nil
	case prefix == prefixSecret:
		return Key{}, fmt.Errorf("the secret has %d bytes; use %d to %d", len(raw), MinSecret, MaxSecret)
	case prefix == prefixPrivate && len(raw) == ed25519.SeedSize:
		return privateKey(ed25519.NewKeyFromSeed(raw)), nil
	case prefix == prefixPrivate && len(raw) == ed25519.PrivateKeySize:
		k := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
		if !bytes.Equal(k, raw) {
			return Key{}, errors.New("the private key does not match its public half")
		}
		return privateKey(k), nil
	case prefix == prefixPublic && len(raw) == ed25519.PublicKeySize:
		return Key{public: raw}, nil
	case prefix == prefixPrivate || prefix == prefixPublic:
		return Key{}, fmt.Errorf("the ed25519 key has %d bytes", len(raw))
	}
	return Key{}, errors.New("a key begins with whsec_, whsk_ or whpk_")
}

func privateKey(k ed25519.PrivateKey) Key {
	return Key{private: k, public: k.Public().(ed25519.PublicKey)}
}

// Alg returns [HMAC] or [Ed25519].
func (k Key) Alg() string {
	if k.mac != nil {
		return HMAC
	}
	return Ed25519
}

// Secret returns the text that [ParseKey] reads. It is a secret unless k holds
// a public key only.
func (k Key) Secret() string {
	switch {
	case k.mac != nil:
		return prefixSecret + base64.StdEncoding.EncodeToString(k.mac)
	case k.private != nil:
		return prefixPrivate + base64.StdEncoding.EncodeToString(k.private)
	}
	return k.Shared()
}

// Shared returns what the receiver needs to verify: the secret itself of an
// HMAC key, the public half of an ed25519 key.
func (k Key) Shared() string {
	if k.mac != nil {
		return k.Secret()
	}
	return prefixPublic + base64.StdEncoding.EncodeToString(k.public)
}

// String hides the key.
func (k Key) String() string { return "***" }

// Sign returns the value of the signature header: a signature of each key, in
// order, so newest first. at is rounded down to the second.
func Sign(keys []Key, id string, at time.Time, body []byte) string {
	content := content(id, strconv.FormatInt(at.Unix(), 10), body)
	out := make([]byte, 0, 96*len(keys))
	for i, k := range keys {
		if i > 0 {
			out = append(out, ' ')
		}
		out = append(out, k.version()...)
		out = append(out, ',')
		out = base64.StdEncoding.AppendEncode(out, k.sum(content))
	}
	return string(out)
}

func content(id, seconds string, body []byte) []byte {
	b := make([]byte, 0, len(id)+len(seconds)+len(body)+2)
	b = append(b, id...)
	b = append(b, '.')
	b = append(b, seconds...)
	b = append(b, '.')
	return append(b, body...)
}

func (k Key) version() string {
	if k.mac != nil {
		return "v1"
	}
	return "v1a"
}

func (k Key) sum(content []byte) []byte {
	if k.mac != nil {
		h := hmac.New(sha256.New, k.mac)
		h.Write(content)
		return h.Sum(nil)
	}
	return ed25519.Sign(k.private, content)
}

func (k Key) verifies(version string, content, sig []byte) bool {
	if version != k.version() {
		return false
	}
	if k.mac != nil {
		return hmac.Equal(k.sum(content), sig)
	}
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.public, content, sig)
}

// The reasons for which [Verify] refuses a message.
var (
	ErrMissing  = errors.New("signature: a webhook header is missing")
	ErrTime     = errors.New("signature: the timestamp is no number")
	ErrTooOld   = errors.New("signature: the message is too old")
	ErrTooNew   = errors.New("signature: the message is from the future")
	ErrMismatch = errors.New("signature: no signature matches")
)

// Verify checks that one of keys signed the message, no further than
// [Tolerance] from now. It compares in constant time.
func Verify(keys []Key, h http.Header, body []byte, now time.Time) error {
	id, seconds, sigs := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if id == "" || seconds == "" || sigs == "" {
		return ErrMissing
	}
	at, err := strconv.ParseInt(seconds, 10, 64)
	switch d := now.Unix() - at; {
	case err != nil:
		return ErrTime
	case d > int64(Tolerance/time.Second):
		return ErrTooOld
	case d < -int64(Tolerance/time.Second):
		return ErrTooNew
	}
	content := content(id, seconds, body)
	for i, text := range strings.Fields(sigs) {
		version, encoded, _ := strings.Cut(text, ",")
		sig, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || i >= maxSignatures {
			continue
		}
		for _, k := range keys {
			if k.verifies(version, content, sig) {
				return nil
			}
		}
	}
	return ErrMismatch
}

// MAC returns the HMAC of body with the hash sha1, sha256, sha384 or sha512.
// Compare it with crypto/hmac.Equal.
func MAC(hashName string, key, body []byte) ([]byte, error) {
	var f func() hash.Hash
	switch hashName {
	case "sha1":
		f = sha1.New
	case "sha256":
		f = sha256.New
	case "sha384":
		f = sha512.New384
	case "sha512":
		f = sha512.New
	default:
		return nil, errors.New("unknown hash; use sha1, sha256, sha384 or sha512")
	}
	h := hmac.New(f, key)
	h.Write(body)
	return h.Sum(nil), nil
}
