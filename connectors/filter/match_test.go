package filter_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// TestMissing: a missing field matters only if the others do not decide.
func TestMissing(t *testing.T) {
	fields := kedge.NewFields("id", "active", "name") // price is not even in the list
	r := &kedge.Record{Fields: fields, Values: []kedge.Value{kedge.Int(5), kedge.Bool(true), {}}}
	for _, tt := range []struct {
		src  string
		want filter.Truth
		err  error
	}{
		{"name eq 'x'", filter.Unknown, filter.ErrMissing},
		{"price eq 1", filter.Unknown, filter.ErrMissing},
		{"name eq null", filter.Unknown, filter.ErrMissing},
		{"not (name eq 'x')", filter.Unknown, filter.ErrMissing},
		{"name in ('x')", filter.Unknown, filter.ErrMissing},
		{"contains(name,'x')", filter.Unknown, filter.ErrMissing},
		{"length(name) eq 1", filter.Unknown, filter.ErrMissing},
		{"name eq 'x' and id eq 5", filter.Unknown, filter.ErrMissing},
		{"name eq 'x' and id eq 6", filter.No, nil},
		{"id eq 6 and name eq 'x'", filter.No, nil},
		{"name eq 'x' or active", filter.Yes, nil},
		{"name eq 'x' or not active", filter.Unknown, filter.ErrMissing},
		{"not (name eq 'x' and not active)", filter.Yes, nil},
	} {
		if got, err := bind(t, tt.src).Match(r); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.src, got, err, tt.want, tt.err)
		}
	}
	if got, err := bind(t, "active").Match(&kedge.Record{Removed: kedge.Deleted}); !errors.Is(err, filter.ErrMissing) {
		t.Errorf("record without values: got %v, %v, want ErrMissing", got, err)
	}
}

func TestMatchBeforeBind(t *testing.T) {
	e, err := filter.Parse("active")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Match(&kedge.Record{}); got != filter.Unknown || err == nil {
		t.Errorf("got %v, %v, want unknown and an error", got, err)
	}
}

