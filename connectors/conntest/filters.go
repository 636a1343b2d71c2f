package conntest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

var filterChecks = []check{
	{"filter/Compare", filterAgrees(drawComparison)},
	{"filter/In", filterAgrees(drawIn)},
	{"filter/Text", filterAgrees(drawTest)},
	{"filter/Functions", filterAgrees(drawCall)},
	{"filter/Logic", filterAgrees(func(t *rapid.T) string { return drawLogic(t, 3) })},
	{"filter/HostileLiterals", filterHostileLiterals},
}

// A column is a field, the literals to compare it with, and operators for it.
type column struct {
	field, literals string
	ordered         bool
}

// columns are the fields of filters. The literals meet the values of population.
var columns = []column{
	{"int", "-1|0|1|7|9007199254740993|7.5|null", true},
	{"decimal", "19.90|19.9|0|-0.10|7|12345678901234567890.1|null", true},
	{"float", "0.5|0|-1e-7|7|null", true},
	{"string", "'a'|'A'|'b'|''|'it''s'|'Zoë'|'%'|'a_c'|' a '|null", true},
	{"time", "2026-06-15T12:00:00Z|2026-06-15T14:00:00+02:00|0001-01-01T00:00:00Z|null", true},
	{"date", "2026-06-15|2024-02-29|null", true},
	{"bool", "true|false|null", false},
	{"guid", "6f1a2b3c-0000-4000-8000-00000000000a|6F1A2B3C-0000-4000-8000-00000000000B|null", false},
}

// population returns widgets whose values lie on, beside and far from the
// literals of columns, with nulls among them.
func population() []kedge.Record {
	texts := map[string]string{
		"int":     "-1|0|1|7|9007199254740993|9007199254740992|8",
		"decimal": "19.90|19.91|0.00|-0.10|7|12345678901234567890.1",
		"float":   "0.5|0|-1e-7|7|0.1",
		"string":  "a|A|b||it's|Zoë|ZOË|%|a_c|abc| a |\u00a0a|ab%|tab\tx|straße",
		"time":    "2026-06-15T12:00:00Z|2026-06-15T12:00:00.000001Z|0001-01-01T00:00:00Z|2024-02-29T23:59:59Z",
		"date":    "2026-06-15|2024-02-29|2026-06-16|9999-12-31",
		"bool":    "true|false",
		"guid":    "6f1a2b3c-0000-4000-8000-00000000000a|6f1a2b3c-0000-4000-8000-00000000000b|00000000-0000-0000-0000-000000000000",
	}
	var records []kedge.Record
	for i := range 36 {
		r := widget(widgetID(i))
		for at, f := range Widgets.Fields[1:] {
			list := strings.Split(texts[f.Name], "|")
			n := (i*(at+1) + at) % (len(list) + 1) // the last one is null
			r.Values[at+1] = kedge.Null()
			if n < len(list) && texts[f.Name] != "" {
				r.Values[at+1] = mustParse(f.Type, list[n])
			}
		}
		records = append(records, r)
	}
	return records
}

// filterAgrees compares filtered reads with what filter.Expr.Match says.
func filterAgrees(draw func(*rapid.T) string) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		ent, err := e.withFilter(ctx)
		if err != nil {
			return err
		}
		records := population()
		if err := e.put(ctx, records...); err != nil {
			return err
		}
		return property(func(t *rapid.T) error { return e.filterAgrees(ctx, ent, records, draw(t)) })
	}
}

func (e *env) withFilter(ctx context.Context) (*kedge.Entity, error) {
	ent, err := e.entity(ctx, Widgets.Name)
	if err == nil && !ent.Filter {
		err = cannot("widgets has no Filter")
	}
	return ent, err
}

func (e *env) filterAgrees(ctx context.Context, ent *kedge.Entity, records []kedge.Record, src string) error {
	expr, err := bound(ent, src)
	if err != nil {
		return fmt.Errorf("the kit made a filter that does not bind: %s: %w", src, err)
	}
	var want []kedge.Key
	for _, r := range records {
		truth, err := expr.Match(&r)
		if err != nil {
			return fmt.Errorf("the kit made a filter that does not match: %s: %w", src, err)
		}
		if truth == filter.Yes {
			want = append(want, r.Key)
		}
	}
	req := request(50, "")
	req.Filter = expr
	h, err := read(ctx, e.driver(), req, nil)
	if err != nil {
		return fmt.Errorf("read with filter %s: %w", src, err)
	}
	got, err := h.matching(expr)
	if err != nil {
		return err
	}
	return wantKeys("read with filter "+src, got, want)
}

