package filter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

var now = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

var customers = &kedge.Entity{Name: "customers", Key: []string{"id"}, Fields: []kedge.Field{
	{Name: "id", Type: kedge.TypeInt},
	{Name: "name", Type: kedge.TypeString, Nullable: true},
	{Name: "price", Type: kedge.TypeDecimal, Nullable: true},
	{Name: "ratio", Type: kedge.TypeFloat, Nullable: true},
	{Name: "active", Type: kedge.TypeBool, Nullable: true},
	{Name: "at", Type: kedge.TypeTime, Nullable: true},
	{Name: "day", Type: kedge.TypeDate, Nullable: true},
	{Name: "ref", Type: kedge.TypeString, Format: kedge.FormatGUID},
	{Name: "color", Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: []string{"Red", "Green"}},
	{Name: "start", Type: kedge.TypeString, Format: kedge.FormatClock},
	{Name: "lasts", Type: kedge.TypeString, Format: kedge.FormatDuration},
	{Name: "doc", Type: kedge.TypeJSON},
	{Name: "photo", Type: kedge.TypeBytes},
}}

func bind(t testing.TB, src string) *filter.Expr {
	t.Helper()
	e, err := filter.Parse(src)
	if err != nil {
		t.Fatalf("Parse(%q): %v", src, err)
	}
	e, err = e.Bind(customers, now)
	if err != nil {
		t.Fatalf("Bind(%q): %v", src, err)
	}
	return e
}

func TestSyntaxErrors(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"", "column 1: unexpected end of filter"},
		{"  ", "column 3: unexpected end of filter"},
		{"name", ""},
		{"name eq", "column 8: unexpected end of filter"},
		{"name = 'x'", `column 6: unexpected "="; use "eq"`},
		{"name == 'x'", `column 6: unexpected "=="; use "eq"`},
		{"name <> 'x'", `column 6: unexpected "<>"; use "ne"`},
		{"id >= 5", `column 4: unexpected ">="; use "ge"`},
		{"id eq 5 && id eq 6", `column 9: unexpected "&&"; use "and"`},
		{"id eq 5 AND id eq 6", `column 9: unexpected "AND"; use "and"`},
		{"id EQ 5", `column 4: unexpected "EQ"; use "eq"`},
		{"NOT active", `column 5: unexpected "active"`},
		{"NOT (active)", `column 1: unexpected "NOT"; use "not"`},
		{`name eq "x"`, `column 9: unexpected "\""; write strings like 'text'`},
		{"not id eq 5", `column 1: "not" before a comparison needs parentheses; write "not (…)"`},
		{"active and not tolower(name) eq 'x'", `column 12: "not" before a comparison needs parentheses; write "not (…)"`},
		{"not id in (5)", `column 1: "not" before a comparison needs parentheses; write "not (…)"`},
		{"not not active", `column 5: unexpected "not"`},
		{"name like 'x%'", `column 6: unexpected "like"; use contains, startswith or endswith`},
		{"name is null", `column 6: unexpected "is"; use "eq null" or "ne null"`},
		{"name eq 'x", "column 9: string without end; write a quote inside a string twice"},
		{"name eq 'x''", "column 9: string without end; write a quote inside a string twice"},
		{"name eq 'a\x00'", "column 9: string with a NUL character"},
		{"(id eq 5", "column 9: unexpected end of filter"},
		{"id eq 5)", `column 8: unexpected ")"`},
		{"id in ()", `column 8: unexpected ")"`},
		{"id in 5", "column 7: unexpected int literal"},
		{"id in (name)", `column 8: unexpected "name"`},
		{"id in (1,)", `column 10: unexpected ")"`},
		{"'x'", "column 4: unexpected end of filter"},
		{"true", "column 5: unexpected end of filter"},
		{"contains(name)", `column 14: unexpected ")"`},
		{"contains(name,'x') eq true", `column 20: unexpected "eq"`},
		{"tolower(contains(name,'x')) eq 'x'", "column 9: contains is a condition, not a value"},
		{"substringof('x',name)", `column 1: unknown function "substringof"; use contains(text, part)`},
		{"tolwer(name) eq 'x'", `column 1: unknown function "tolwer"; did you mean "tolower"?`},
		{"indexof(name,'x') eq 1", `column 1: unknown function "indexof"`},
		{"tags/any(t:t eq 'x')", "column 1: any and all are not supported"},
		{"id add 1 eq 5", `column 4: operator "add" is not supported`},
		{"color has 'Red'", `column 7: operator "has" is not supported`},
		{"at gt now() add 5", `column 17: "now() add" needs a duration; write it like duration'P30D'`},
		{"at gt now() sub duration'P1M'", "column 17: malformed duration; write it like duration'P30D' or duration'PT1H30M'"},
		{"at gt now(5)", "column 11: unexpected int literal"},
		{"id eq 5L", "column 7: malformed number"},
		{"id eq 1.", "column 7: malformed number"},
		{"id eq .5", `column 7: unexpected "."`},
		{"id eq 1.5.2", "column 7: malformed number"},
		{"id eq - 5", "column 7: malformed number"},
		{"price eq 1e401", "column 10: number has more than 400 digits or too large an exponent"},
		{"at gt 2026-01-31T10:00:00", "column 7: no such time; write it like 2026-01-31T10:00:00Z or 2026-01-31T12:00:00+02:00"},
		{"at gt 2026-01-31T25:00:00Z", "column 7: no such time; write it like 2026-01-31T10:00:00Z or 2026-01-31T12:00:00+02:00"},
		{"at gt 0001-01-01T00:00:00+01:00", "column 7: no such time; write it like 2026-01-31T10:00:00Z or 2026-01-31T12:00:00+02:00"},
		{"day gt 2026-02-30", "column 8: no such date"},
		{"day gt 0000-01-01", "column 8: no such date"},
		{"start gt 24:00:00", "column 10: no such time of day"},
		{"ref eq guid'6f1a2b3c-0000-4000-8000-00000000000a'", `column 8: prefix "guid" is of OData V2 and V3; write the value without prefix and quotes`},
		{"color eq Color'Red'", `column 10: unknown prefix "Color"; write an enumeration with its namespace: Ns.Enum'Member'`},
		{"name eq 'Zoë' AND active", `column 15: unexpected "AND"; use "and"`},
		{"name eq 'x' ; drop", `column 13: unexpected ";"`},
		{"name eq \xff", `column 9: unexpected "\xff"`},
		{"name eq 'x' — y", `column 13: unexpected "—"`},
	} {
		_, err := filter.Parse(tt.src)
		checkError(t, tt.src, err, tt.want)
	}
}