// TestMatchConcurrently uses one filter for records of two layouts at once.
func TestMatchConcurrently(t *testing.T) {
	e := bind(t, "id eq 5 and name eq 'x'")
	a, b := kedge.NewFields("id", "name"), kedge.NewFields("name", "price", "id")
	records := []kedge.Record{
		{Fields: a, Values: []kedge.Value{kedge.Int(5), kedge.String("x")}},
		{Fields: b, Values: []kedge.Value{kedge.String("x"), kedge.Null(), kedge.Int(5)}},
	}
	var wg sync.WaitGroup
	for i := range records {
		wg.Go(func() {
			for range 1000 {
				if got, err := e.Match(&records[i]); got != filter.Yes || err != nil {
					t.Errorf("layout %d: got %v, %v, want yes", i, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSplit(t *testing.T) {
	noStrings := func(n filter.Node) bool { return n.Op != filter.Field || n.Type != kedge.TypeString }
	for _, tt := range []struct {
		src, push string
		exact     bool
	}{
		{"id eq 5", "id eq 5", true},
		{"name eq 'x'", "", false},
		{"id eq 5 and active", "id eq 5 and active", true},
		{"id eq 5 and name eq 'x'", "id eq 5", false},
		{"id eq 5 and name eq 'x' and active", "id eq 5 and active", false},
		{"id eq 5 or name eq 'x'", "", false},
		{"not (id eq 5 and name eq 'x')", "", false},
		{"active and (id eq 5 or length(name) eq 3)", "active", false},
		{"active and not (id eq 5 or id eq 6)", "active and not (id eq 5 or id eq 6)", true},
	} {
		push, exact := bind(t, tt.src).Split(noStrings)
		got := ""
		if push != nil {
			got = push.String()
		}
		if got != tt.push || exact != tt.exact {
			t.Errorf("Split(%s) = %q, %v, want %q, %v", tt.src, got, exact, tt.push, tt.exact)
		}
	}
	push, exact := bind(t, "id eq 5 and active").Split(func(n filter.Node) bool { return n.Op != filter.And })
	if push != nil || exact {
		t.Errorf("Split where and is refused = %v, %v, want nothing", push, exact)
	}
}

func TestFieldsAndVolatile(t *testing.T) {
	e := bind(t, "name eq 'x' and (at gt now() or not contains(tolower(name),'y')) and id in (1)")
	if got, want := e.Fields(), []string{"at", "id", "name"}; !slices.Equal(got, want) {
		t.Errorf("Fields = %v, want %v", got, want)
	}
	if !e.Volatile() {
		t.Error("Volatile = false after Bind, want true")
	}
	if bind(t, "active").Volatile() {
		t.Error("Volatile of a filter without now() = true")
	}
}

// TestBoundLiterals fixes what renderers rely on.
func TestBoundLiterals(t *testing.T) {
	for _, tt := range []struct {
		src  string
		want kedge.Value
		typ  kedge.Type
	}{
		{"id eq 5.0", kedge.Int(5), kedge.TypeInt},
		{"id eq 5.5", kedge.Decimal("5.5"), kedge.TypeDecimal},
		{"id eq 1e400", kedge.Decimal("1e400"), kedge.TypeDecimal},
		{"id eq 1e399", kedge.Decimal("1" + strings.Repeat("0", 399)), kedge.TypeDecimal},
		{"id eq INF", bind(t, "ratio eq INF").Root().Args[1].Value, kedge.TypeFloat},
		{"price eq 5", kedge.Decimal("5"), kedge.TypeDecimal},
		{"price eq 19.90", kedge.Decimal("19.90"), kedge.TypeDecimal},
		{"price eq 1.5e1", kedge.Decimal("15"), kedge.TypeDecimal},
		{"ratio eq 5", kedge.Float(5), kedge.TypeFloat},
		{"ratio eq 0.1", kedge.Float(0.1), kedge.TypeFloat},
		{"price eq null", kedge.Null(), kedge.TypeDecimal},
		{"ref eq '6F1A2B3C-0000-4000-8000-00000000000A'", kedge.String("6f1a2b3c-0000-4000-8000-00000000000a"), kedge.TypeString},
		{"at gt now() add duration'PT1.5S'", kedge.Time(now.Add(1500e6)), kedge.TypeTime},
		{"at gt now() sub duration'P1DT1H1M'", kedge.Time(now.Add(-25*3600e9 - 60e9)), kedge.TypeTime},
		{"day gt date(now())", kedge.Date(now), kedge.TypeDate},
		{"id gt length(trim(' ä '))", kedge.Int(1), kedge.TypeInt},
		{"name eq toupper('ä')", kedge.String("Ä"), kedge.TypeString},
	} {
		lit := bind(t, tt.src).Root().Args[1]
		if lit.Op != filter.Literal || lit.Value != tt.want || lit.Type != tt.typ {
			t.Errorf("%s: literal %v %v of type %v, want %v %v", tt.src, lit.Value.Type(), lit.Value.Text(), lit.Type, tt.want.Text(), tt.typ)
		}
	}
}

// TestSpace: renderers give Space to SQL as the characters that trim removes.
func TestSpace(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if got, want := strings.ContainsRune(filter.Space, r) && r != unicode.ReplacementChar, unicode.IsSpace(r); got != want {
			t.Errorf("Space holds %U: %v, want %v", r, got, want)
		}
	}
}

const fiveTerms = "id gt 5 and name ne 'Berlin' and price le 19.905 and at ge 2026-01-31T00:00:00Z and not (day eq 2026-02-01)"

func fiveTermRecord() *kedge.Record {
	return &kedge.Record{
		Fields: kedge.NewFields("day", "at", "ref", "price", "name", "id"),
		Values: []kedge.Value{kedge.Date(now), kedge.Time(now), kedge.Null(), kedge.Decimal("19.90"), kedge.String("Bern"), kedge.Int(6)},
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	r := fiveTermRecord()
	for _, src := range []string{fiveTerms, "price gt id and id lt price or id in (1,2,3) or contains(tolower(trim(name)),'x')"} {
		e := bind(t, src)
		if n := testing.AllocsPerRun(100, func() { _, _ = e.Match(r) }); n != 0 {
			t.Errorf("%s: %v allocations per match, want 0", src, n)
		}
	}
	if got, err := bind(t, fiveTerms).Match(r); got != filter.Yes || err != nil {
		t.Errorf("the five terms give %v, %v, want yes, so that all are tested", got, err)
	}
}

func BenchmarkMatch(b *testing.B) {
	e, r := bind(b, fiveTerms), fiveTermRecord()
	b.ReportAllocs()
	for b.Loop() {
		if got, err := e.Match(r); got != filter.Yes || err != nil {
			b.Fatal(got, err)
		}
	}
}
