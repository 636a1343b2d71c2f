package odatatest

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// allTypes has a field of each type, and complex properties two deep.
func allTypes() kedge.Entity {
	native := func(name string, t kedge.Type, edm string) kedge.Field {
		f := field(name, t)
		f.NativeType = edm
		return f
	}
	format := func(name string, f kedge.Format) kedge.Field {
		out := field(name, kedge.TypeString)
		out.Format = f
		return out
	}
	color := format("color", kedge.FormatEnum)
	color.Enum = []string{"Red", "Green"}
	amount := field("amount", kedge.TypeDecimal)
	amount.Precision, amount.Scale = 10, 2
	exact := field("exact", kedge.TypeDecimal)
	exact.Scale = -1
	return kedge.Entity{Name: "values", Key: []string{"k"}, Fields: []kedge.Field{
		{Name: "k", Type: kedge.TypeInt, NativeType: "Edm.Int32"},
		field("bool", kedge.TypeBool), field("big", kedge.TypeInt), native("small", kedge.TypeInt, "Edm.Int16"), native("byte", kedge.TypeInt, "Edm.Byte"),
		amount, exact, field("ratio", kedge.TypeFloat), native("single", kedge.TypeFloat, "Edm.Single"),
		field("text", kedge.TypeString), format("guid", kedge.FormatGUID), format("clock", kedge.FormatClock), format("span", kedge.FormatDuration), color,
		field("at", kedge.TypeTime), field("day", kedge.TypeDate), field("data", kedge.TypeBytes),
		field("any", kedge.TypeJSON), native("tags", kedge.TypeJSON, "Collection(Edm.String)"), native("spot", kedge.TypeJSON, "Edm.GeographyPoint"),
		field("home/city", kedge.TypeString), field("home/geo/lat", kedge.TypeFloat), field("home/geo/lon", kedge.TypeFloat),
	}}
}

func valueRow() kedge.Record {
	return Row("k", kedge.Int(1), "bool", kedge.Bool(true), "big", kedge.Int(9007199254740993), "small", kedge.Int(-7), "byte", kedge.Int(255),
		"amount", kedge.Decimal("19.90"), "exact", kedge.Decimal("1e-7"), "ratio", kedge.Float(0.1), "single", kedge.Float(math.Inf(-1)),
		"text", kedge.String("it's \"a\" \\ / <b>\n\t\u0001 日本 😀"), "guid", kedge.String("01234567-89ab-cdef-0123-456789abcdef"),
		"clock", kedge.String("07:59:59.999"), "span", kedge.String("P3DT1H"), "color", kedge.String("Green"),
		"at", kedge.Time(time.Date(2026, 1, 31, 10, 0, 0, 120000000, time.UTC)), "day", kedge.Date(time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)),
		"data", kedge.Bytes([]byte{0xfb, 0xff, 0}), "any", kedge.JSON(`{"a":[1,null]}`), "tags", kedge.JSON(`["x","y"]`),
		"spot", kedge.JSON(`{"type":"Point","coordinates":[1,2]}`),
		"home/city", kedge.String("Graz"), "home/geo/lat", kedge.Float(47), "home/geo/lon", kedge.Float(math.NaN()))
}

