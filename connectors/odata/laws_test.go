package odata_test

import (
	"flag"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// few bounds the checks of rapid, unless somebody asked for another number.
func few(t *testing.T, checks string) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(checks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// A rapidTB is a testing.TB whose failures rapid sees.
type rapidTB struct {
	testing.TB
	rt *rapid.T
}

func (tb rapidTB) Errorf(format string, args ...any) { tb.rt.Errorf(format, args...) }
func (tb rapidTB) Fatalf(format string, args ...any) { tb.rt.Fatalf(format, args...) }
func (tb rapidTB) Fatal(args ...any)                 { tb.rt.Fatal(args...) }

var modes = kedge.Entity{Name: "customers", Key: []string{"group", "No"}, Fields: []kedge.Field{
	{Name: "group", Type: kedge.TypeInt}, {Name: "No", Type: kedge.TypeString}, {Name: "Name", Type: kedge.TypeString, Nullable: true},
}}

// drawModes draws a service and options of a connection to it.
func drawModes(rt *rapid.T) (odatatest.Options, map[string]any) {
	bit := func(name string) bool { return rapid.Bool().Draw(rt, name) }
	o := odatatest.Options{Entities: []kedge.Entity{modes}, NoDelta: bit("no delta links"),
		Version: rapid.SampledFrom([]string{odatatest.V40, odatatest.V401}).Draw(rt, "version"),
		Delta:   odatatest.DeltaForm{Partial: bit("partial"), IDOnly: bit("id only"), Keys: bit("keys"), Predicate: bit("predicate")}}
	options := map[string]any{
		"tracking":     rapid.SampledFrom([]string{"auto", "delta", "watermark", "full"}).Draw(rt, "tracking"),
		"paging":       rapid.SampledFrom([]string{"auto", "server", "keyset"}).Draw(rt, "paging"),
		"versionField": rapid.SampledFrom([]string{"RowVersion", "ModifiedAt"}).Draw(rt, "version field"),
		// A stamp may come again, in a page that was read: the overlap is longer than a read.
		"overlap": "5m", "overlapVersions": 0, "orFilters": !bit("no or"),
	}
	if options["tracking"] == "delta" {
		o.NoDelta = false
	}
	if options["orFilters"] == false {
		o.Quirks = append(o.Quirks, odatatest.NoOr)
	}
	return o, options
}

// drawEdit changes, adds or deletes a row, at now.
func drawEdit(rt *rapid.T, s *odatatest.Service) {
	group, no := kedge.Int(rapid.Int64Range(1, 2).Draw(rt, "group")), kedge.String(rapid.SampledFrom([]string{"a", "b", "c'", "d/é"}).Draw(rt, "no"))
	if rapid.IntRange(0, 3).Draw(rt, "edit") == 0 {
		_ = s.Delete("customers", kedge.NewKey(group, no)) // may not be there
		return
	}
	name := rapid.SampledFrom([]string{"Ann", "Bob", ""}).Draw(rt, "name")
	if err := s.Put("customers", odatatest.Row("group", group, "No", no, "Name", kedge.String(name))); err != nil {
		rt.Fatal(err)
	}
}

// TestCopyEqualsSource reads all and then what has changed, with random edits
// between any two pages, in every way of tracking and paging. Once the edits
// have stopped, one more read of changes makes the copy equal to the source, but
// for deletions where they are not reported; a sweep finds those.
func TestCopyEqualsSource(t *testing.T) {
	few(t, "60")
	rapid.Check(t, func(rt *rapid.T) {
		tb := rapidTB{t, rt}
		o, options := drawModes(rt)
		now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
		o.Now = func() time.Time { return now }
		s := odatatest.New(o)
		server := httptest.NewServer(s.Handler())
		defer server.Close()
		edit := func(page int) {
			if page > 20 {
				return // whoever edits faster than pages come is never caught up with
			}
			for range rapid.IntRange(0, 3).Draw(rt, "edits") {
				now = now.Add(time.Duration(rapid.IntRange(0, 1).Draw(rt, "seconds")) * time.Second) // many stamps are equal
				drawEdit(rt, s)
			}
		}
		edit(0)
		d := newDriver(tb, server.URL, options)
		defer d.Close()
		l := local{}
		req := connectors.ReadRequest{Entity: "customers", Fields: []string{"group", "No", "Name"}, Size: rapid.IntRange(1, 4).Draw(rt, "page size")}
		deletes := false
		for round := range 4 {
			now = now.Add(time.Hour)
			if round == 3 {
				edit = nil
			} else {
				edit(0)
			}
			anchor, _ := readAll(tb, d, req, l, edit)
			schema, err := d.Schema(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			e := schema.Entity("customers")
			if deletes = e.Deletes; e.Delta {
				req.Anchor = anchor
			}
		}
		if !deletes {
			checkLive(rt, s, l)
			sweep(tb, d, req.Fields, l)
		}
		same(tb, s, "customers", req.Fields, l)
	})
}

// checkLive fails unless l has all records of the service, as they are.
func checkLive(rt *rapid.T, s *odatatest.Service, l local) {
	for _, r := range s.Records("customers") {
		if got, ok := l[r.Key]; !ok || !kedge.Equal(got.Get("Name"), r.Get("Name")) {
			rt.Errorf("before the sweep: record %v is missing or old", r.Key)
		}
	}
}

// literalTypes are the types of which literals are sent, with random values
// and the literal of a filter.
var literalTypes = []struct {
	name  string
	field kedge.Field
	draw  func(rt *rapid.T) (v kedge.Value, literal string)
	key   bool // can be a key
}{
	{"string", kedge.Field{Type: kedge.TypeString}, func(rt *rapid.T) (kedge.Value, string) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune("aZ0 '\"%+&#?/\\:;,=()é日😀\t")), 1, 12, -1).Draw(rt, "text")
		return kedge.String(s), "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}, true},
	{"int", kedge.Field{Type: kedge.TypeInt}, func(rt *rapid.T) (kedge.Value, string) {
		n := rapid.Int64().Draw(rt, "int")
		return kedge.Int(n), fmt.Sprint(n)
	}, true},
	{"decimal", kedge.Field{Type: kedge.TypeDecimal, Scale: -1}, func(rt *rapid.T) (kedge.Value, string) {
		s := rapid.StringMatching(`-?[1-9][0-9]{0,30}\.[0-9]{1,20}`).Draw(rt, "decimal")
		return kedge.Decimal(s), s
	}, true},
	{"bool", kedge.Field{Type: kedge.TypeBool}, func(rt *rapid.T) (kedge.Value, string) {
		b := rapid.Bool().Draw(rt, "bool")
		return kedge.Bool(b), fmt.Sprint(b)
	}, true},
	{"time", kedge.Field{Type: kedge.TypeTime}, func(rt *rapid.T) (kedge.Value, string) {
		at := time.Unix(rapid.Int64Range(-60_000_000_000, 200_000_000_000).Draw(rt, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(rt, "ns")).UTC()
		return kedge.Time(at), at.Format(time.RFC3339Nano)
	}, true},
	{"date", kedge.Field{Type: kedge.TypeDate}, func(rt *rapid.T) (kedge.Value, string) {
		day := time.Unix(rapid.Int64Range(-700_000, 2_000_000).Draw(rt, "day")*86400, 0).UTC()
		return kedge.Date(day), day.Format(time.DateOnly)
	}, true},
	{"guid", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatGUID}, func(rt *rapid.T) (kedge.Value, string) {
		s := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).Draw(rt, "guid")
		return kedge.String(s), s
	}, true},
	{"clock", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatClock}, func(rt *rapid.T) (kedge.Value, string) {
		s := rapid.StringMatching(`(0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]`).Draw(rt, "clock")
		return kedge.String(s), s
	}, true},
	{"duration", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatDuration}, func(rt *rapid.T) (kedge.Value, string) {
		s := rapid.StringMatching(`P[1-9]D(T[1-9]H)?`).Draw(rt, "duration")
		return kedge.String(s), "duration'" + s + "'"
	}, false},
	{"enum", kedge.Field{Type: kedge.TypeString, Format: kedge.FormatEnum, Enum: []string{"Red", "Green"}}, func(rt *rapid.T) (kedge.Value, string) {
		s := rapid.SampledFrom([]string{"Red", "Green"}).Draw(rt, "enum")
		return kedge.String(s), "'" + s + "'"
	}, true},
}

