package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// localRecord returns a record aligned with p.LocalRead.
func localRecord(p *EntityPlan, values map[string]kedge.Value) *kedge.Record {
	r := &kedge.Record{Fields: p.LocalRead, Values: make([]kedge.Value, p.LocalRead.Len())}
	for name, v := range values {
		if i := p.LocalRead.Index(name); i >= 0 {
			r.Values[i] = v
		}
	}
	return r
}

func TestUpload(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("X", kedge.TypeString), field("N", kedge.TypeDecimal), field("I", kedge.TypeInt), {Name: "Need", Type: kedge.TypeInt},
		{Name: "Short", Type: kedge.TypeString, MaxLength: 3, Nullable: true}, {Name: "Status", Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: []string{"Open", "Closed", "9"}, Nullable: true}}
	loc := []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeInt), field("s", kedge.TypeString), field("other", kedge.TypeString)}
	missing, null, word := kedge.Value{}, kedge.Null(), kedge.String("much")
	for _, tt := range []struct {
		name, rule string
		in         kedge.Value // of the rule's local field
		create     bool
		want       kedge.Value // of the rule's external field
		code       string      // of the error
	}{
		{"converts", "{external: X, local: x, direction: upload}", kedge.Int(7), false, kedge.String("7"), ""},
		{"converts the way back", "{external: I, local: s}", kedge.String("7"), false, kedge.Int(7), ""},
		{"does not fit", "{external: Short, local: s}", word, false, missing, "conversion"},
		{"missing leaves the target alone", "{external: X, local: s}", missing, true, missing, ""},
		{"null clears", "{external: X, local: s}", null, false, null, ""},
		{"default fills missing on create", "{external: I, local: s, default: '5'}", missing, true, kedge.Int(5), ""},
		{"default fills null on create", "{external: I, local: s, default: '5'}", null, true, kedge.Int(5), ""},
		{"default does not fill on update", "{external: I, local: s, default: '5'}", missing, false, missing, ""},
		{"null clears on update in spite of a default", "{external: I, local: s, default: '5'}", null, false, null, ""},
		{"default of a value map", "{external: X, local: x, values: {Open: 0}, default: 0}", null, true, kedge.String("Open"), ""},
		{"bad value", "{external: I, local: s}", word, false, missing, "conversion"},
		{"bad value, empty", "{external: I, local: s, onError: empty}", word, false, null, ""},
		{"bad value, default", "{external: I, local: s, onError: default, default: '5'}", word, false, kedge.Int(5), ""},
		{"null for a required field", "{external: Need, local: x}", null, false, missing, "required"},
		{"null for a required field, default", "{external: Need, local: x, onError: default, default: 5}", null, false, kedge.Int(5), ""},
		{"null for a required field is left out on create", "{external: Need, local: x}", null, true, missing, ""},
		{"bad value of a required field cannot be empty", "{external: Need, local: s, onError: empty}", word, false, missing, "conversion"},
		{"value map", "{external: Status, local: x, values: {Open: 0, Closed: 1}}", kedge.Int(1), false, kedge.String("Closed"), ""},
		{"value map of another type", "{external: I, local: s, values: {1: one, 2: two}}", kedge.String("two"), false, kedge.Int(2), ""},
		{"value map of decimals", "{external: X, local: s, values: {a: '1', b: '2'}}", kedge.String("2"), false, kedge.String("b"), ""},
		{"value map, no entry", "{external: X, local: x, values: {Open: 0}}", kedge.Int(3), false, missing, "value_map"},
		{"value map, no entry, empty", "{external: X, local: x, values: {Open: 0}, otherwise: empty}", kedge.Int(3), false, null, ""},
		{"value map, no entry, keep", "{external: Status, local: x, values: {Open: 0}, otherwise: keep}", kedge.Int(9), false, kedge.String("9"), ""},
		{"value map, no entry, keep what does not fit", "{external: Status, local: x, values: {Open: 0}, otherwise: keep}", kedge.Int(3), false, missing, "conversion"},
		{"value map, kept value that would come back as another", "{external: X, local: s, values: {a: b}, otherwise: keep}", kedge.String("a"), false, missing, "value_map"},
		{"value map from null", "{external: X, local: x, values: {none: null, Open: 0}}", null, false, kedge.String("none"), ""},
		{"value map, null", "{external: X, local: x, values: {Open: 0}}", null, false, null, ""},
		{"expression", "{external: X, local: s, expr: {upload: upper(value), download: lower(value)}}", word, false, kedge.String("MUCH"), ""},
		{"expression over the record", "{external: X, local: s, expr: {upload: value + record.other, download: value}}", word, false, kedge.String("much!"), ""},
		{"expression of missing", "{external: X, local: s, expr: {upload: upper(value), download: value}}", missing, false, missing, ""},
		{"expression of null", "{external: X, local: s, expr: {upload: upper(value), download: value}}", null, false, null, ""},
		{"expression that fails", "{external: X, local: s, expr: {upload: string(decimal(value)), download: value}}", word, false, missing, "expression"},
		{"expression, default", "{external: X, local: s, default: none, expr: {upload: upper(value), download: value}}", null, true, kedge.String("NONE"), ""},
		{"expression that fails, default", "{external: N, local: s, default: '1', onError: default, expr: {upload: decimal(value), download: string(value)}}", word, false, kedge.Decimal("1"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, direction := range []string{"bidirectional", "upload", "download"} { // an export of a download entity
				p := planFor(t, ext, loc, "    direction: "+direction+"\n    fields: ["+tt.rule+"]\n")
				src := localRecord(p, map[string]kedge.Value{"x": tt.in, "s": tt.in, "other": kedge.String("!")})
				dst := kedge.Record{Values: []kedge.Value{kedge.String("left over"), kedge.String("left over")}}
				err := p.Upload(&dst, src, nil, tt.create)
				if tt.code != "" {
					fe, ok := errors.AsType[*FieldError](err)
					if !ok || fe.Code != tt.code || fe.Field != p.LocalFields.Name(0) || strings.Contains(err.Error(), "much") {
						t.Fatalf("%s: got %v, want a FieldError of the local field with code %s and without the value", direction, err, tt.code)
					}
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", direction, err)
				}
				if len(dst.Values) != 1 || dst.Values[0] != tt.want {
					t.Errorf("%s: got %v, want %v %q", direction, dst.Values, tt.want.Type(), tt.want.Text())
				}
			}
		})
	}
}

