package conntest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// values returns a mutation that changes the values of one type.
func values(t kedge.Type, change func(kedge.Value) kedge.Value) mutation {
	return mutation{record: func(r *kedge.Record) {
		r.Values = slices.Clone(r.Values)
		for i, v := range r.Values {
			if v.Type() == t && r.Fields.Name(i) != "id" {
				r.Values[i] = change(v)
			}
		}
	}}
}

func text(change func(string) string) mutation {
	return values(kedge.TypeString, func(v kedge.Value) kedge.Value { return kedge.String(change(v.Str())) })
}

func cutTime(d time.Duration) mutation {
	return values(kedge.TypeTime, func(v kedge.Value) kedge.Value { return kedge.Time(v.Time().Truncate(d)) })
}

var valueMutants = []mutant{
	{"bools are text", values(kedge.TypeBool, func(v kedge.Value) kedge.Value { return kedge.String(v.Text()) }),
		"values/Bools values/NullMissingEmpty values/FieldOrder"},
	{"ints through floats", values(kedge.TypeInt, func(v kedge.Value) kedge.Value { return kedge.Int(int64(float64(v.Int()) / 3 * 3)) }), "values/BigInts keys/Composite"},
	{"decimals without scale", values(kedge.TypeDecimal, func(v kedge.Value) kedge.Value { return kedge.Decimal(kedge.CanonicalDecimal(v.Str())) }), "values/Decimals"},
	{"times in seconds", cutTime(time.Second), "values/Times values/Nanoseconds"},
	{"times in microseconds", cutTime(time.Microsecond), "values/Nanoseconds"},
	{"dates a day early", values(kedge.TypeDate, func(v kedge.Value) kedge.Value {
		if v.Time().Year() == 1 {
			return v
		}
		return kedge.Date(v.Time().Add(-time.Hour))
	}), "values/Dates"},
	{"single precision", values(kedge.TypeFloat, func(v kedge.Value) kedge.Value { return kedge.Float(float64(float32(v.Float()))) }), "values/Floats"},
	{"NaN is null", values(kedge.TypeFloat, func(v kedge.Value) kedge.Value {
		if v.Float() != v.Float() {
			return kedge.Null()
		}
		return v
	}), "values/SpecialFloats"},
	{"bytes end at 0", values(kedge.TypeBytes, func(v kedge.Value) kedge.Value {
		s, _, _ := strings.Cut(v.Str(), "\x00")
		return kedge.BytesText(s)
	}), "values/Bytes"},
	{"null is missing", values(kedge.TypeNull, func(kedge.Value) kedge.Value { return kedge.Value{} }), "values/NullMissingEmpty"},
	{"text is normalised", text(norm.NFC.String), "values/Unicode"},
	{"line ends are normalised", text(func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }), "values/Controls"},
	{"text ends at NUL", text(func(s string) string { s, _, _ = strings.Cut(s, "\x00"); return s }), "values/Nul"},
	{"text is cut", text(func(s string) string { return s[:min(len(s), 1<<16)] }), "values/LongText"},
	{"json through floats", values(kedge.TypeJSON, func(v kedge.Value) kedge.Value {
		var any any
		if err := json.Unmarshal([]byte(v.Str()), &any); err != nil {
			panic(err)
		}
		b, _ := json.Marshal(any)
		return kedge.JSON(string(b))
	}), "values/Json"},
	{"json loses NUL", values(kedge.TypeJSON, func(v kedge.Value) kedge.Value { return kedge.JSON(strings.ReplaceAll(v.Str(), `\u0000`, "")) }), "values/JsonNul"},
	{"guids in capitals", mutation{record: func(r *kedge.Record) {
		if i := r.Fields.Index("guid"); i >= 0 && len(r.Values) > i && !r.Values[i].IsEmpty() {
			r.Values[i] = kedge.String(strings.ToUpper(r.Values[i].Str()))
		}
	}}, "values/Guids"},
	{"lookups with label", mutation{record: func(r *kedge.Record) {
		if i := r.Fields.Index("partNo"); i >= 0 && len(r.Values) > i && !r.Values[i].IsEmpty() {
			r.Values[i] = kedge.String(r.Values[i].Str() + ":label")
		}
	}}, "values/Lookup"},
	{"values in the order of names", mutation{record: func(r *kedge.Record) {
		if names := r.Fields.Names(); len(names) == 4 && names[0] > names[1] && len(r.Values) == 4 {
			slices.Reverse(r.Values)
		}
	}}, "values/FieldOrder"},
}

// readKeys returns a mutation that changes the keys that are asked for.
func readKeys(change func(string) string) mutation {
	return mutation{keys: func(keys []kedge.Key) {
		for i := range keys {
			keys[i] = kedge.Key(change(string(keys[i])))
		}
	}}
}

