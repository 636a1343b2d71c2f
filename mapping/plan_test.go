package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"gonum.org/v1/gonum/graph/simple"
	"gonum.org/v1/gonum/graph/topo"
	"pgregory.net/rapid"
)

// planFor compiles one entity A -> a with the given live fields and the YAML
// of the entity's other keys.
func planFor(t testing.TB, ext, loc []kedge.Field, yaml string) *EntityPlan {
	t.Helper()
	m, e, l := mappingFor(t, ext, loc, yaml)
	plan, err := Compile(m, e, l, time.Unix(0, 0))
	if err != nil || len(plan.Held) > 0 {
		t.Fatalf("Compile: %v, held %+v", err, plan.Held)
	}
	return plan.Layers[0][0]
}

func mappingFor(t testing.TB, ext, loc []kedge.Field, yaml string) (*Mapping, *kedge.Schema, *kedge.Schema) {
	t.Helper()
	m, err := Parse("m.yaml", []byte("kedge: mapping/v1\nentities:\n  - external: A\n    local: a\n"+yaml))
	if err != nil {
		t.Fatal(err)
	}
	e := &kedge.Schema{Entities: []kedge.Entity{{Name: "A", Fields: ext, Key: []string{"Id"}, Delta: true, Update: true}}}
	l := &kedge.Schema{Entities: []kedge.Entity{{Name: "a", Fields: loc, Key: []string{"id"}}}}
	return m, e, l
}

func field(name string, typ kedge.Type) kedge.Field {
	return kedge.Field{Name: name, Type: typ, Nullable: true, Scale: -1}
}