// JSON Format 4.01, section 7.1, and 3.2 for IEEE754Compatible.
func TestValues(t *testing.T) {
	s := New(Options{Entities: []kedge.Entity{allTypes()}, NoVersion: true})
	if err := s.Put("values", valueRow(), Row("k", kedge.Int(2), "text", Omit)); err != nil {
		t.Fatal(err)
	}
	url := s.Start(t)
	row := func(accept string) string {
		r := get(t, url+"values(1)", "Accept", accept)
		if r.status != http.StatusOK {
			t.Fatalf("status %d: %s", r.status, r.raw)
		}
		return relative(r.raw, url)
	}
	const head = `{"@odata.context":"ROOT/$metadata#values/$entity",`
	rest := `"ratio":0.1,"single":"-INF","text":"it's \"a\" \\ / <b>\n\u0009\u0001 日本 😀",` +
		`"guid":"01234567-89ab-cdef-0123-456789abcdef","clock":"07:59:59.999","span":"P3DT1H","color":"Green",` +
		`"at":"2026-01-31T10:00:00.12Z","day":"2026-01-31","data":"-_8A","any":{"a":[1,null]},"tags":["x","y"],` +
		`"spot":{"type":"Point","coordinates":[1,2]},"home":{"city":"Graz","geo":{"lat":47,"lon":"NaN"}}}`
	wantText(t, "numbers as numbers", row("application/json"),
		head+`"k":1,"bool":true,"big":9007199254740993,"small":-7,"byte":255,"amount":19.90,"exact":1e-7,`+rest)
	wantText(t, "Int64 and Decimal as strings", row("application/json;IEEE754Compatible=true"),
		head+`"k":1,"bool":true,"big":"9007199254740993","small":-7,"byte":255,"amount":"19.90","exact":"1e-7",`+rest)

	r := get(t, url+"values(2)", "Accept", "application/json;odata.metadata=none")
	wantText(t, "nulls, a missing property and no context", r.raw, `{"k":2,"bool":null,"big":null,"small":null,"byte":null,"amount":null,"exact":null,`+
		`"ratio":null,"single":null,"guid":null,"clock":null,"span":null,"color":null,"at":null,"day":null,"data":null,"any":null,"tags":null,"spot":null,"home":null}`)
	wantText(t, "content type", r.header.Get("Content-Type"), "application/json;odata.metadata=none")
	full := get(t, url+"values(1)?$select=k,exact,day,text,tags", "Accept", "application/json;odata.metadata=full")
	wantText(t, "full metadata", relative(full.raw, url), `{"@odata.context":"ROOT/$metadata#values(k,exact,day,text,tags)/$entity","@odata.type":"#Sample.value",`+
		`"@odata.id":"ROOT/values(1)","@odata.editLink":"ROOT/values(1)","k@odata.type":"#Int32","k":1,"exact@odata.type":"#Decimal","exact":1e-7,`+
		`"text":"it's \"a\" \\ / <b>\n\u0009\u0001 日本 😀","day@odata.type":"#Date","day":"2026-01-31","tags@odata.type":"#Collection(String)","tags":["x","y"]}`)
}

// Decimals that kedge accepts but JSON does not are sent as JSON numbers of
// the same value.
func TestDecimalSpellings(t *testing.T) {
	m := newModel(Set{Entity: allTypes()}, "Sample")
	p := &m.props[m.index["exact"]]
	for text, want := range map[string]string{
		"1.50": "1.50", "-0.10": "-0.10", "+1.5": "1.5", ".5": "0.5", "5.": "5", "007": "7", "1E3": "1E3", "-.5e1": "-5", "0": "0", "00.1": "0.1",
	} {
		if got := string(m.appendValue(nil, &request{}, p, kedge.Decimal(text))); got != want {
			t.Errorf("decimal %s is sent as %s, want %s", text, got, want)
		}
	}
}

// URL Conventions 4.01, 4.3.1 and ABNF 7: a key of each type that can be one.
func TestKeyLiterals(t *testing.T) {
	ent := allTypes()
	for i := range ent.Fields {
		f := &ent.Fields[i]
		if f.Name != "k" && f.Type != kedge.TypeJSON && f.Type != kedge.TypeFloat {
			ent.AlternateKeys = append(ent.AlternateKeys, []string{f.Name})
		}
	}
	s := New(Options{Entities: []kedge.Entity{ent}})
	if err := s.Put("values", valueRow()); err != nil {
		t.Fatal(err)
	}
	url := s.Start(t)
	m := s.tables[0].model
	values := s.Records("values")[0].Values
	for _, alt := range m.alt {
		p := &m.props[alt[0]]
		r := get(t, url+"values("+alias(p.Name)+"="+escape(literal(p, values[alt[0]]))+")?$select=k")
		if r.status != http.StatusOK || !strings.Contains(r.raw, `"k":1`) {
			t.Errorf("entity by %s of type %s: status %d: %s", p.Name, p.edm, r.status, r.raw)
		}
		wrong := "'text"
		if p.edm == "Edm.String" {
			wrong = "1"
		}
		if r := get(t, url+"values("+alias(p.Name)+"="+escape(wrong)+")"); r.status != http.StatusBadRequest {
			t.Errorf("entity by %s = %s: status %d, want 400", p.Name, wrong, r.status)
		}
	}
}

// Rows may be wrong on purpose: what they hold is sent as it is.
func TestWrongRows(t *testing.T) {
	s, url := newThings(t, 0, Options{})
	put(t, s, Row("id", kedge.String("a"), "n", kedge.JSON(`"many"`), "name", kedge.String("\xff")))
	r := get(t, url+"things?$select=id,n,name")
	if !strings.Contains(r.raw, `"id":"a","n":"many","name":"`+"\xff"+`"`) {
		t.Errorf("got %q, want the wrong type and the wrong UTF-8 as they are", r.raw)
	}
}