func pick(t *rapid.T, label string, from ...string) string {
	return rapid.SampledFrom(from).Draw(t, label)
}

func (c *column) draw(t *rapid.T) string {
	return pick(t, "literal", strings.Split(c.literals, "|")...)
}

func drawComparison(t *rapid.T) string {
	c := rapid.SampledFrom(columns).Draw(t, "column")
	ops := []string{"eq", "ne"}
	if c.ordered {
		ops = append(ops, "gt", "ge", "lt", "le")
	}
	return c.field + " " + pick(t, "op", ops...) + " " + c.draw(t)
}

func drawIn(t *rapid.T) string {
	c := rapid.SampledFrom(columns).Draw(t, "column")
	items := rapid.SliceOfN(rapid.Custom(c.draw), 1, 4).Draw(t, "items")
	return c.field + " in (" + strings.Join(items, ",") + ")"
}

func drawTest(t *rapid.T) string {
	return pick(t, "not", "", "not ") + pick(t, "test", "contains", "startswith", "endswith") +
		"(string," + pick(t, "part", "'a'", "'A'", "''", "'%'", "'_'", "'''s'", "'ë'", "' '", "'ß'", `'\'`, "'['") + ")"
}

func drawCall(t *rapid.T) string {
	op := " " + pick(t, "op", "eq", "ne", "gt", "ge", "lt", "le") + " "
	switch pick(t, "function", "case", "trim", "length", "part", "date") {
	case "case":
		return pick(t, "name", "tolower", "toupper") + "(string)" + op + pick(t, "text", "'a'", "'A'", "'zoë'", "'ZOË'", "'strasse'", "'STRASSE'", "''")
	case "trim":
		return "trim(string)" + op + pick(t, "text", "'a'", "''", "'it''s'")
	case "length":
		return "length(string)" + op + pick(t, "number", "0", "1", "3", "6")
	case "part":
		return pick(t, "name", "year", "month", "day") + "(" + pick(t, "field", "time", "date") + ")" + op + pick(t, "number", "1", "2", "6", "15", "29", "2024", "2026")
	}
	return "date(time)" + op + pick(t, "day", "2026-06-15", "2024-02-29", "0001-01-01")
}

func drawLogic(t *rapid.T, depth int) string {
	if depth == 0 {
		return rapid.SampledFrom([]func(*rapid.T) string{drawComparison, drawIn, drawTest, drawCall, func(*rapid.T) string { return "bool" }}).Draw(t, "leaf")(t)
	}
	a := drawLogic(t, depth-1)
	switch pick(t, "logic", "not", "and", "or", "none") {
	case "not":
		return "not (" + a + ")"
	case "and":
		return "(" + a + ") and (" + drawLogic(t, depth-1) + ")"
	case "or":
		return "(" + a + ") or (" + drawLogic(t, depth-1) + ")"
	}
	return a
}

// filterHostileLiterals looks for texts that would break out of a query.
func filterHostileLiterals(ctx context.Context, e *env) error {
	ent, err := e.withFilter(ctx)
	if err != nil {
		return err
	}
	texts := []string{"'", "''", `"`, `\`, `\'`, "' or 1 eq 1 or '", "'; drop table widgets; --", "%", "_", "%27", "&$top=0", "a+b", "a b", "#", "?", "$1",
		"</value>", "<![CDATA[", "&amp;", "\n", "{{7*7}}", "ë", "e\u0308", "👩‍👧", "*", "null", strings.Repeat("x", 4000)}
	var records []kedge.Record
	for i, text := range texts {
		r := widget(widgetID(i), set("string", kedge.String(text)))
		for at := range r.Values {
			if r.Values[at].IsMissing() {
				r.Values[at] = kedge.Null()
			}
		}
		records = append(records, r)
	}
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	for _, text := range texts {
		quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
		for _, src := range []string{"string eq " + quoted, "string in (" + quoted + ",'-')", "contains(string," + quoted + ")", "not startswith(string," + quoted + ")"} {
			if err := e.filterAgrees(ctx, ent, records, src); err != nil {
				return err
			}
		}
	}
	return nil
}

// property checks with rapid that prop returns no error, and returns that of
// the smallest case where it does.
func property(prop func(*rapid.T) error) (smallest error) {
	defer func() {
		if r := recover(); r != nil && !errors.Is(asError(r), errFailNow) {
			panic(r)
		} else if r != nil && smallest == nil {
			smallest = errors.New("rapid could not check the property")
		}
	}()
	rapid.Check(&recorder{}, func(t *rapid.T) {
		if smallest = prop(t); smallest != nil {
			t.FailNow()
		}
	})
	return nil
}