var keyMutants = []mutant{
	{"quotes in keys are not doubled", readKeys(func(k string) string { return strings.ReplaceAll(k, "''", "'") }), "keys/Quotes"},
	{"keys are cut at a question mark", readKeys(func(k string) string { k, _, _ = strings.Cut(k, "?"); return k }), "keys/Slashes"},
	{"keys are decoded twice", readKeys(func(k string) string {
		if s, err := url.PathUnescape(k); err == nil {
			return s
		}
		return k
	}), "keys/Percent"},
	{"keys are normalised", readKeys(norm.NFC.String), "keys/Unicode"},
	{"keys are trimmed", readKeys(strings.TrimSpace), "keys/Spaces keys/Unicode"},
	{"keys without case", readKeys(strings.ToLower), "keys/Case keys/Percent keys/Quotes keys/Unicode"},
	{"keys are split at commas", readKeys(func(k string) string { return strings.ReplaceAll(k, `\,`, ",") }), "keys/Composite keys/Slashes"},
	{"found in another order", mutation{found: func(found []connectors.Found) {
		if len(found) > 100 {
			slices.Reverse(found)
		}
	}}, "keys/ReadByKey"},
	{"ge is gt", pushed(func(src string) string { return strings.ReplaceAll(src, " ge ", " gt ") }), "filter/Compare filter/Functions filter/Logic?"},
	{"in takes one item", pushed(func(src string) string {
		if head, rest, ok := strings.Cut(src, " in ("); ok && !strings.Contains(src, "'") && strings.Count(src, "(") == 1 {
			first, _, _ := strings.Cut(rest, ",")
			return head + " in (" + strings.TrimSuffix(first, ")") + ")"
		}
		return src
	}), "filter/In filter/Logic?"},
	{"startswith is contains", pushed(func(src string) string { return strings.ReplaceAll(src, "startswith", "contains") }), "filter/Text filter/HostileLiterals filter/Logic"},
	{"months are days", pushed(func(src string) string { return strings.ReplaceAll(src, "month(", "day(") }), "filter/Functions"},
	{"or is and", pushed(func(src string) string { return strings.ReplaceAll(src, " or ", " and ") }), "filter/Logic filter/HostileLiterals paging/EmptyMiddle"},
	{"a literal breaks out", pushed(func(src string) string {
		if strings.Contains(src, "drop table") {
			return "null eq null"
		}
		return src
	}), "filter/HostileLiterals"},
}

// pushed returns a mutation that pushes another filter than it was given, and
// says that it was applied exactly.
func pushed(change func(string) string) mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		if req.Filter != nil {
			ent, err := (&env{sys: d.sys, drivers: []connectors.Driver{d}}).entity(ctx, req.Entity)
			if err != nil {
				return nil, err
			}
			if req.Filter, err = bound(ent, change(req.Filter.String())); err != nil {
				return nil, err
			}
		}
		return d.read(ctx, req)
	}}
}

var lifeMutants = []mutant{
	{"Ack forgets all there is", mutation{ack: func(d *driver) { d.sys.Expire(context.Background(), "widgets") }}, "life/Ack"},
	{"each driver has an epoch", mutation{probe: func(d *driver, a *connectors.Account) { a.Epoch = fmt.Sprint(d.number) }}, "life/Probe"},
	{"the context is not passed on", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		return d.read(context.WithoutCancel(ctx), req)
	}}, "life/Cancel life/NoValueInErrors"},
	{"readers share a position", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		d.mu.Lock()
		if d.last != "" && req.Token != "" && req.Anchor == "" && len(req.Token) > 20 {
			req.Token = d.last
		}
		p, err := d.read(ctx, req)
		if err == nil && p.Next != "" && req.Entity == "widgets" {
			d.last = p.Next
		}
		d.mu.Unlock()
		for range 20 {
			runtime.Gosched()
		}
		return p, err
	}}, "life/Concurrent8"},
	{"a goroutine outlives its driver", mutation{open: func(d *driver) { go func() { <-d.sys.ended }() }}, "life/NoLeak"},
	{"a conflict is invalid", mutation{fault: func(f Fault, e *kedge.Error) error {
		if e.Kind == kedge.Conflict {
			e.Kind = kedge.Invalid
		}
		return e
	}}, "life/ErrorKinds"},
	{"the delay is dropped", mutation{fault: func(f Fault, e *kedge.Error) error { e.RetryAfter = 0; return e }}, "life/RetryAfter"},
	{"the answer is quoted", mutation{fault: func(f Fault, e *kedge.Error) error {
		e.Err = errors.New("the system said: " + f.Text)
		return e
	}}, "life/NoSecretInErrors life/NoValueInErrors"},
	{"a token is quoted", failing(func(r *connectors.ReadRequest, e *kedge.Error) {
		e.Err = fmt.Errorf("%w: %s%s", e.Err, r.Token, r.Anchor)
	}), "life/NoValueInErrors"},
	{"Close works once", mutation{close: func(d *driver) error {
		if d.closed > 1 {
			return errors.New("closed already")
		}
		return nil
	}}, "life/Close"},
}