// What is sent depends on the directions, on the mask and on what may be
// written when.
func TestUploadSends(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("A", kedge.TypeString), field("B", kedge.TypeString), {Name: "Made", Type: kedge.TypeString, ReadOnly: true, Nullable: true},
		{Name: "Once", Type: kedge.TypeString, Immutable: true, Nullable: true}, field("At", kedge.TypeTime)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("a", kedge.TypeString), field("b", kedge.TypeString), field("made", kedge.TypeString), field("once", kedge.TypeString),
		field("c", kedge.TypeString), field("at", kedge.TypeTime), field("state", kedge.TypeInt)}
	const rules = `
    key: [{external: Id, local: id}]
    uploadFilter: state eq 0
    conflict: {policy: newest_wins, modified: {external: At, local: at}}
    fields:
      - {external: A, local: a, conflict: manual}
      - {external: B, local: b, direction: B}
      - {external: Made, local: made}
      - {external: Once, local: once}
      - {local: c, constant: bc}
`
	values := map[string]kedge.Value{}
	for _, f := range loc[:6] {
		values[f.Name] = kedge.String("v" + f.Name)
	}
	for _, tt := range []struct {
		entity, b               string
		downloads, uploads      string // local fields
		update, create, masked  string // external fields that are sent; masked: only b
		compared                string // local fields that count for LocalHash
		policyOfA, policyOfRest Policy
	}{
		{"bidirectional", "bidirectional", "id a b made once c", "a b", "A B", "Id A B Once", "B", "a b", Manual, NewestWins},
		{"bidirectional", "download", "id a b made once c", "a", "A", "Id A Once", "", "a", Manual, NewestWins},
		{"bidirectional", "upload", "id a made once c", "a b", "A B", "Id A B Once", "B", "a b", Manual, NewestWins},
		{"download", "bidirectional", "id a b made once c", "b", "A B", "Id A B Once", "B", "b", Manual, NewestWins},
		{"download", "download", "id a b made once c", "", "A", "Id A Once", "", "a", Manual, NewestWins},
	} {
		t.Run(tt.entity+" "+tt.b, func(t *testing.T) {
			p := planFor(t, ext, loc, "    direction: "+tt.entity+strings.Replace(rules, "direction: B", "direction: "+tt.b, 1))
			if got := namesOf(p.LocalFields, p.Downloads); got != tt.downloads {
				t.Errorf("downloads %q, want %q", got, tt.downloads)
			}
			if got := namesOf(p.LocalFields, p.Uploads); got != tt.uploads {
				t.Errorf("uploads %q, want %q", got, tt.uploads)
			}
			src, mask := localRecord(p, values), make([]bool, p.LocalFields.Len())
			mask[p.LocalFields.Index("b")] = true
			for what, sent := range map[string]struct {
				mask   []bool
				create bool
				want   string
			}{"update": {nil, false, tt.update}, "create": {nil, true, tt.create}, "masked": {mask, false, tt.masked}} {
				var dst kedge.Record
				if err := p.Upload(&dst, src, sent.mask, sent.create); err != nil {
					t.Fatal(err)
				}
				if got := namesOf(dst.Fields, func(i int) bool { return !dst.Values[i].IsMissing() }); got != sent.want {
					t.Errorf("%s sends %q, want %q", what, got, sent.want)
				}
				for i, v := range dst.Values {
					if want := "v" + strings.ToLower(dst.Fields.Name(i)); !v.IsMissing() && v.Str() != want {
						t.Errorf("%s sends %q as %s, want %q", what, v.Str(), dst.Fields.Name(i), want)
					}
				}
			}
			base := p.LocalHash(src)
			if got := namesOf(p.LocalFields, func(i int) bool {
				changed := localRecord(p, values)
				changed.Values[i] = kedge.Null()
				return p.LocalHash(changed) != base
			}); got != tt.compared {
				t.Errorf("LocalHash covers %q, want %q", got, tt.compared)
			}
			for i := range p.LocalFields.Len() {
				want := tt.policyOfRest
				if p.LocalFields.Name(i) == "a" {
					want = tt.policyOfA
				}
				if got := p.Policy(i); got != want {
					t.Errorf("policy of %s = %s, want %s", p.LocalFields.Name(i), got, want)
				}
			}
			if read := p.LocalRead.Names(); !slices.Equal(read[:p.LocalFields.Len()], p.LocalFields.Names()) || !slices.Equal(read[p.LocalFields.Len():], []string{"state", "at"}) {
				t.Errorf("LocalRead = %v, want LocalFields and state, at", read)
			}
			if p.ExternalFields.Name(p.Modified.External) != "At" || p.LocalRead.Name(p.Modified.Local) != "at" {
				t.Errorf("Modified = %+v, want the positions of At and at", p.Modified)
			}
		})
	}
	if p := planFor(t, ext, loc, "    fields: [{external: A, local: a}]\n"); p.Modified != (Pair{-1, -1}) {
		t.Errorf("Modified without stamps = %+v, want -1", p.Modified)
	}
}

