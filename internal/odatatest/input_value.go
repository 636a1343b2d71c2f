package odatatest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

var (
	wholeNumber  = regexp.MustCompile(`^-?[0-9]+$`)
	durationText = regexp.MustCompile(`^-?P([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+(\.[0-9]+)?S)?)?$`)
)

// intRanges are the least and greatest values of the integer types.
var intRanges = map[string][2]int64{
	"Edm.Byte": {0, 255}, "Edm.SByte": {-128, 127}, "Edm.Int16": {-1 << 15, 1<<15 - 1}, "Edm.Int32": {-1 << 31, 1<<31 - 1},
}

// parseInput reads the value of a property (JSON Format 4.01, 7.1) and says
// what is wrong with it. exact: long numbers come as strings. round: decimals
// of too many digits are let through.
func parseInput(p *property, raw json.RawMessage, exact, round bool) (v kedge.Value, wrong string) {
	if string(raw) == "null" {
		if !p.Nullable {
			return v, "The value must not be null."
		}
		return kedge.Null(), ""
	}
	if p.Type == kedge.TypeJSON {
		return parseAny(p, raw)
	}
	wrong = "The value is not of type " + p.edm + "."
	var text string
	isString := raw[0] == '"'
	if isString {
		if err := json.Unmarshal(raw, &text); err != nil {
			return v, wrong
		}
	} else if text = string(raw); raw[0] == '{' || raw[0] == '[' {
		return v, wrong
	}
	switch p.Type {
	case kedge.TypeBool:
		if isString {
			return v, wrong
		}
	case kedge.TypeInt, kedge.TypeDecimal:
		if isString != (p.quoted && exact) {
			return v, numberForm(isString)
		}
		return parseNumber(p, text, round)
	case kedge.TypeFloat:
		if isString != strings.ContainsAny(text, "NI") {
			return v, wrong
		}
	case kedge.TypeString:
		if !isString {
			return v, wrong
		}
		return parseString(p, text)
	default:
		if !isString {
			return v, wrong
		}
	}
	if p.Type == kedge.TypeBytes {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
		if err != nil {
			return v, wrong
		}
		return kedge.Bytes(b), ""
	}
	v, err := kedge.ParseText(p.Type, text)
	if err != nil {
		return v, wrong
	}
	return v, ""
}

func numberForm(isString bool) string {
	if isString {
		return "The value must be a number, not a string, without IEEE754Compatible=true in the Content-Type."
	}
	return "The value must be a string under IEEE754Compatible=true."
}

// parseNumber reads an integer or decimal, exactly.
func parseNumber(p *property, text string, round bool) (v kedge.Value, wrong string) {
	v, err := kedge.ParseText(p.Type, text)
	if err != nil || p.Type == kedge.TypeInt && !wholeNumber.MatchString(text) {
		return v, "The value is not of type " + p.edm + "."
	}
	if limits, ok := intRanges[p.edm]; ok && (v.Int() < limits[0] || v.Int() > limits[1]) {
		return v, "The value is out of the range of " + p.edm + "."
	}
	if p.Type == kedge.TypeInt {
		return v, ""
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(kedge.CanonicalDecimal(text), "-"), ".")
	if p.Scale >= 0 && len(fraction) > p.Scale && !round {
		return v, "The value has more than " + strconv.Itoa(p.Scale) + " digits after the point."
	}
	if p.Precision > 0 && len(strings.TrimLeft(whole, "0"))+max(p.Scale, 0) > p.Precision {
		return v, "The value has too many digits."
	}
	return v, ""
}

// parseString reads what is a string in the model: texts, and types that
// kedge keeps as text.
func parseString(p *property, text string) (v kedge.Value, wrong string) {
	ok := true
	switch {
	case p.enum != "":
		if ok = slices.Contains(enumMembers(p), text); !ok {
			return v, "The value is not a member of the enumeration."
		}
	case p.edm == "Edm.Guid":
		text, ok = strings.ToLower(text), guidText.MatchString(text)
	case p.edm == "Edm.TimeOfDay":
		ok = clockText.MatchString(text)
	case p.edm == "Edm.Duration":
		ok = durationText.MatchString(text) && text[len(text)-1] != 'P' && text[len(text)-1] != 'T'
	case p.MaxLength > 0 && utf8.RuneCountInString(text) > p.MaxLength:
		return v, "The value is longer than " + strconv.Itoa(p.MaxLength) + " characters."
	}
	if !ok {
		return v, "The value is not of type " + p.edm + "."
	}
	return kedge.String(text), ""
}

// parseAny reads a collection, a geographic value or what has no type.
func parseAny(p *property, raw json.RawMessage) (v kedge.Value, wrong string) {
	first := map[string]byte{"Collection(": '[', "Edm.Geogr": '{', "Edm.Geome": '{'}
	for prefix, c := range first {
		if strings.HasPrefix(p.edm, prefix) && raw[0] != c {
			return v, "The value is not of type " + p.edm + "."
		}
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return v, "The value is malformed."
	}
	return kedge.JSON(b.String()), ""
}