func TestDownload(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("X", kedge.TypeString), field("N", kedge.TypeDecimal)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeInt), {Name: "need", Type: kedge.TypeInt}, field("s", kedge.TypeString)}
	missing, null, word := kedge.Value{}, kedge.Null(), kedge.String("much")
	for _, tt := range []struct {
		name, rule string
		in         kedge.Value // of X
		create     bool
		want       kedge.Value // of the rule's local field
		code       string      // of the error
	}{
		{"converts", "{external: X, local: x}", kedge.String("7"), false, kedge.Int(7), ""},
		{"missing leaves the target alone", "{external: X, local: x}", missing, true, missing, ""},
		{"null clears", "{external: X, local: x}", null, false, null, ""},
		{"default fills missing on create", "{external: X, local: x, default: 5}", missing, true, kedge.Int(5), ""},
		{"default fills null on create", "{external: X, local: x, default: 5}", null, true, kedge.Int(5), ""},
		{"default does not fill on update", "{external: X, local: x, default: 5}", missing, false, missing, ""},
		{"null clears on update in spite of a default", "{external: X, local: x, default: 5}", null, false, null, ""},
		{"default is no excuse for bad values", "{external: X, local: x, default: 5}", word, true, missing, "conversion"},
		{"bad value", "{external: X, local: x}", word, false, missing, "conversion"},
		{"bad value, empty", "{external: X, local: x, onError: empty}", word, false, null, ""},
		{"bad value, default", "{external: X, local: x, onError: default, default: 5}", word, false, kedge.Int(5), ""},
		{"null for a required field", "{external: X, local: need}", null, false, missing, "required"},
		{"null for a required field, default", "{external: X, local: need, onError: default, default: 5}", null, false, kedge.Int(5), ""},
		{"null for a required field on create", "{external: X, local: need, default: 5}", null, true, kedge.Int(5), ""},
		{"bad value of a required field cannot be empty", "{external: X, local: need, onError: empty}", word, false, missing, "conversion"},
		{"value map", "{external: X, local: x, values: {Open: 0, Closed: 1}}", kedge.String("Closed"), false, kedge.Int(1), ""},
		{"value map, no entry", "{external: X, local: x, values: {Open: 0}}", kedge.String("open"), false, missing, "value_map"},
		{"value map, no entry, empty", "{external: X, local: x, values: {Open: 0}, otherwise: empty}", word, false, null, ""},
		{"value map, no entry, keep", "{external: X, local: x, values: {Open: 0}, otherwise: keep}", kedge.String("9"), false, kedge.Int(9), ""},
		{"value map, no entry, keep what does not convert", "{external: X, local: x, values: {Open: 0}, otherwise: keep}", word, false, missing, "conversion"},
		{"value map to null", "{external: X, local: x, values: {none: null}}", kedge.String("none"), false, null, ""},
		{"value map, null", "{external: X, local: x, values: {Open: 0}}", null, false, null, ""},
		{"value map of numbers", "{external: N, local: s, values: {1.5: a, 2: b}}", kedge.Decimal("2.00"), false, kedge.String("b"), ""},
		{"constant", "{local: s, constant: bc}", missing, false, kedge.String("bc"), ""},
		{"constant number", "{local: x, constant: 3}", missing, false, kedge.Int(3), ""},
		{"expression", "{external: X, local: s, expr: {download: upper(value)}}", word, false, kedge.String("MUCH"), ""},
		{"expression of missing", "{external: X, local: s, expr: {download: upper(value)}}", missing, false, missing, ""},
		{"expression of null", "{external: X, local: s, expr: {download: upper(value)}}", null, false, null, ""},
		{"expression that fails", "{external: X, local: s, expr: {download: string(decimal(value))}}", word, false, missing, "expression"},
		{"expression that fails, empty", "{external: X, local: s, onError: empty, expr: {download: string(decimal(value))}}", word, false, null, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := planFor(t, ext, loc, "    fields: ["+tt.rule+"]\n")
			src := kedge.Record{Fields: p.ExternalFields, Values: make([]kedge.Value, p.ExternalFields.Len())}
			for _, name := range []string{"X", "N"} {
				if i := p.ExternalFields.Index(name); i >= 0 {
					src.Values[i] = tt.in
				}
			}
			dst := kedge.Record{Values: []kedge.Value{kedge.String("left over"), kedge.String("left over")}}
			err := p.Download(&dst, &src, tt.create)
			if tt.code != "" {
				fe, ok := errors.AsType[*FieldError](err)
				if !ok || fe.Code != tt.code || fe.Field != "X" || strings.Contains(err.Error(), "much") {
					t.Fatalf("got %v, want a FieldError of X with code %s and without the value", err, tt.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(dst.Values) != 1 || dst.Values[0] != tt.want {
				t.Errorf("got %v, want %v %q", dst.Values, tt.want.Type(), tt.want.Text())
			}
		})
	}
}

func TestDownloadAndHashDoNotAllocate(t *testing.T) {
	types := []kedge.Type{kedge.TypeBool, kedge.TypeInt, kedge.TypeFloat, kedge.TypeDecimal, kedge.TypeString, kedge.TypeTime, kedge.TypeDate, kedge.TypeBytes, kedge.TypeJSON}
	ext, loc := []kedge.Field{field("Id", kedge.TypeString)}, []kedge.Field{field("id", kedge.TypeString)}
	yaml := "    key: [{external: Id, local: id, primary: true}]\n    fields:\n"
	for _, typ := range types {
		ext, loc = append(ext, field("E"+typ.String(), typ)), append(loc, field(typ.String(), typ))
		yaml += fmt.Sprintf("      - {external: E%s, local: %s}\n", typ, typ)
	}
	ext, loc = append(ext, field("Status", kedge.TypeString), field("Code", kedge.TypeInt)), append(loc, field("status", kedge.TypeInt), field("code", kedge.TypeString))
	yaml += "      - {external: Status, local: status, values: {Open: 0}}\n      - {external: Code, local: code, values: {17: x}}\n"
	p := planFor(t, ext, loc, yaml)
	src := kedge.Record{Fields: p.ExternalFields, Values: make([]kedge.Value, p.ExternalFields.Len())}
	for name, v := range map[string]kedge.Value{
		"Id": kedge.String("C1"), "Ebool": kedge.Bool(true), "Eint": kedge.Int(9007199254740993), "Efloat": kedge.Float(2), "Edecimal": kedge.Decimal("0019.90"),
		"Estring": kedge.String(strings.Repeat("long ", 500)), "Etime": at("2026-01-02T03:04:05.123456789Z"), "Edate": day("2026-01-02"),
		"Ebytes": kedge.Bytes([]byte("x")), "Ejson": kedge.JSON("{}"), "Status": kedge.String("Open"), "Code": kedge.Int(17),
	} {
		src.Values[p.ExternalFields.Index(name)] = v
	}
	var dst kedge.Record
	if err := p.Download(&dst, &src, true); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Download(&dst, &src, true); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Download allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { p.Hash(&src) }); n != 0 {
		t.Errorf("Hash allocates %v times, want 0", n)
	}
}

