package schema

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// AssertedFormats are the formats that "formats": true asserts. All others are
// annotations.
var AssertedFormats = []string{"date", "time", "date-time", "uuid", "ipv6", "json-pointer", "email"}

func isAsserted(format string) bool { return slices.Contains(AssertedFormats, format) }

var errEmail = errors.New("not an e-mail address")

// validateEmail checks a string by the grammar of RFC 5321, section 4.1.2,
// with its limits (4.5.3.1): local part of 64, address of 254 bytes, ASCII
// only. Values that are no strings pass.
func validateEmail(v any) error {
	s, ok := v.(string)
	if !ok || len(s) <= 254 && isEmail(s) {
		return nil
	}
	return errEmail
}

func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 {
		return false
	}
	local, domain := s[:at], s[at+1:]
	if local[0] == '"' {
		if !isQuoted(local) {
			return false
		}
	} else if !isDotted(local, isAtom) {
		return false
	}
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		return isAddress(literal)
	}
	return len(domain) <= 253 && isDotted(domain, isLabel)
}

func isDotted(s string, part func(string) bool) bool {
	for p := range strings.SplitSeq(s, ".") {
		if !part(p) {
			return false
		}
	}
	return true
}

func isAtom(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isLabel(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isQuoted checks a quoted local part, quotes included.
func isQuoted(s string) bool {
	if len(s) < 2 || s[len(s)-1] != '"' {
		return false
	}
	s = s[1 : len(s)-1]
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
			if i == len(s) {
				return false
			}
		} else if s[i] == '"' {
			return false
		}
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// isAddress checks an address literal without its first bracket.
func isAddress(s string) bool {
	s, ok := strings.CutSuffix(s, "]")
	if !ok {
		return false
	}
	if v6, ok := strings.CutPrefix(s, "IPv6:"); ok {
		a, err := netip.ParseAddr(v6)
		return err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}