func namesOf(fields *kedge.Fields, take func(i int) bool) string {
	var names []string
	for i, name := range fields.Names() {
		if take(i) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// Of several rules for one external field, the one that a sync uploads sends
// it; then the key pair; an export alone takes the first.
func TestUploadClaims(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("A", kedge.TypeString)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("a", kedge.TypeString), field("b", kedge.TypeString)}
	for _, tt := range []struct{ name, yaml, external, want string }{
		{"export takes the first", "    fields: [{external: A, local: a}, {external: A, local: b}]\n", "A", "va"},
		{"sync before export", "    fields: [{external: A, local: a}, {external: A, local: b, direction: bidirectional}]\n", "A", "vb"},
		{"sync before export, the other way round", "    fields: [{external: A, local: a, direction: bidirectional}, {external: A, local: b}]\n", "A", "va"},
		{"key pair before export", "    key: [{external: Id, local: id}]\n    fields: [{external: Id, local: a}]\n", "Id", "vid"},
		{"a key is uploaded elsewhere too", "    key: [{external: Id, local: id}]\n    fields: [{external: A, local: id, direction: upload}]\n", "A", "vid"},
	} {
		p := planFor(t, ext, loc, tt.yaml)
		var dst kedge.Record
		if err := p.Upload(&dst, localRecord(p, map[string]kedge.Value{"id": kedge.String("vid"), "a": kedge.String("va"), "b": kedge.String("vb")}), nil, true); err != nil {
			t.Fatal(err)
		}
		if got := dst.Get(tt.external).Str(); got != tt.want {
			t.Errorf("%s: %s = %q, want %q", tt.name, tt.external, got, tt.want)
		}
		if p.Rules.Key != nil && !p.Downloads(p.LocalFields.Index("id")) {
			t.Errorf("%s: the key pair is not downloaded", tt.name)
		}
	}
}

func TestUploadDoesNotAllocate(t *testing.T) {
	types := []kedge.Type{kedge.TypeBool, kedge.TypeInt, kedge.TypeFloat, kedge.TypeDecimal, kedge.TypeString, kedge.TypeTime, kedge.TypeDate, kedge.TypeBytes, kedge.TypeJSON}
	ext, loc := []kedge.Field{field("Id", kedge.TypeString)}, []kedge.Field{field("id", kedge.TypeString)}
	yaml := "    direction: bidirectional\n    key: [{external: Id, local: id, primary: true}]\n    fields:\n"
	for _, typ := range types {
		ext, loc = append(ext, field("E"+typ.String(), typ)), append(loc, field(typ.String(), typ))
		yaml += fmt.Sprintf("      - {external: E%s, local: %s}\n", typ, typ)
	}
	ext, loc = append(ext, field("Status", kedge.TypeString), field("Code", kedge.TypeInt)), append(loc, field("status", kedge.TypeInt), field("code", kedge.TypeString))
	ext, loc = append(ext, field("Mail", kedge.TypeString), field("Sum", kedge.TypeDecimal)), append(loc, field("mail", kedge.TypeString), field("sum", kedge.TypeDecimal))
	yaml += "      - {external: Status, local: status, values: {Open: 0}}\n      - {external: Code, local: code, values: {17: x}}\n" +
		"      - {external: Mail, local: mail, compare: nocase}\n      - {external: Sum, local: sum, compare: 'round:2'}\n"
	p := planFor(t, ext, loc, yaml)
	src := localRecord(p, map[string]kedge.Value{
		"id": kedge.String("C1"), "bool": kedge.Bool(true), "int": kedge.Int(9007199254740993), "float": kedge.Float(2), "decimal": kedge.Decimal("0019.90"),
		"string": kedge.String(strings.Repeat("long ", 500)), "time": at("2026-01-02T03:04:05.123456789Z"), "date": day("2026-01-02"),
		"bytes": kedge.Bytes([]byte("x")), "json": kedge.JSON("{}"), "status": kedge.Int(0), "code": kedge.String("x"), "mail": kedge.String(" Änn@example.com"), "sum": kedge.Decimal("19.999"),
	})
	var dst kedge.Record
	if err := p.Upload(&dst, src, nil, true); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := p.Upload(&dst, src, nil, true); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Upload allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { p.LocalHash(src) }); n != 0 {
		t.Errorf("LocalHash allocates %v times, want 0", n)
	}
}