func TestHash(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("X", kedge.TypeDecimal), field("At", kedge.TypeTime), field("Ref", kedge.TypeString), field("Other", kedge.TypeBool), field("Up", kedge.TypeString)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeDecimal), field("at", kedge.TypeTime), field("ref", kedge.TypeString), field("up", kedge.TypeString)}
	p := planFor(t, ext, loc, "    downloadFilter: Other eq false\n    key: [{external: Id, local: id}]\n    fields: [{external: X, local: x}, {external: At, local: at}, "+
		"{external: Ref, local: ref, lookup: {entity: a}}, {external: Up, local: up, direction: upload}]\n")
	if p.ExternalFields.Index("Other") < 0 {
		t.Error("the field of the filter is not read")
	}
	hash := func(id, x, ref, other kedge.Value, when string, up ...kedge.Value) uint64 {
		src := kedge.Record{Values: make([]kedge.Value, p.ExternalFields.Len())}
		copy(src.Values[p.ExternalFields.Index("Up"):], up)
		for name, v := range map[string]kedge.Value{"Id": id, "X": x, "Ref": ref, "Other": other, "At": at(when)} {
			src.Values[p.ExternalFields.Index(name)] = v
		}
		return p.Hash(&src)
	}
	id, x, ref, no, when := kedge.String("1"), kedge.Decimal("19.90"), kedge.String("r"), kedge.Bool(false), "2026-01-02T03:04:05.123456Z"
	base := hash(id, x, ref, no, when)
	for name, got := range map[string]uint64{
		"an equal number": hash(id, kedge.Decimal("19.9"), ref, no, when), "an equal number with exponent": hash(id, kedge.Decimal("199e-1"), ref, no, when),
		"a field of the filter": hash(id, x, ref, kedge.Bool(true), when), "a field that is only uploaded": hash(id, x, ref, no, when, kedge.String("u")), "nanoseconds": hash(id, x, ref, no, "2026-01-02T03:04:05.123456789Z"),
	} {
		if got != base {
			t.Errorf("%s changed the hash", name)
		}
	}
	for name, got := range map[string]uint64{
		"the key": hash(kedge.String("2"), x, ref, no, when), "a value": hash(id, kedge.Decimal("19.91"), ref, no, when), "null": hash(id, kedge.Null(), ref, no, when),
		"missing": hash(id, kedge.Value{}, ref, no, when), "the sign": hash(id, kedge.Decimal("-19.90"), ref, no, when),
		"the value of a lookup": hash(id, x, kedge.String("s"), no, when), "a microsecond": hash(id, x, ref, no, "2026-01-02T03:04:05.123457Z"),
	} {
		if got == base {
			t.Errorf("%s did not change the hash", name)
		}
	}
}

