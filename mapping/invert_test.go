package mapping

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"pgregory.net/rapid"
)

var fieldTypes = []kedge.Type{kedge.TypeBool, kedge.TypeInt, kedge.TypeFloat, kedge.TypeDecimal, kedge.TypeString, kedge.TypeTime, kedge.TypeDate, kedge.TypeBytes, kedge.TypeJSON}

// valuesOf generates values of a type, as databases keep them. Many texts look
// like values of other types.
func valuesOf(typ kedge.Type) *rapid.Generator[kedge.Value] {
	instants := rapid.Int64Range(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).Unix())
	decimals := rapid.OneOf(rapid.StringMatching(`-?[0-9]{1,25}(\.[0-9]{1,9})?`), rapid.StringMatching(`-?[0-9]{1,3}`))
	switch typ {
	case kedge.TypeBool:
		return rapid.Map(rapid.Bool(), kedge.Bool)
	case kedge.TypeInt:
		return rapid.Map(rapid.Int64(), kedge.Int)
	case kedge.TypeFloat:
		return rapid.Map(rapid.OneOf(rapid.Float64(), rapid.Float64Range(-2, 2), rapid.SampledFrom([]float64{math.NaN(), math.Inf(-1), math.Copysign(0, -1)})), kedge.Float)
	case kedge.TypeDecimal:
		return rapid.Map(decimals, kedge.Decimal)
	case kedge.TypeTime:
		return rapid.Custom(func(t *rapid.T) kedge.Value {
			at := time.Unix(instants.Draw(t, "seconds"), rapid.SampledFrom([]int64{0, 1000, 999_999_000}).Draw(t, "nanoseconds"))
			if rapid.Bool().Draw(t, "midnight") {
				at = at.UTC().Truncate(24 * time.Hour)
			}
			return kedge.Time(at)
		})
	case kedge.TypeDate:
		return rapid.Map(instants, func(s int64) kedge.Value { return kedge.Date(time.Unix(s, 0).UTC()) })
	case kedge.TypeBytes:
		return rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), kedge.Bytes)
	case kedge.TypeJSON:
		return rapid.Map(rapid.SampledFrom([]string{`{}`, `{"a":1}`, `[]`, `"x"`, `null`, `1`}), kedge.JSON)
	}
	return rapid.Map(rapid.OneOf(rapid.String(), decimals, rapid.SampledFrom([]string{"true", "2026-01-02", "{}", "", "a"})), kedge.String)
}

// move downloads v as X and gives x, or uploads it the other way.
func move(p *EntityPlan, v kedge.Value, up bool) (kedge.Value, error) {
	from, to, name, result, do := p.ExternalFields, p.LocalFields, "X", "x", func(dst, src *kedge.Record) error { return p.Download(dst, src, false) }
	if up {
		from, to, name, result, do = p.LocalRead, p.ExternalFields, "x", "X", func(dst, src *kedge.Record) error { return p.Upload(dst, src, nil, false) }
	}
	src, dst := kedge.Record{Fields: from, Values: make([]kedge.Value, from.Len())}, kedge.Record{}
	src.Values[from.Index(name)] = v
	if err := do(&dst, &src); err != nil {
		return kedge.Value{}, err
	}
	return dst.Values[to.Index(result)], nil
}

// bidirectional plans X <-> x with a rule, or reports that it is not invertible.
func bidirectional(t *rapid.T, ext, loc kedge.Field, rule string) *EntityPlan {
	m, err := Parse("m.yaml", []byte("kedge: mapping/v1\nentities:\n  - external: A\n    local: a\n    direction: bidirectional\n    fields: [{external: X, local: x"+rule+"}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	e := &kedge.Schema{Entities: []kedge.Entity{{Name: "A", Fields: []kedge.Field{ext}, Delta: true, Update: true}}}
	plan, err := Compile(m, e, &kedge.Schema{Entities: []kedge.Entity{{Name: "a", Fields: []kedge.Field{loc}}}}, noonUTC)
	if err != nil {
		t.Fatal(err)
	}
	if held := plan.Held["a"]; len(held) > 0 {
		if !slices.ContainsFunc(held, func(f Finding) bool { return f.Code == NotInvertible || f.Code == TypeIncompatible }) {
			t.Fatalf("held for another reason: %+v", held)
		}
		return nil
	}
	if !plan.Layers[0][0].Uploads(0) || !plan.Layers[0][0].Downloads(0) {
		t.Fatal("the field is not moved both ways")
	}
	return plan.Layers[0][0]
}

// comesBack moves v there and back. What cannot be moved is refused; what can,
// is the same after it.
func comesBack(t *rapid.T, p *EntityPlan, v kedge.Value, up bool) {
	there, err := move(p, v, up)
	if err != nil {
		if _, ok := errors.AsType[*FieldError](err); !ok {
			t.Fatalf("error %v is no FieldError", err)
		}
		return
	}
	again, err := move(p, there, !up)
	if err != nil || !kedge.Equal(again, v) {
		t.Fatalf("%v %q became %v %q and came back as %v %q, %v", v.Type(), v.Text(), there.Type(), there.Text(), again.Type(), again.Text(), err)
	}
}

// A conversion that a bidirectional field may have gives every value back.
func TestConversionsInvert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.SampledFrom(fieldTypes).Draw(t, "external"), rapid.SampledFrom(fieldTypes).Draw(t, "local")
		p := bidirectional(t, field("X", from), field("x", to), "")
		if p == nil {
			return
		}
		comesBack(t, p, rapid.OneOf(valuesOf(from), rapid.SampledFrom([]kedge.Value{{}, kedge.Null()})).Draw(t, "value"), false)
	})
}