// TestLiteralsComeBack finds rows by literals of every type that are sent: in a
// filter, in a key, and as the position in pages of ordered keys.
func TestLiteralsComeBack(t *testing.T) {
	few(t, "40")
	for _, lt := range literalTypes {
		t.Run(lt.name, func(t *testing.T) {
			value, key := lt.field, lt.field
			value.Name, value.Nullable, key.Name = "value", true, "key"
			if !lt.key {
				key = kedge.Field{Name: "key", Type: kedge.TypeInt}
			}
			ent := kedge.Entity{Name: "values", Key: []string{"key"}, Fields: []kedge.Field{key, value}}
			s := odatatest.New(odatatest.Options{Entities: []kedge.Entity{ent}, NoDelta: true})
			paging := "keyset"
			if key.Type == kedge.TypeBool || key.Format != kedge.FormatNone {
				paging = "server" // no order in OData (URL Conventions 4.01, 5.1.1.1.3)
			}
			d := newDriver(t, s.Start(t), map[string]any{"tracking": "full", "paging": paging})
			schema, err := d.Schema(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(rt *rapid.T) {
				tb := rapidTB{t, rt}
				keys := map[kedge.Key]bool{}
				var v kedge.Value
				literal := ""
				for i := range 3 {
					v, literal = lt.draw(rt)
					k := v
					if !lt.key {
						k = kedge.Int(int64(i))
					}
					if err := s.Put("values", odatatest.Row("key", k, "value", v)); err != nil {
						rt.Fatal(err)
					}
					keys[kedge.NewKey(k)] = true
				}
				l := local{}
				readAll(tb, d, connectors.ReadRequest{Entity: "values", Fields: []string{"key", "value"}, Size: 1}, l, nil)
				same(tb, s, "values", []string{"key", "value"}, l)
				for k := range keys {
					found, err := d.ReadKeys(t.Context(), "values", []string{"key"}, []kedge.Key{k})
					if err != nil || !found[0].OK {
						rt.Errorf("key %q: found %v, %v", k, err == nil && found[0].OK, err)
					}
				}
				expr, err := filter.Parse("value eq " + literal)
				if err == nil {
					expr, err = expr.Bind(schema.Entity("values"), time.Time{})
				}
				if err != nil {
					rt.Fatalf("literal %s: %v", literal, err)
				}
				s.ForgetRequests()
				selected := local{}
				readAll(tb, d, connectors.ReadRequest{Entity: "values", Fields: []string{"key", "value"}, Filter: expr, Size: 10}, selected, nil)
				if r := s.Requests(); len(r) == 0 || !strings.Contains(r[0].Query, "$filter=value%20eq%20") {
					rt.Errorf("value eq %s is not sent: %v", literal, r)
				}
				for _, r := range s.Records("values") {
					if _, ok := selected[r.Key]; ok != kedge.Equal(r.Get("value"), v) {
						rt.Errorf("value eq %s: %q selected %v", literal, r.Get("value").Text(), ok)
					}
				}
				for k := range keys {
					if err := s.Delete("values", k); err != nil {
						rt.Fatal(err)
					}
				}
			})
		})
	}
}
