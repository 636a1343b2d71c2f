package conntest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

var valueChecks = []check{
	{"values/Bools", roundTrip("bool", kedge.Bool(true), kedge.Bool(false))},
	{"values/BigInts", roundTrip("int", kedge.Int(0), kedge.Int(-1), kedge.Int(1<<53+1), kedge.Int(-1<<53-1), kedge.Int(math.MinInt64), kedge.Int(math.MaxInt64))},
	{"values/Decimals", roundTrip("decimal", each(kedge.Decimal, "0", "19.90", "-0.10", "100", "0.00",
		"1234567890123456789012345678901234567890", "12345678901234567890.12345678901234567890",
		"0.0000000000000000000000000000000000000001")...)},
	{"values/Times", roundTrip("time", each(parseTime, "2026-11-24T07:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z",
		"2024-02-29T12:30:00.1Z", "2026-03-29T01:30:00Z", "9999-12-31T23:59:59.999999Z")...)},
	{"values/Nanoseconds", roundTrip("time", each(parseTime, "2026-11-24T07:00:00.123456789Z", "1969-12-31T23:59:59.000000001Z")...)},
	{"values/Dates", roundTrip("date", each(parseDate, "2026-11-24", "0001-01-01", "1582-10-10", "1969-12-31", "2024-02-29", "9999-12-31")...)},
	{"values/Floats", roundTrip("float", each(kedge.Float, 0, 0.1, -1.5, 1.0/3, 1e21, 1e-7, 1<<53, 5e-324, math.MaxFloat64)...)},
	{"values/SpecialFloats", roundTrip("float", each(kedge.Float, math.Inf(1), math.Inf(-1), math.NaN())...)},
	{"values/Bytes", roundTrip("bytes", each(kedge.BytesText, "", "\x00", "\xff\xfe", allBytes(), strings.Repeat(allBytes(), 256))...)},
	{"values/NullMissingEmpty", valuesNullMissingEmpty},
	{"values/Unicode", roundTrip("string", each(kedge.String, "Zoë", "Zoe\u0308", "日本語", "👩‍👩‍👧", "𝕫", "\u2028\u2029", "\ufeffmark", "\u202eright", "\ufffd", "\U0010ffff")...)},
	{"values/Controls", roundTrip("string", each(kedge.String, "\t", "a\nb", "a\r\nb", "\r", "\x01\x1f", "\x7f", `\n\u0041\`, `"'`, "<&>]]>", " a ", "null", "19.90", "%00")...)},
	{"values/Nul", roundTrip("string", kedge.String("a\x00b"))},
	{"values/LongText", roundTrip("string", kedge.String(strings.Repeat("kedge ë\n", 1<<20/9)+"."))},
	{"values/Json", roundTrip("json", each(kedge.JSON, `{}`, `[]`, `{"a":[1,{"b":null}],"ë":"\u001f \" \\"}`, `"text"`, `true`,
		`{"n":9007199254740993}`, `12345678901234567890.10`, `-0.5e-7`)...)},
	{"values/JsonNul", roundTrip("json", kedge.JSON(`{"a":"\u0000"}`))},
	{"values/Guids", roundTrip("guid", each(kedge.String, "6f1a2b3c-0000-4000-8000-00000000000a", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")...)},
	{"values/Lookup", valuesLookup},
	{"values/FieldOrder", valuesFieldOrder},
}

// each applies make to all of list.
func each[T any](make func(T) kedge.Value, list ...T) []kedge.Value {
	var values []kedge.Value
	for _, v := range list {
		values = append(values, make(v))
	}
	return values
}

func parseTime(text string) kedge.Value { return mustParse(kedge.TypeTime, text) }
func parseDate(text string) kedge.Value { return mustParse(kedge.TypeDate, text) }

func mustParse(t kedge.Type, text string) kedge.Value {
	v, err := kedge.ParseText(t, text)
	if err != nil {
		panic("conntest: " + text + ": " + err.Error())
	}
	return v
}

func allBytes() string {
	var b [256]byte
	for i := range b {
		b[i] = byte(i)
	}
	return string(b[:])
}

// roundTrip puts one widget for each value of field and reads them in every
// way that the system has.
func roundTrip(field string, values ...kedge.Value) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		want := map[kedge.Key]kedge.Value{}
		var records []kedge.Record
		for i, v := range values {
			r := widget(fmt.Sprintf("v%02d", i), set(field, v))
			records, want[r.Key] = append(records, r), v
		}
		return e.everyWay(ctx, records, []string{field}, func(r *kedge.Record) error {
			return sameValue(field, r.Get(field), want[r.Key])
		})
	}
}

// everyWay puts records and gives them to test as they come in a full read, in
// an incremental one and in a read by key.
func (e *env) everyWay(ctx context.Context, records []kedge.Record, fields []string, test func(*kedge.Record) error) error {
	ent, err := e.entity(ctx, Widgets.Name)
	if err != nil {
		return err
	}
	var anchor kedge.Anchor
	if ent.Delta {
		if anchor, err = e.start(ctx, widget("a")); err != nil {
			return err
		}
	}
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	ways := []kedge.Anchor{""}
	if anchor != "" {
		ways = append(ways, anchor)
	}
	for _, from := range ways {
		req := connectors.ReadRequest{Entity: Widgets.Name, Fields: fields, Anchor: from, Size: 3}
		h, err := read(ctx, e.driver(), req, nil)
		if err != nil {
			return err
		}
		for _, want := range records {
			got, ok := h.last[want.Key]
			if !ok {
				return fmt.Errorf("record %q was not delivered (incremental read: %v)", want.Key, from != "")
			}
			if err := test(&got); err != nil {
				return fmt.Errorf("record %q (incremental read: %v): %w", want.Key, from != "", err)
			}
		}
	}
	if _, ok := e.driver().(connectors.KeyReader); !ok {
		return nil
	}
	found, err := connectors.New(e.driver(), nil).ReadKeys(ctx, Widgets.Name, fields, keysOf(records))
	if err != nil {
		return fmt.Errorf("ReadKeys: %w", err)
	}
	for i := range found {
		if !found[i].OK {
			return fmt.Errorf("ReadKeys did not find record %q", records[i].Key)
		}
		if err := test(&found[i].Record); err != nil {
			return fmt.Errorf("record %q (ReadKeys): %w", records[i].Key, err)
		}
	}
	return nil
}

// sameValue is stricter than kedge.Equal: the type must be that of the field,
// and a decimal keeps its digits.
func sameValue(field string, got, want kedge.Value) error {
	same := got.Type() == want.Type()
	switch want.Type() {
	case kedge.TypeDecimal:
		same = same && got.Str() == want.Str()
	case kedge.TypeJSON:
		same = same && reflect.DeepEqual(decodeJSON(got.Str()), decodeJSON(want.Str()))
	default:
		same = same && kedge.Equal(got, want)
	}
	if same {
		return nil
	}
	return fmt.Errorf("field %s: got %v %.60q, want %v %.60q", field, got.Type(), got.Text(), want.Type(), want.Text())
}

// decodeJSON returns the content of text with all digits of its numbers, or
// text itself if it is no JSON.
func decodeJSON(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return []byte(text)
	}
	return writtenOut(v)
}

// writtenOut gives equal numbers one spelling: databases write 1e3 as 1000.
func writtenOut(v any) any {
	switch v := v.(type) {
	case json.Number:
		if kedge.ValidDecimal(v.String()) {
			return json.Number(kedge.CanonicalDecimal(v.String()))
		}
	case []any:
		for i := range v {
			v[i] = writtenOut(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = writtenOut(v[name])
		}
	}
	return v
}

// valuesNullMissingEmpty: what was not written is null, and neither is empty.
func valuesNullMissingEmpty(ctx context.Context, e *env) error {
	var nulls, empties []connectors.Named
	for _, f := range Widgets.Fields[1:] {
		nulls = append(nulls, set(f.Name, kedge.Null()))
	}
	empties = append(empties, set("string", kedge.String("")), set("bytes", kedge.BytesText("")), set("int", kedge.Int(0)), set("bool", kedge.Bool(false)))
	records := []kedge.Record{widget("v-empty", empties...), widget("v-missing"), widget("v-null", nulls...)}
	return e.everyWay(ctx, records, widgetFields.Names(), func(r *kedge.Record) error {
		for _, f := range Widgets.Fields[1:] {
			want := kedge.Null()
			for _, n := range empties {
				if r.Key == "v-empty" && n.Name == f.Name {
					want = n.Value
				}
			}
			if err := sameValue(f.Name, r.Get(f.Name), want); err != nil {
				return err
			}
		}
		return nil
	})
}

func valuesLookup(ctx context.Context, e *env) error {
	if err := e.putTo(ctx, Parts.Name, part("P 1", 7)); err != nil {
		return err
	}
	record := widget("v1", set("partNo", kedge.String("P 1")), set("partLine", kedge.Int(7)))
	return e.everyWay(ctx, []kedge.Record{record}, []string{"partLine", "partNo"}, func(r *kedge.Record) error {
		if err := sameValue("partNo", r.Get("partNo"), kedge.String("P 1")); err != nil {
			return err
		}
		return sameValue("partLine", r.Get("partLine"), kedge.Int(7))
	})
}

// valuesFieldOrder asks for fields in other orders than the system's own, and
// for none. Values are aligned with the request.
func valuesFieldOrder(ctx context.Context, e *env) error {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, fields := range [][]string{{"time", "string", "id", "int"}, {"bool"}, {}} {
		n := kedge.Int(int64(i)) // a write that changes nothing need not be delivered
		record := widget("v1", set("int", n), set("string", kedge.String("s")), set("time", kedge.Time(at)), set("bool", kedge.Bool(true)))
		err := e.everyWay(ctx, []kedge.Record{record}, fields, func(r *kedge.Record) error {
			if len(r.Values) != len(fields) {
				return fmt.Errorf("%d values for %d fields", len(r.Values), len(fields))
			}
			for i, name := range fields {
				if err := sameValue(name, r.Values[i], record.Get(name)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