// The hash of a decimal is that of its canonical form.
func TestAppendDecimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[-+]?[0-9]{0,4}(\.[0-9]{0,4})?(e-?[0-9])?`).Filter(kedge.ValidDecimal).Draw(t, "text")
		got, want := appendDecimal(nil, text), kedge.Decimal(text).AppendCanonical(nil)
		if string(got) != string(want) {
			t.Fatalf("appendDecimal(%q) = %q, want %q", text, got, want)
		}
	})
}

// What changes downloaded rows changes the fingerprint, and nothing else does.
func TestFingerprint(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("X", kedge.TypeString), field("Y", kedge.TypeString), field("V", kedge.TypeInt)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeString), field("y", kedge.TypeString)}
	key, x := "    key: [{external: Id, local: id}]\n", "{external: X, local: x}"
	base := planFor(t, ext, loc, key+"    fields: ["+x+"]\n").Fingerprint
	for name, yaml := range map[string]string{
		"note": key + "    note: hello\n    fields: [{external: X, local: x, note: hello}]\n", "default": key + "    fields: [{external: X, local: x, default: a}]\n",
		"compare": key + "    fields: [{external: X, local: x, compare: trim}]\n", "conflict": key + "    conflict: manual\n    fields: [{external: X, local: x, conflict: manual}]\n",
		"disabled field": key + "    fields: [" + x + ", {external: Y, local: y, enabled: false}]\n", "uploaded field": key + "    fields: [" + x + ", {external: Y, local: y, direction: upload}]\n",
		"upload filter": key + "    uploadFilter: x eq 'a'\n    fields: [" + x + "]\n", "deletes": key + "    deletes: {download: ignore}\n    fields: [" + x + "]\n",
	} {
		if got := planFor(t, ext, loc, yaml).Fingerprint; got != base {
			t.Errorf("%s changed the fingerprint", name)
		}
	}
	seen := map[string]string{base: "nothing"}
	for name, yaml := range map[string]string{
		"new field": key + "    fields: [" + x + ", {external: Y, local: y}]\n", "other external": key + "    fields: [{external: Y, local: x}]\n",
		"other local": key + "    fields: [{external: X, local: y}]\n", "no key": "    fields: [" + x + "]\n", "filter": key + "    downloadFilter: X eq 'a'\n    fields: [" + x + "]\n",
		"version": key + "    version: V\n    fields: [" + x + "]\n", "values": key + "    fields: [{external: X, local: x, values: {a: b}}]\n",
		"other values": key + "    fields: [{external: X, local: x, values: {a: c}}]\n", "expression": key + "    fields: [{external: X, local: x, expr: {download: upper(value)}}]\n",
		"on error": key + "    fields: [{external: X, local: x, onError: empty}]\n", "lookup": key + "    fields: [{external: X, local: x, lookup: {entity: a}}]\n",
	} {
		got := planFor(t, ext, loc, yaml).Fingerprint
		if other, twice := seen[got]; twice {
			t.Errorf("%s gives the fingerprint of %s", name, other)
		}
		seen[got] = name
	}
}

// What makes uploaded rows out of date changes the fingerprint of uploads, and
// nothing else does.
func TestUploadFingerprint(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("X", kedge.TypeString), field("Y", kedge.TypeString), field("Z", kedge.TypeString), field("V", kedge.TypeInt)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeString), field("y", kedge.TypeString), field("z", kedge.TypeString)}
	both := "    direction: bidirectional\n"
	key, x := both+"    key: [{external: Id, local: id}]\n", "{external: X, local: x}"
	base := planFor(t, ext, loc, key+"    fields: ["+x+"]\n").UploadFingerprint
	for name, yaml := range map[string]string{
		"note": key + "    fields: [{external: X, local: x, note: hello}]\n", "default": key + "    fields: [{external: X, local: x, default: a}]\n",
		"conflict": key + "    conflict: manual\n    fields: [{external: X, local: x, conflict: manual}]\n", "version": key + "    version: V\n    fields: [" + x + "]\n",
		"downloaded field": key + "    fields: [" + x + ", {external: Y, local: y, direction: download}]\n", "constant": key + "    fields: [" + x + ", {local: y, constant: a}]\n",
		"download filter": key + "    downloadFilter: X eq 'a'\n    fields: [" + x + "]\n", "deletes": key + "    deletes: {upload: ignore}\n    fields: [" + x + "]\n",
	} {
		if got := planFor(t, ext, loc, yaml).UploadFingerprint; got != base {
			t.Errorf("%s changed the fingerprint", name)
		}
	}
	seen := map[string]string{base: "nothing"}
	for name, yaml := range map[string]string{
		"new field": key + "    fields: [" + x + ", {external: Y, local: y}]\n", "other external": key + "    fields: [{external: Y, local: x}]\n",
		"other local": key + "    fields: [{external: X, local: y}]\n", "no key": both + "    fields: [" + x + "]\n", "filter": key + "    uploadFilter: x eq 'a'\n    fields: [" + x + "]\n",
		"compare": key + "    fields: [{external: X, local: x, compare: trim}]\n", "values": key + "    fields: [{external: X, local: x, values: {a: b}}]\n",
		"other values": key + "    fields: [{external: X, local: x, values: {a: c}}]\n", "expression": key + "    fields: [{external: X, local: x, expr: {download: value, upload: upper(value)}}]\n",
		"on error": key + "    fields: [{external: X, local: x, onError: empty}]\n", "lookup": key + "    fields: [{external: X, local: x, lookup: {entity: a}}]\n",
		"direction": strings.Replace(key, "bidirectional", "download", 1) + "    fields: [" + x + "]\n",
	} {
		got := planFor(t, ext, loc, yaml).UploadFingerprint
		if other, twice := seen[got]; twice {
			t.Errorf("%s gives the fingerprint of %s", name, other)
		}
		seen[got] = name
	}
}

func TestSharedKey(t *testing.T) {
	text, number := kedge.TypeString, kedge.TypeInt
	for _, tt := range []struct {
		name     string
		ext, loc kedge.Field
		yaml     string
		want     bool
	}{
		{"same type", field("Id", text), field("id", text), "", true},
		{"int as text", field("Id", number), field("id", text), "", true},
		{"text as int has several spellings", field("Id", text), field("id", number), "", false},
		{"time is cut", field("Id", kedge.TypeTime), field("id", kedge.TypeTime), "", false},
		{"guid from text changes case", field("Id", text), kedge.Field{Name: "id", Type: text, Format: kedge.FormatGUID}, "", false},
		{"converted", field("Id", text), field("id", text), "    fields: [{external: Id, local: id, expr: {download: upper(value)}}]\n", false},
		{"other external field", field("Id", text), field("id", text), "    fields: [{external: X, local: id}]\n", false},
		{"listed once more", field("Id", text), field("id", text), "    fields: [{external: Id, local: id}]\n", true},
	} {
		p := planFor(t, []kedge.Field{tt.ext, field("X", text)}, []kedge.Field{tt.loc}, "    key: [{external: Id, local: id}]\n"+tt.yaml)
		if p.SharedKey != tt.want {
			t.Errorf("%s: SharedKey = %v, want %v", tt.name, p.SharedKey, tt.want)
		}
	}
}

// Layers agree with an independent ordering of the graph of lookups.
func TestLayersAgainstGonum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		plans, g := make([]*EntityPlan, n), simple.NewDirectedGraph()
		for i := range plans {
			plans[i] = &EntityPlan{Name: fmt.Sprint(i)}
			g.AddNode(simple.Node(i))
		}
		for range rapid.IntRange(0, 2*n).Draw(t, "edges") {
			from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
			plans[from].Lookups = append(plans[from].Lookups, Lookup{Target: fmt.Sprint(to)})
			if from != to {
				g.SetEdge(simple.Edge{F: simple.Node(from), T: simple.Node(to)})
			}
		}
		layerOf, count := map[string]int{}, 0
		for i, layer := range layers(plans) {
			if len(layer) == 0 {
				t.Fatalf("layer %d is empty", i)
			}
			for _, p := range layer {
				layerOf[p.Name] = i
				count++
			}
		}
		if count != n {
			t.Fatalf("%d entities in layers, want %d", count, n)
		}
		component := map[int64]int{}
		for i, c := range topo.TarjanSCC(g) {
			for _, v := range c {
				component[v.ID()] = i
				if got, want := layerOf[fmt.Sprint(v.ID())], layerOf[fmt.Sprint(c[0].ID())]; got != want {
					t.Fatalf("entities that refer to each other are in layers %d and %d", got, want)
				}
			}
		}
		for from, p := range plans {
			for _, l := range p.Lookups {
				var to int
				fmt.Sscan(l.Target, &to)
				if component[int64(from)] != component[int64(to)] && layerOf[p.Name] <= layerOf[l.Target] {
					t.Fatalf("%s is in layer %d, but its target %s in %d", p.Name, layerOf[p.Name], l.Target, layerOf[l.Target])
				}
			}
		}
	})
}

func TestLookups(t *testing.T) {
	str := func(names ...string) (out []kedge.Field) {
		for _, n := range names {
			out = append(out, field(n, kedge.TypeString))
		}
		return out
	}
	ext := &kedge.Schema{Entities: []kedge.Entity{
		{Name: "Contact", Key: []string{"No"}, Delta: true, Update: true, Fields: str("No", "Email")},
		{Name: "Order", Key: []string{"Type", "No"}, Delta: true, Update: true, Fields: str("Type", "No", "Contact", "OrderType", "OrderNo")},
	}}
	loc := &kedge.Schema{Entities: []kedge.Entity{
		{Name: "contact", Key: []string{"id"}, Fields: str("id")},
		{Name: "order", Key: []string{"id"}, Fields: append(str("id", "a", "b", "c", "d"), kedge.Field{Name: "need", Type: kedge.TypeString})},
	}}
	m, err := Parse("m.yaml", []byte(`kedge: mapping/v1
