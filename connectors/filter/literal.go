package filter

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
)

// Literals that begin with a digit, a sign or, for a guid, a letter. OData
// ABNF 4.01, section 7; durations have no years and months there.
var (
	guidPattern     = regexp.MustCompile(`^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}`)
	instantPattern  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]*(?:Z|[-+][0-9:]*)?)?`)
	clockPattern    = regexp.MustCompile(`^[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?`)
	numberPattern   = regexp.MustCompile(`^-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|^-INF`)
	durationPattern = regexp.MustCompile(`^(-?)P(?:([0-9]{1,6})D)?(?:T(?:([0-9]{1,7})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,10}(?:\.[0-9]{1,12})?)S)?)?$`)
)

// literalLen returns the length of the unquoted literal at the start of s, but
// for words; 0 if there is none.
func literalLen(s string) int {
	for _, p := range []*regexp.Regexp{guidPattern, instantPattern, clockPattern, numberPattern} {
		if n := len(p.FindString(s)); n > 0 && (n == len(s) || nameLen(s[n:]) == 0 && !strings.ContainsRune(".:/-'0123456789", rune(s[n]))) {
			return n
		}
	}
	return 0
}

// parseLiteral returns the literal written as raw, or what is wrong with it.
func parseLiteral(raw string) (lit Node, msg, hint string) {
	lit = Node{Op: Literal}
	if prefix, text, ok := strings.Cut(raw, "'"); ok {
		return prefixed(prefix, strings.ReplaceAll(text[:len(text)-1], "''", "'"))
	}
	switch raw {
	case "null":
		lit.Value = kedge.Null()
		return lit, "", ""
	case "true", "false":
		lit.Value = kedge.Bool(raw == "true")
		return lit, "", ""
	case "INF", "-INF":
		sign := 1
		if raw[0] == '-' {
			sign = -1
		}
		lit.Value = kedge.Float(math.Inf(sign))
		return lit, "", ""
	case "NaN":
		lit.Value = kedge.Float(math.NaN())
		return lit, "", ""
	}
	switch {
	case len(guidPattern.FindString(raw)) == len(raw):
		lit.Value, lit.Format = kedge.String(strings.ToLower(raw)), kedge.FormatGUID
	case clockPattern.MatchString(raw):
		if !validClock(raw) {
			return lit, "no such time of day", ""
		}
		lit.Value, lit.Format = kedge.String(raw), kedge.FormatClock
	case instantPattern.MatchString(raw):
		return instant(raw)
	default:
		return number(raw)
	}
	return lit, "", ""
}

func number(raw string) (lit Node, msg, hint string) {
	lit = Node{Op: Literal}
	if i, err := strconv.ParseInt(raw, 10, 64); err == nil {
		lit.Value = kedge.Int(i)
	} else if kedge.ValidDecimal(raw) {
		lit.Value = kedge.Decimal(raw)
	} else {
		return lit, "number has more than " + strconv.Itoa(kedge.MaxDecimalDigits) + " digits or too large an exponent", ""
	}
	return lit, "", ""
}

func instant(raw string) (lit Node, msg, hint string) {
	lit = Node{Op: Literal}
	if !strings.Contains(raw, "T") {
		t, err := time.Parse(time.DateOnly, raw)
		if err != nil || t.Year() < 1 {
			return lit, "no such date", ""
		}
		lit.Value = kedge.Date(t)
		return lit, "", ""
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(form, raw); err == nil && fits(t) {
			lit.Value = kedge.Time(t)
			return lit, "", ""
		}
	}
	return lit, "no such time", "write it like 2026-01-31T10:00:00Z or 2026-01-31T12:00:00+02:00"
}

func prefixed(prefix, text string) (lit Node, msg, hint string) {
	lit = Node{Op: Literal, Value: kedge.String(text)}
	switch {
	case strings.ContainsRune(text, 0):
		return lit, "string with a NUL character", ""
	case prefix == "":
	case prefix == "duration":
		if _, ok := parseDuration(text); !ok {
			return lit, "malformed duration", "write it like duration'P30D' or duration'PT1H30M'"
		}
		lit.Format = kedge.FormatDuration
	case strings.ContainsRune(prefix, '.') && !strings.ContainsRune(prefix, '/'):
		lit.Name, lit.Format = prefix, kedge.FormatEnum
	case prefix == "guid", prefix == "datetime", prefix == "datetimeoffset", prefix == "time":
		return lit, "prefix " + strconv.Quote(prefix) + " is of OData V2 and V3", "write the value without prefix and quotes"
	default:
		return lit, "unknown prefix " + strconv.Quote(prefix), "write an enumeration with its namespace: Ns.Enum'Member'"
	}
	return lit, "", ""
}

// parseDuration reads an xs:dayTimeDuration of at most 292 years; digits below
// a nanosecond are cut.
func parseDuration(text string) (time.Duration, bool) {
	m := durationPattern.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, "P") || strings.HasSuffix(text, "T") {
		return 0, false
	}
	var total float64
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		whole, frac, _ := strings.Cut(m[i+2], ".")
		n, _ := strconv.ParseInt("0"+whole, 10, 64)
		nanos, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
		total += float64(n) * float64(unit)
		d += time.Duration(n)*unit + time.Duration(nanos)
	}
	if total > math.MaxInt64-float64(2*time.Second) {
		return 0, false
	}
	if m[1] == "-" {
		d = -d
	}
	return d, true
}

func validClock(text string) bool {
	if len(clockPattern.FindString(text)) != len(text) {
		return false
	}
	form := "15:04:05"
	if len(text) == len("15:04") {
		form = "15:04"
	}
	_, err := time.Parse(form, text)
	return err == nil
}

func fits(t time.Time) bool { y := t.UTC().Year(); return y >= 1 && y <= 9999 }