func TestBindErrors(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{"nam eq 'x'", `column 1: unknown field "nam"; did you mean "name"?`},
		{"active and Name eq 'x'", `column 12: unknown field "Name"; did you mean "name"?`},
		{"xyzzy eq 1", `column 1: unknown field "xyzzy"`},
		{"name", `column 1: "name" is string, not bool; compare it with something`},
		{"not id", `column 5: "id" is int, not bool; compare it with something`},
		{"id eq 'x'", `column 7: cannot compare "id" (int) with string literal; write the number without quotes`},
		{"name eq 5", `column 9: cannot compare "name" (string) with int literal; write it in quotes`},
		{"5 eq name", `column 1: cannot compare "name" (string) with int literal; write it in quotes`},
		{"name eq 6f1a2b3c-0000-4000-8000-00000000000a", `column 9: cannot compare "name" (string) with guid literal; write it in quotes`},
		{"name eq Ns.Color'Red'", `column 9: cannot compare "name" (string) with enum literal; write it in quotes`},
		{"name in ('a',5)", `column 14: cannot compare "name" (string) with int literal; write it in quotes`},
		{"id eq name", `column 7: cannot compare "id" (int) with "name" (string)`},
		{"ref eq name", `column 8: cannot compare "ref" (guid) with "name" (string)`},
		{"at eq day", `column 7: cannot compare "at" (time) with "day" (date)`},
		{"at gt 2026-01-31", `column 7: cannot compare "at" (time) with date literal; write the literal like 2026-01-31T00:00:00Z, or compare date(…)`},
		{"day gt now()", `column 8: cannot compare "day" (date) with time literal; write the literal like 2026-01-31, or date(now())`},
		{"at gt 5", `column 7: cannot compare "at" (time) with int literal`},
		{"active eq 1", `column 11: cannot compare "active" (bool) with int literal`},
		{"active gt true", `column 1: bool has no order; use "eq", "ne" or "in"`},
		{"color gt 'Red'", `column 1: enum has no order; use "eq", "ne" or "in"`},
		{"ref gt 6f1a2b3c-0000-4000-8000-00000000000a", `column 1: guid has no order; use "eq", "ne" or "in"`},
		{"lasts gt duration'P1D'", `column 1: duration has no order; use "eq", "ne" or "in"`},
		{"color eq 'red'", `column 10: "color" has no such member; did you mean "Red"?`},
		{"color eq 'Red, Grean'", `column 10: "color" has no such member; did you mean "Green"?`},
		{"color eq 0", `column 10: cannot compare "color" (enum) with int literal`},
		{"ref eq 'x'", "column 8: text is not a guid"},
		{"start eq '25:00'", "column 10: text is not a time of day; write it like 16:30:00"},
		{"lasts eq 'x'", "column 10: text is not a duration; write it like duration'PT1H30M'"},
		{"doc eq 'x'", "column 8: json compares only with null"},
		{"doc eq doc", `column 8: cannot compare "doc" (json) with "doc" (json)`},
		{"photo eq 'x'", `column 10: cannot compare "photo" (bytes) with string literal`},
		{"contains(id,'x')", "column 10: contains needs a string, not int"},
		{"contains(color,'x')", "column 10: contains needs a string, not enum"},
		{"contains(name,null)", "column 15: contains needs a string, not null"},
		{"contains(name,5)", "column 15: contains needs a string, not int"},
		{"length(ref) eq 36", "column 8: length needs a string, not guid"},
		{"year(name) eq 5", "column 6: year needs a time or date, not string"},
		{"year(at) eq '2026'", "column 13: cannot compare year(…) (int) with string literal; write the number without quotes"},
		{"tolower(name) eq null", "column 18: a function is not compared with null; test the field itself"},
		{"tolower(name) in ('x',null)", "column 23: a function is not compared with null; test the field itself"},
		{"ratio eq 1e400", "column 10: number is too large for a float"},
		{"1 eq 'x'", "column 6: cannot compare int literal with string literal; write the number without quotes"},
		{"at gt now() sub duration'P100000D' and at gt now() sub duration'P106000D'", ""},
	} {
		e, err := filter.Parse(tt.src)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.src, err)
			continue
		}
		_, err = e.Bind(customers, now)
		checkError(t, tt.src, err, tt.want)
	}
}

