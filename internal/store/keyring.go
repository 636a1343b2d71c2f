package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"regexp"

	"github.com/kedge-sync/kedge"
)

// KeySize is the length of a key, in bytes.
const KeySize = 32

const (
	envelopeVersion = 1
	maxKeyID        = 64
)

var keyIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// A Key is an encryption key of [KeySize] bytes.
type Key struct {
	ID    string // 1 to 64 letters, digits, dots, dashes and underscores; stored with each sealed value
	Value []byte
}

// A KeyRing seals values with AES-256-GCM: the first key encrypts, all keys
// decrypt. It may be used concurrently.
type KeyRing struct {
	first string
	keys  map[string]cipher.AEAD
}

// NewKeyRing returns the ring of the given keys, newest first.
func NewKeyRing(keys ...Key) (*KeyRing, error) {
	const op = "store.NewKeyRing"
	if len(keys) == 0 {
		return nil, invalid(op, "there is no key")
	}
	k := &KeyRing{first: keys[0].ID, keys: map[string]cipher.AEAD{}}
	for i, key := range keys {
		switch {
		case !keyIDPattern.MatchString(key.ID) || len(key.ID) > maxKeyID:
			return nil, invalid(op, "key %d: its id is not 1 to %d letters, digits, dots, dashes and underscores", i+1, maxKeyID)
		case k.keys[key.ID] != nil:
			return nil, invalid(op, "key %d: the id %s is used twice", i+1, key.ID)
		case len(key.Value) != KeySize:
			return nil, invalid(op, "key %s has %d bytes, not %d; make one with: openssl rand -base64 32", key.ID, len(key.Value), KeySize)
		}
		block, err := aes.NewCipher(key.Value)
		if err != nil {
			return nil, err
		}
		if k.keys[key.ID], err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// Seal encrypts plain so that only Open with the same context opens it. The
// context says what the value is and where it is kept, for example
// "connector_state crm token", so that sealed values cannot change places.
//
// The envelope is: version 1, length of the key id, key id, nonce of 12 bytes,
// ciphertext with its tag of 16 bytes. Nonces are random, which is safe for
// 2^32 values per key (NIST SP 800-38D, section 8.3).
func (k *KeyRing) Seal(plain []byte, context string) ([]byte, error) {
	if k == nil {
		return nil, errNoKeys("store.Seal")
	}
	aead := k.keys[k.first]
	head := append([]byte{envelopeVersion, byte(len(k.first))}, k.first...)
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	aad := append(append([]byte(nil), head...), context...)
	return aead.Seal(append(head, nonce...), nonce, plain, aad), nil
}

// Open decrypts what Seal returned. It returns an error of kind Invalid if the
// key is not in the ring, the context is another or the bytes were changed.
func (k *KeyRing) Open(sealed []byte, context string) ([]byte, error) {
	const op = "store.Open"
	if k == nil {
		return nil, errNoKeys(op)
	}
	if len(sealed) < 2 || sealed[0] != envelopeVersion || len(sealed) < 2+int(sealed[1]) {
		return nil, invalid(op, "not a sealed value")
	}
	head, rest := sealed[:2+int(sealed[1])], sealed[2+int(sealed[1]):]
	aead := k.keys[string(head[2:])]
	if aead == nil {
		if !keyIDPattern.Match(head[2:]) {
			return nil, invalid(op, "not a sealed value")
		}
		return nil, invalid(op, "sealed with key %s, which is missing from keys: in the config", head[2:])
	}
	if len(rest) < aead.NonceSize() {
		return nil, invalid(op, "not a sealed value")
	}
	aad := append(append([]byte(nil), head...), context...)
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], aad)
	if err != nil {
		return nil, invalid(op, "the sealed value was changed, or key %s is not the one it was sealed with", head[2:])
	}
	return plain, nil
}

func errNoKeys(op string) error {
	return &kedge.Error{Op: op, Kind: kedge.Invalid, Err: errors.New(
		`secrets can be stored only encrypted; add to the config: keys: [{id: k1, value: "${KEDGE_KEY}"}], where KEDGE_KEY is made by: openssl rand -base64 32`)}
}