// A value map that a bidirectional field may have gives every value back, in
// both directions, kept ones too.
func TestValueMapsInvert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := []kedge.Type{kedge.TypeString, kedge.TypeInt, kedge.TypeDecimal, kedge.TypeBool}
		from, to := rapid.SampledFrom(types).Draw(t, "external"), rapid.SampledFrom(types).Draw(t, "local")
		var pairs []string
		seen := map[string]bool{}
		for range rapid.IntRange(1, 5).Draw(t, "pairs") {
			ext, loc := smallValue(t, from, "from"), smallValue(t, to, "to")
			if !seen[ext.Text()] {
				seen[ext.Text()] = true
				pairs = append(pairs, fmt.Sprintf("'%s': '%s'", ext.Text(), loc.Text()))
			}
		}
		otherwise := rapid.SampledFrom([]string{"quarantine", "keep"}).Draw(t, "otherwise")
		p := bidirectional(t, field("X", from), field("x", to), ", otherwise: "+otherwise+", values: {"+strings.Join(pairs, ", ")+"}")
		if p == nil {
			return
		}
		comesBack(t, p, smallValue(t, from, "external value"), false)
		comesBack(t, p, smallValue(t, to, "local value"), true)
	})
}

// smallValue draws one of few values, so that maps and values meet.
func smallValue(t *rapid.T, typ kedge.Type, label string) kedge.Value {
	switch typ {
	case kedge.TypeInt:
		return kedge.Int(rapid.Int64Range(0, 4).Draw(t, label))
	case kedge.TypeDecimal:
		return kedge.Decimal(rapid.SampledFrom([]string{"0", "1", "2", "3.5", "4"}).Draw(t, label))
	case kedge.TypeBool:
		return kedge.Bool(rapid.Bool().Draw(t, label))
	}
	return kedge.String(rapid.SampledFrom([]string{"0", "1", "2", "true", "Open"}).Draw(t, label))
}

func TestExpressionsInvert(t *testing.T) {
	for _, tt := range []struct {
		ext, loc kedge.Type
		rule     string
	}{
		{kedge.TypeString, kedge.TypeString, `, expr: {download: '"A-" + value', upload: 'trimPrefix(value, "A-")'}`},
		{kedge.TypeInt, kedge.TypeInt, ", expr: {download: value + 1, upload: value - 1}"},
		{kedge.TypeDecimal, kedge.TypeDecimal, ", expr: {download: value * 100, upload: value / 100}"},
		{kedge.TypeBool, kedge.TypeBool, ", expr: {download: not value, upload: not value}"},
		{kedge.TypeInt, kedge.TypeString, ", expr: {download: string(value), upload: decimal(value)}"},
	} {
		rapid.Check(t, func(t *rapid.T) {
			p := bidirectional(t, field("X", tt.ext), field("x", tt.loc), tt.rule)
			if p == nil {
				t.Fatalf("%s is not invertible", tt.rule)
			}
			comesBack(t, p, rapid.OneOf(valuesOf(tt.ext), rapid.SampledFrom([]kedge.Value{{}, kedge.Null()})).Draw(t, "value"), false)
		})
	}
}

// Upload takes what a local table may hold, and never panics.
func FuzzUpload(f *testing.F) {
	for _, s := range []string{"", "1", "19.90", "1e400", "true", "2026-01-02", "2026-01-02T03:04:05.123456789Z", "{}", "_wA", "Open"} {
		for i := range fieldTypes {
			f.Add(s, uint8(i), false)
		}
		f.Add(s, uint8(4), true)
	}
	plans := map[bool][]*EntityPlan{}
	for _, typ := range fieldTypes {
		for _, mapped := range []bool{false, true} {
			rule := ""
			if mapped && typ == kedge.TypeString {
				rule = ", values: {Open: a, Closed: b}, otherwise: keep"
			}
			plans[mapped] = append(plans[mapped], planFor(f, []kedge.Field{field("Id", kedge.TypeString), field("X", typ)}, []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeString)},
				"    fields: [{external: X, local: x, direction: upload"+rule+"}]\n"))
		}
	}
	f.Fuzz(func(t *testing.T, s string, typ uint8, mapped bool) {
		i := int(typ) % len(fieldTypes)
		v, err := move(plans[mapped][i], kedge.String(s), true)
		if err == nil && v.Type() != fieldTypes[i] {
			t.Errorf("gave %v, want %v", v.Type(), fieldTypes[i])
		}
	})
}