func TestNowStaysInRange(t *testing.T) {
	e, err := filter.Parse("at gt now() sub duration'P1D'")
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Bind(customers, time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC))
	checkError(t, "now() at the limit", err, "")
	_, err = e.Bind(customers, time.Date(1, 1, 1, 23, 59, 59, 0, time.UTC))
	checkError(t, "now() one past", err, "column 7: time is outside the years 1 to 9999")
}

func checkError(t *testing.T, src string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
		if _, ok := errors.AsType[*filter.SyntaxError](err); !ok {
			t.Errorf("%q: error is a %T, want *SyntaxError", src, err)
		}
	}
	if got != want {
		t.Errorf("%q:\n got %q\nwant %q", src, got, want)
	}
}

func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  func(n int) string
		max  int
		want string // of one more
	}{
		{"length", func(n int) string { return "name eq '" + strings.Repeat("x", n-10) + "'" }, filter.MaxLength,
			"column 1: filter is longer than 8192 bytes"},
		{"length in canonical form", func(n int) string { return "not(id eq 1 and name eq '" + strings.Repeat("x", n-28) + "')" }, filter.MaxLength,
			"column 1: filter is longer than 8192 bytes"},
		{"depth", func(n int) string { return strings.Repeat("(", n) + "active" + strings.Repeat(")", n) }, filter.MaxDepth,
			"column 65: parentheses are nested deeper than 64"},
		{"depth of functions", func(n int) string { return strings.Repeat("trim(", n) + "name" + strings.Repeat(")", n) + " eq ''" }, filter.MaxDepth,
			"column 325: parentheses are nested deeper than 64"},
		{"in", func(n int) string { return "id in (1" + strings.Repeat(",2", n-1) + ")" }, filter.MaxIn,
			`column 2008: "in" has more than 1000 literals`},
		{"digits", func(n int) string { return "price eq " + strings.Repeat("9", n) }, kedge.MaxDecimalDigits,
			"column 10: number has more than 400 digits or too large an exponent"},
		{"years of a duration", func(n int) string { return "at gt now() add duration'PT" + string(rune('0'+n)) + "562047H'" }, 2,
			"column 17: malformed duration; write it like duration'P30D' or duration'PT1H30M'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := filter.Parse(tt.src(tt.max)); err != nil {
				t.Errorf("at the limit: %v", err)
			}
			_, err := filter.Parse(tt.src(tt.max + 1))
			checkError(t, "one past", err, tt.want)
		})
	}
}

func TestString(t *testing.T) {
	for _, tt := range []struct{ src, want string }{
		{" ( id  eq 5 ) ", "id eq 5"},
		{"(active and active) and active", "active and active and active"},
		{"active or (active and active)", "active or active and active"},
		{"active and (active or active)", "active and (active or active)"},
		{"not((active))", "not active"},
		{"not(not(contains( name , 'x' )))", "not (not contains(name,'x'))"},
		{"id in( 1 , 2,null )", "id in (1,2,null)"},
		{"at gt 2026-01-31T12:00+02:00", "at gt 2026-01-31T10:00:00Z"},
		{"at gt now()  sub duration'P1D'", "at gt now() sub duration'P1D'"},
		{"ref eq 6F1A2B3C-0000-4000-8000-00000000000A", "ref eq 6f1a2b3c-0000-4000-8000-00000000000a"},
		{"color eq Ns.Color'Red'", "color eq Ns.Color'Red'"},
		{"price eq 019.90", "price eq 019.90"},
		{"price eq 0019", "price eq 19"},
		{"ratio eq -INF or ratio eq NaN", "ratio eq -INF or ratio eq NaN"},
		{"and eq 1 and or eq 2 or in in (3) and eq", "and eq 1 and or eq 2 or in in (3) and eq"},
		{"Address/City eq 'it''s'", "Address/City eq 'it''s'"},
	} {
		e, err := filter.Parse(tt.src)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.src, err)
		} else if got := e.String(); got != tt.want {
			t.Errorf("Parse(%q).String() = %q, want %q", tt.src, got, tt.want)
		}
	}
}
