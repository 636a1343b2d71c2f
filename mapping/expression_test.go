package mapping

import (
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

var exprEntity = &kedge.Entity{Name: "A", Fields: []kedge.Field{
	{Name: "Text", Type: kedge.TypeString}, {Name: "Odd name", Type: kedge.TypeString}, {Name: "Amount", Type: kedge.TypeDecimal},
	{Name: "Count", Type: kedge.TypeInt}, {Name: "Ratio", Type: kedge.TypeFloat}, {Name: "Open", Type: kedge.TypeBool},
	{Name: "At", Type: kedge.TypeTime}, {Name: "Nothing", Type: kedge.TypeString}, {Name: "NoAmount", Type: kedge.TypeDecimal},
}}

func exprRecord() *kedge.Record {
	r := &kedge.Record{Fields: kedge.NewFields("Text", "Odd name", "Amount", "Count", "Ratio", "Open", "At", "Nothing", "NoAmount")}
	r.Values = []kedge.Value{kedge.String(" Straße "), kedge.String("odd"), kedge.Decimal("19.90"), kedge.Int(9007199254740993), kedge.Float(0.1),
		kedge.Bool(true), at("2026-02-03T04:05:06Z"), kedge.Null(), kedge.Null()}
	return r
}

// eval runs src for value, an expression whose result is of type to.
func eval(src string, value kedge.Value, to kedge.Type) (kedge.Value, error) {
	x, err := compileExpression(src, value.Type(), exprEntity, to)
	if err != nil {
		return kedge.Value{}, err
	}
	r := exprRecord()
	for _, name := range x.fields {
		x.positions = append(x.positions, r.Fields.Index(name))
	}
	v, err := x.run(value, r)
	if err != nil {
		return kedge.Value{}, err
	}
	t := target{typ: to, nullable: true}
	return t.fit(v)
}

func TestExpressions(t *testing.T) {
	word, amount := kedge.String(" Ab "), kedge.Decimal("19.90")
	for _, tt := range []struct {
		src   string
		value kedge.Value
		want  kedge.Value
	}{
		{`upper(trim(value))`, word, kedge.String("AB")},
		{`lower(value)`, word, kedge.String(" ab ")},
		{`value + "!"`, word, kedge.String(" Ab !")},
		{`value | trim() | upper()`, word, kedge.String("AB")},
		{`record.Text`, kedge.Value{}, kedge.String(" Straße ")},
		{`record["Odd name"]`, kedge.Value{}, kedge.String("odd")},
		{`len(record.Text)`, kedge.Value{}, kedge.Int(8)},
		{`substring(record.Text, 1, 6)`, kedge.Value{}, kedge.String("Straß")},
		{`substring(record.Text, -1, 100)`, kedge.Value{}, kedge.String(" Straße ")},
		{`substring(record.Text, 5, 2)`, kedge.Value{}, kedge.String("")},
		{`split("a;b;c", ";", 1)`, kedge.Value{}, kedge.String("b")},
		{`split("a;b;c", ";", 3)`, kedge.Value{}, kedge.String("")},
		{`replace("aXbX", "X", "-")`, kedge.Value{}, kedge.String("a-b-")},
		{`trimPrefix("GB-1", "GB-")`, kedge.Value{}, kedge.String("1")},
		{`value + value`, amount, kedge.Decimal("39.80")},
		{`value * 2`, amount, kedge.Decimal("39.80")},
		{`value * 1.19`, amount, kedge.Decimal("23.6810")},
		{`round(value * 1.19, 2)`, amount, kedge.Decimal("23.68")},
		{`value / 3`, kedge.Decimal("1"), kedge.Decimal("0.33333333333333333333")},
		{`negate(value)`, amount, kedge.Decimal("-19.90")},
		{`abs(negate(value))`, amount, kedge.Decimal("19.90")},
		{`-1 * value`, amount, kedge.Decimal("-19.90")},
		{`value % 7`, amount, kedge.Decimal("5.90")},
		{`0.1 + 0.2`, kedge.Value{}, kedge.Decimal("0.3")},
		{`1 / 4`, kedge.Value{}, kedge.Decimal("0.25")},
		{`record.Count + 1`, kedge.Value{}, kedge.Int(9007199254740994)},
		{`record.Count * 1000`, kedge.Value{}, kedge.Decimal("9007199254740993000")},
		{`decimal("1.50")`, kedge.Value{}, kedge.Decimal("1.50")},
		{`string(value) + " EUR"`, amount, kedge.String("19.90 EUR")},
		{`value > 19.9 ? "more" : "same"`, amount, kedge.String("same")},
		{`value == 19.9`, amount, kedge.Bool(true)},
		{`value != record.Amount`, amount, kedge.Bool(false)},
		{`value in ["Ab", " Ab "]`, word, kedge.Bool(true)},
		{`value matches "A."`, word, kedge.Bool(true)},
		{`value startsWith " A" && record.Open`, word, kedge.Bool(true)},
		{`year(record.At) * 100 + month(record.At)`, kedge.Value{}, kedge.Int(202602)},
		{`day(record.At)`, kedge.Value{}, kedge.Int(3)},
		{`record.At`, kedge.Value{}, at("2026-02-03T04:05:06Z")},
		{`record.Nothing ?? "none"`, kedge.Value{}, kedge.String("none")},
		{`record.Nothing == nil ? "none" : record.Nothing`, kedge.Value{}, kedge.String("none")},
		{`record.NoAmount == nil`, kedge.Value{}, kedge.Bool(true)},
		{`nil`, kedge.Value{}, kedge.Null()},
		{`abs(1.5 * negate(value))`, kedge.Decimal("2"), kedge.Decimal("3.0")},
		{`1.1 * 1.1 + 0.1`, kedge.Value{}, kedge.Decimal("1.31")},
		{`decimal(record.NoAmount ?? 0) + 1`, kedge.Value{}, kedge.Int(1)},
		{`record.Ratio * 3`, kedge.Value{}, kedge.Float(0.3)},
	} {
		t.Run(tt.src, func(t *testing.T) {
			to := tt.want.Type()
			if to == kedge.TypeNull {
				to = kedge.TypeString
			}
			got, err := eval(tt.src, tt.value, to)
			if err != nil || got != tt.want {
				t.Errorf("got %v %q, %v; want %v %q", got.Type(), got.Text(), err, tt.want.Type(), tt.want.Text())
			}
		})
	}
}

// What is wrong or could harm is refused when the mapping is saved.
func TestExpressionsRefused(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{`upper(`, "column"}, {`nope(value)`, "nope"}, {`record.Nope`, "Nope"}, {`other`, "other"},
		{`upper(1)`, "upper"}, {`upper(valeu)`, "unknown name valeu"}, {`upper(value + 1)`, "mismatched"}, {`upper(lower(nope(1)))`, "nope"}, {`abs(record.Amount * record.Nope)`, "Nope"}, {`value + 1`, "mismatched types"}, {`now()`, "now"}, {`date("2026-01-01")`, "date"}, {`fromJSON(value)`, "fromJSON"},
		{`repeat(value, 9)`, "repeat"}, {`map([1], # + 1)`, ""}, {`let a = value; a + a`, "not allowed"}, {`{"a": value}`, "not allowed"},
		{`1..100`, "not allowed"}, {`2 ** 100`, "not allowed"}, {`record[value]`, ""}, {`record`, "cannot become"}, {`["a"]`, "cannot become"}, {`value == "a"`, "cannot become"},
		{`record.At`, "cannot become"}, {`-record.Amount`, "negate"}, {`record.Amount in [1, 2] ? 1 : 2`, "compare with =="}, {strings.Repeat("1+", 1500) + "1", ""},
	} {
		_, err := compileExpression(tt.src, kedge.TypeString, exprEntity, kedge.TypeInt)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40s: %v, want an error with %q", tt.src, err, tt.want)
		}
	}
}

