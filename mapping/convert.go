package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/kedge-sync/kedge"
)

// convertible reports whether values of one type can become values of another
// without loss, if only for some of them: scalar and text, the kinds of
// numbers, date and time (UTC midnight), json and text.
func convertible(from, to kedge.Type) bool {
	if from == to || from == kedge.TypeString || to == kedge.TypeString {
		return true
	}
	return isNumeric(from) && isNumeric(to) || isInstant(from) && isInstant(to)
}

func isNumeric(t kedge.Type) bool {
	return t == kedge.TypeInt || t == kedge.TypeDecimal || t == kedge.TypeFloat
}

func isInstant(t kedge.Type) bool { return t == kedge.TypeTime || t == kedge.TypeDate }

// A target is what a value must become to fit a field.
type target struct {
	typ       kedge.Type
	format    kedge.Format
	enum      []string
	maxLength int // in characters, 0 means any
	precision int // 0 means any, and then scale says nothing
	scale     int // -1 means any
	nullable  bool
}

func newTarget(f *kedge.Field) target {
	t := target{typ: f.Type, format: f.Format, maxLength: f.MaxLength, precision: f.Precision, scale: f.Scale, nullable: f.Nullable}
	if f.Format == kedge.FormatEnum {
		t.enum = f.Enum
	}
	return t
}

// The errors of conversions name types and limits, never values.
var (
	errNotExact  = errors.New("value would lose digits")
	errNotFinite = errors.New("value is not a finite number")
	errNotDay    = errors.New("time is not midnight UTC, so it is no date")
	errNotJSON   = errors.New("text is not valid json")
	errNotGUID   = errors.New("text is not a guid")
	errNotMember = errors.New("text is no member of the enumeration")
	errNull      = errors.New("null, but the field must have a value")
)

// fit returns v as a value of t. Null and missing values stay what they are.
// Times are cut to microseconds, because databases keep those: a hash or a
// comparison of more would see changes where there are none.
func (t *target) fit(v kedge.Value) (kedge.Value, error) {
	if v.IsEmpty() {
		return v, nil
	}
	if v.Type() != t.typ {
		var err error
		if v, err = convertValue(v, t.typ); err != nil {
			return kedge.Value{}, err
		}
	}
	switch t.typ {
	case kedge.TypeString:
		return t.fitText(v)
	case kedge.TypeDecimal:
		return v, t.checkDigits(v.Str())
	case kedge.TypeTime:
		return cutTime(v), nil
	}
	return v, nil
}

// cutTime returns a time value without the digits after microseconds.
func cutTime(v kedge.Value) kedge.Value {
	if at := v.Time(); at.Nanosecond()%1000 != 0 {
		return kedge.Time(at.Truncate(time.Microsecond))
	}
	return v
}

func (t *target) fitText(v kedge.Value) (kedge.Value, error) {
	s := v.Str()
	if t.format == kedge.FormatGUID {
		id, err := uuid.Parse(s)
		if err != nil || len(s) != 36 {
			return kedge.Value{}, errNotGUID
		}
		if strings.ToLower(s) != s {
			return kedge.String(id.String()), nil
		}
		return v, nil
	}
	if t.maxLength > 0 && len(s) > t.maxLength && utf8.RuneCountInString(s) > t.maxLength {
		return kedge.Value{}, fmt.Errorf("text is longer than %d characters", t.maxLength)
	}
	if len(t.enum) > 0 && !slices.Contains(t.enum, s) {
		return kedge.Value{}, errNotMember
	}
	return v, nil
}

// checkDigits refuses decimals that the field would round or overflow.
func (t *target) checkDigits(text string) error {
	if t.precision <= 0 {
		return nil
	}
	whole, frac, _ := strings.Cut(strings.TrimPrefix(kedge.CanonicalDecimal(text), "-"), ".")
	if whole == "0" {
		whole = ""
	}
	scale := t.scale
	if scale < 0 {
		scale = t.precision
	}
	if len(frac) > scale || t.scale >= 0 && len(whole) > t.precision-t.scale || len(whole)+len(frac) > t.precision {
		return fmt.Errorf("decimal does not fit %d digits, %d after the point", t.precision, t.scale)
	}
	return nil
}

// convertValue converts v, which is neither missing nor null, to another type,
// or says why that would lose something.
func convertValue(v kedge.Value, to kedge.Type) (kedge.Value, error) {
	from := v.Type()
	switch {
	case to == kedge.TypeString:
		return kedge.String(v.Text()), nil
	case to == kedge.TypeJSON && from == kedge.TypeString:
		if !json.Valid([]byte(v.Str())) {
			return kedge.Value{}, errNotJSON
		}
		return kedge.JSON(v.Str()), nil
	case from == kedge.TypeString:
		return kedge.ParseText(to, v.Str())
	case from == kedge.TypeDate && to == kedge.TypeTime:
		return kedge.Time(v.Time()), nil
	case from == kedge.TypeTime && to == kedge.TypeDate:
		if at := v.Time(); !at.Equal(at.Truncate(24 * time.Hour)) {
			return kedge.Value{}, errNotDay
		}
		return kedge.Date(v.Time()), nil
	case isNumeric(from) && isNumeric(to):
		return convertNumber(v, to)
	}
	return kedge.Value{}, fmt.Errorf("%v cannot become %v", from, to)
}

// convertNumber converts between int, decimal and float. A float stands for
// the shortest decimal that reads back as the same float.
func convertNumber(v kedge.Value, to kedge.Type) (kedge.Value, error) {
	text := v.Text()
	if v.Type() == kedge.TypeFloat {
		f := v.Float()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return kedge.Value{}, errNotFinite
		}
		text = strconv.FormatFloat(f, 'f', -1, 64)
	}
	switch to {
	case kedge.TypeDecimal:
		if !kedge.ValidDecimal(text) {
			return kedge.Value{}, errNotExact
		}
		return kedge.Decimal(text), nil
	case kedge.TypeInt:
		i, err := strconv.ParseInt(canonicalNumber(text), 10, 64)
		if err != nil {
			return kedge.Value{}, errNotExact
		}
		return kedge.Int(i), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if f == 0 {
		f = 0 // minus zero is the same number
	}
	if err != nil || strconv.FormatFloat(f, 'f', -1, 64) != canonicalNumber(text) {
		return kedge.Value{}, errNotExact
	}
	return kedge.Float(f), nil
}

func canonicalNumber(text string) string {
	if kedge.ValidDecimal(text) {
		return kedge.CanonicalDecimal(text)
	}
	return text
}
