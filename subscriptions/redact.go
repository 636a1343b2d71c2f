package subscriptions

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	headBytes  = 512
	redactFrom = 4 << 10 // bytes of an answer that are looked at
)

// What an answer may hold that the log of attempts must not: tokens, e-mail
// addresses, long numbers.
var (
	emailPattern = regexp.MustCompile(`[^\s"'<>(),;:]+@[^\s"'<>(),;:]+`)
	tokenPattern = regexp.MustCompile(`[A-Za-z0-9_+/=.-]{20,}`)
	digitPattern = regexp.MustCompile(`[0-9](?:[ -]?[0-9]){5,}`)
)

// redact returns what the log of attempts keeps of the answer to a failure: at
// most 512 bytes of printable text without what may be a secret or name a
// person.
func redact(body []byte) string {
	text := string(body[:min(len(body), redactFrom)])
	text = strings.ToValidUTF8(text, "")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	text = emailPattern.ReplaceAllString(text, "[email]")
	text = digitPattern.ReplaceAllString(text, "[number]")
	text = tokenPattern.ReplaceAllString(text, "[token]")
	if len(text) <= headBytes {
		return text
	}
	text = text[:headBytes]
	for !utf8.ValidString(text) {
		text = text[:len(text)-1]
	}
	return text
}