func TestExpressionsFail(t *testing.T) {
	long := kedge.String(strings.Repeat("secret", maxText/12))
	for _, tt := range []struct {
		src   string
		value kedge.Value
	}{
		{`value + value + value`, long}, {`replace(value, "s", value)`, long}, {`decimal(value)`, kedge.String("secret")},
		{`upper(record.Nothing)`, kedge.Value{}}, {`record.NoAmount + 1`, kedge.Value{}}, {`value / 0`, kedge.Int(1)}, {`string(record.NoAmount)`, kedge.Value{}},
	} {
		_, err := eval(tt.src, tt.value, kedge.TypeString)
		if err == nil {
			t.Errorf("%s: got a value, want an error", tt.src)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %.80q holds the value", tt.src, err)
		}
	}
}

// At the limit a text passes, one past it is refused.
func TestExpressionTextLimit(t *testing.T) {
	half := kedge.String(strings.Repeat("x", maxText/2))
	if _, err := eval(`value + value`, half, kedge.TypeString); err != nil {
		t.Errorf("%d bytes: %v, want nil", maxText, err)
	}
	if _, err := eval(`value + value + "x"`, half, kedge.TypeString); err == nil {
		t.Errorf("%d bytes passed", maxText+1)
	}
}

func FuzzExpression(f *testing.F) {
	f.Add(`upper(trim(value))`, " a ")
	f.Add(`record.Amount * 1.19 + record.Count`, "")
	f.Add(`value matches "(a+)+$" ? record.At : nil`, "aaaa")
	f.Fuzz(func(t *testing.T, src, value string) {
		if len(src) > MaxExpression || len(value) > 1000 {
			return
		}
		if v, err := eval(src, kedge.String(value), kedge.TypeString); err == nil && len(v.Str()) > maxText {
			t.Errorf("expression made %d bytes", len(v.Str()))
		}
	})
}