entities:
  - external: Order
    local: order
    fields:
      - {external: Contact, local: a, lookup: {entity: contact}}
      - {external: Contact, local: b, lookup: {entity: contact, fields: No}}
      - {external: Contact, local: need, lookup: {entity: contact, fields: [Email]}}
      - {external: [OrderType, OrderNo], local: c, lookup: {entity: order, fields: [Type, No]}}
      - {external: [OrderNo, OrderType], local: d, lookup: {entity: order, fields: [No, Type]}}
  - {external: Contact, local: contact}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Compile(m, ext, loc, time.Unix(0, 0))
	if err != nil || len(plan.Held) > 0 {
		t.Fatalf("Compile: %v, %+v", err, plan.Held)
	}
	p := plan.Layers[1][0]
	for i, want := range []struct {
		field, target string
		by, external  []string
		required      bool
	}{
		{"a", "contact", nil, []string{"Contact"}, false}, {"b", "contact", nil, []string{"Contact"}, false}, {"need", "contact", []string{"Email"}, []string{"Contact"}, true},
		{"c", "order", nil, []string{"OrderType", "OrderNo"}, false}, {"d", "order", []string{"No", "Type"}, []string{"OrderNo", "OrderType"}, false},
	} {
		got := p.Lookups[i]
		var external []string
		for _, at := range got.External {
			external = append(external, p.ExternalFields.Name(at))
		}
		if got.Field != want.field || got.Target != want.target || !slices.Equal(got.By, want.by) || (got.By == nil) != (want.by == nil) ||
			!slices.Equal(external, want.external) || got.Required != want.required || p.LocalFields.Name(got.Local) != want.field {
			t.Errorf("lookup %d = %+v of %v, want %+v", i, got, external, want)
		}
	}
	held := plan.Hold([]Finding{{Code: FieldChanged, Severity: SeverityError, Entity: "contact"}})
	if len(held.Layers) != 0 || len(held.Held["order"]) != 1 || held.Held["order"][0].Code != LookupTargetMissing {
		t.Errorf("Hold of contact: layers %v, held %+v; want order held too, because it needs a contact", held.Layers, held.Held)
	}
	if len(plan.Held) != 0 {
		t.Error("Hold changed the plan")
	}
}