// Several goroutines share a plan.
func TestUploadConcurrently(t *testing.T) {
	ext := []kedge.Field{field("Id", kedge.TypeString), field("X", kedge.TypeString), field("Y", kedge.TypeString)}
	loc := []kedge.Field{field("id", kedge.TypeString), field("x", kedge.TypeInt), field("y", kedge.TypeString)}
	p := planFor(t, ext, loc, "    direction: bidirectional\n    fields: [{external: X, local: x, values: {Open: 0, Closed: 1}}, {external: Y, local: y, compare: nocase, expr: {download: lower(value), upload: upper(value)}}]\n")
	src := localRecord(p, map[string]kedge.Value{"x": kedge.Int(1), "y": kedge.String("why")})
	hash := p.LocalHash(src)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			var dst kedge.Record
			for range 50 {
				if err := p.Upload(&dst, src, nil, true); err != nil || dst.Get("X").Str() != "Closed" || dst.Get("Y").Str() != "WHY" {
					t.Errorf("got %v, %v; want Closed and WHY", dst.Values, err)
				}
				if p.LocalHash(src) != hash {
					t.Error("LocalHash differs between calls")
				}
			}
		})
	}
	workers.Wait()
}

func TestUploadLookups(t *testing.T) {
	ext := &kedge.Schema{Entities: []kedge.Entity{
		{Name: "Contact", Key: []string{"No"}, Delta: true, Update: true, Fields: []kedge.Field{field("No", kedge.TypeInt), field("Email", kedge.TypeString)}},
		{Name: "Order", Key: []string{"No"}, Delta: true, Update: true, Fields: []kedge.Field{field("No", kedge.TypeInt), {Name: "Contact", Type: kedge.TypeString}, field("Mail", kedge.TypeString), field("Made", kedge.TypeInt), field("Old", kedge.TypeInt)}},
	}}
	ext.Entities[1].Fields[3].ReadOnly = true
	loc := &kedge.Schema{Entities: []kedge.Entity{
		{Name: "contact", Key: []string{"id"}, Fields: []kedge.Field{field("id", kedge.TypeString)}},
		{Name: "order", Key: []string{"id"}, Fields: []kedge.Field{field("id", kedge.TypeString), field("a", kedge.TypeString), field("b", kedge.TypeString), field("c", kedge.TypeString), field("d", kedge.TypeString)}},
	}}
	m, err := Parse("m.yaml", []byte(`kedge: mapping/v1
entities:
  - external: Order
    local: order
    direction: bidirectional
    fields:
      - {external: Contact, local: a, lookup: {entity: contact}}
      - {external: Mail, local: b, direction: upload, lookup: {entity: contact, fields: [Email]}}
      - {external: Made, local: c, lookup: {entity: contact}}
      - {external: Old, local: d, direction: download, lookup: {entity: contact}}
  - {external: Contact, local: contact}
`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Compile(m, ext, loc, time.Unix(0, 0))
	if err != nil || len(plan.Held) > 0 {
		t.Fatalf("Compile: %v, %+v", err, plan.Held)
	}
	if len(plan.Layers) != 2 {
		t.Fatalf("%d layers, want 2: contacts are written first", len(plan.Layers))
	}
	p := plan.Layers[1][0]
	fields := func(ls []Lookup) (out []string) {
		for _, l := range ls {
			out = append(out, l.Field)
		}
		return out
	}
	if down, up := fields(p.Lookups), fields(p.UploadLookups); !slices.Equal(down, []string{"a", "c", "d"}) || !slices.Equal(up, []string{"a", "b"}) {
		t.Fatalf("lookups down %v, up %v; want a c d, and a b", down, up)
	}
	if !p.UploadLookups[0].Required || p.UploadLookups[1].Required || !slices.Equal(p.UploadLookups[1].By, []string{"Email"}) || p.UploadLookups[0].By != nil {
		t.Errorf("UploadLookups = %+v; want a required by key, b not by Email", p.UploadLookups)
	}
	var dst kedge.Record
	if err := p.Upload(&dst, localRecord(p, map[string]kedge.Value{"a": kedge.String("local")}), nil, true); err != nil {
		t.Fatal(err)
	}
	if v := dst.Get("Contact"); !v.IsMissing() {
		t.Errorf("Upload set the value of a lookup to %q, want it missing", v.Text())
	}
	if err := p.FillLookup(&dst, &p.UploadLookups[0], kedge.Int(17)); err != nil || dst.Get("Contact") != kedge.String("17") {
		t.Errorf("FillLookup: %v, Contact = %q; want the key as text, which the field holds", err, dst.Get("Contact").Text())
	}
	if err := p.FillLookup(&dst, &p.UploadLookups[1], kedge.Null()); err != nil || !dst.Get("Mail").IsNull() {
		t.Errorf("FillLookup of null: %v, Mail = %v; want null", err, dst.Get("Mail").Type())
	}
	for name, values := range map[string][]kedge.Value{"null of a required field": {kedge.Null()}, "too many": {kedge.Int(1), kedge.Int(2)}} {
		if fe, ok := errors.AsType[*FieldError](p.FillLookup(&dst, &p.UploadLookups[0], values...)); !ok || fe.Field != "a" {
			t.Errorf("FillLookup, %s: %v, want a FieldError of a", name, fe)
		}
	}
	held := plan.Hold([]Finding{{Code: FieldChanged, Severity: SeverityError, Entity: "contact"}})
	if len(held.Held["order"]) != 1 {
		t.Errorf("Hold of contact: held %+v; want order too, because it cannot be uploaded without a contact", held.Held)
	}
}
