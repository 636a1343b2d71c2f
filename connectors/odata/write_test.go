package odata_test

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

type values map[string]kedge.Value

// change makes a change; its fields are in the order of their names.
func change(op kedge.Op, entity string, key kedge.Key, v values) kedge.Change {
	var names []string
	for n := range v {
		names = append(names, n)
	}
	slices.Sort(names)
	list := make([]kedge.Value, len(names))
	for i, n := range names {
		list[i] = v[n]
	}
	return kedge.Change{Op: op, Entity: entity, Key: key, Fields: kedge.NewFields(names...), Values: list}
}

// write writes changes and fails the test if the call does.
func write(t testing.TB, d *odata.Driver, changes ...kedge.Change) []connectors.Result {
	t.Helper()
	results, err := d.Write(t.Context(), changes)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	return results
}

// outcomes writes the states of results, with the kind of each refusal.
func outcomes(results []connectors.Result) string {
	var out []string
	for _, r := range results {
		text := r.State.String()
		if r.Err != nil {
			text += ":" + r.Err.Kind.String()
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func wantOutcomes(t testing.TB, what string, results []connectors.Result, want string) {
	t.Helper()
	if got := outcomes(results); got != want {
		t.Errorf("%s: got %s, want %s", what, got, want)
		for _, r := range results {
			if r.Err != nil {
				t.Logf("%s: %v (%s)", what, r.Err, r.Remote)
			}
		}
	}
}

func str(s string) kedge.Value { return kedge.String(s) }

// record returns the row of a service with the key.
func record(t testing.TB, s *odatatest.Service, set string, key kedge.Key) *kedge.Record {
	t.Helper()
	for _, r := range s.Records(set) {
		if r.Key == key {
			return &r
		}
	}
	return nil
}

// everyForm runs f with changes sent alone and in batches.
func everyForm(t *testing.T, f func(t *testing.T, options map[string]any)) {
	t.Helper()
	inForms(t, f, "none", "auto", "multipart", "json")
}

func inForms(t *testing.T, f func(t *testing.T, options map[string]any), forms ...string) {
	for _, form := range forms {
		t.Run(form, func(t *testing.T) { f(t, map[string]any{"batch": form}) })
	}
}

func widgets(t testing.TB, o odatatest.Options, options map[string]any) (*odatatest.Service, *odata.Driver) {
	t.Helper()
	o.Entities = []kedge.Entity{conntest.Widgets, conntest.Parts}
	s := odatatest.New(o)
	return s, newDriver(t, s.Start(t), options)
}

// Each operation with one change, and what the service has afterwards.
func TestWriteOperations(t *testing.T) {
	everyForm(t, func(t *testing.T, options map[string]any) {
		s, d := widgets(t, odatatest.Options{}, options)
		hostile := kedge.Key(`a'b/c%2F ?#ü`)
		first := write(t, d,
			change(kedge.Insert, "widgets", "w1", values{"string": str("one")}),
			change(kedge.Insert, "widgets", hostile, values{"id": str(string(hostile)), "string": str(`"quoted" & <b>`)}),
			change(kedge.Upsert, "widgets", "w2", values{"string": str("two")}),
		)
		wantOutcomes(t, "first", first, "inserted inserted inserted")
		second := write(t, d,
			change(kedge.Insert, "widgets", "w1", values{"string": str("again")}),
			change(kedge.Update, "widgets", hostile, values{"string": kedge.Null(), "int": kedge.Int(5)}),
			change(kedge.Update, "widgets", "gone", values{"string": str("x")}),
			change(kedge.Upsert, "widgets", "w2", values{"int": kedge.Int(7)}),
			change(kedge.Delete, "widgets", "gone", nil),
		)
		wantOutcomes(t, "second", second, "rejected:conflict updated rejected:not_found updated unchanged")
		for i, r := range append(first, second...) {
			if r.State == connectors.Inserted || r.State == connectors.Updated {
				if !strings.HasPrefix(r.Version, `W/"`) && !strings.HasPrefix(r.Version, `"`) {
					t.Errorf("result %d: got version %q, want an ETag", i, r.Version)
				}
			}
		}
		if got := record(t, s, "widgets", "w1").Get("string"); got.Str() != "one" {
			t.Errorf("a refused insert wrote %q", got.Text())
		}
		if r := record(t, s, "widgets", hostile); r == nil || !r.Get("string").IsNull() || r.Get("int").Int() != 5 {
			t.Errorf("the update of a key with odd characters did not arrive")
		}
		if r := record(t, s, "widgets", "w2"); r.Get("string").Str() != "two" || r.Get("int").Int() != 7 {
			t.Error("an upsert of some fields changed others")
		}
		wantOutcomes(t, "deletes", write(t, d, change(kedge.Delete, "widgets", hostile, nil), change(kedge.Delete, "widgets", "w1", nil)), "deleted deleted")
		if n := len(s.Records("widgets")); n != 1 {
			t.Errorf("%d records are left, want 1", n)
		}
	})
}

// All digits and forms of values arrive, with and without IEEE754Compatible.
func TestWriteValues(t *testing.T) {
	for _, quirks := range [][]string{nil, {odatatest.NoIEEE754}} {
		everyForm(t, func(t *testing.T, options map[string]any) {
			s, d := widgets(t, odatatest.Options{Quirks: quirks}, options)
			want := []values{
				{"int": kedge.Int(9007199254740993), "decimal": kedge.Decimal("19.90"), "float": kedge.Float(1e-7), "bool": kedge.Bool(true)},
				{"int": kedge.Int(math.MinInt64), "decimal": kedge.Decimal("-12345678901234567890.000000001"), "float": kedge.Float(math.Inf(1))},
				{"int": kedge.Int(math.MaxInt64), "decimal": kedge.Decimal("1e-7"), "float": kedge.Float(math.Inf(-1)), "bytes": kedge.BytesText("\xfb\xff\x00")},
				{"string": str("é \U0001F600 \t\n\"\\"), "time": kedge.Time(time.Date(2026, 1, 31, 10, 0, 0, 120e6, time.UTC)), "float": kedge.Float(math.NaN())},
				{"date": kedge.Date(time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)), "json": kedge.JSON(`{"a":[1,null]}`), "string": str("")},
				{"guid": str("0a000000-0000-4000-8000-00000000000f"), "string": kedge.Null(), "decimal": kedge.Null()},
			}
			var changes []kedge.Change
			for i, v := range want {
				for name := range v {
					if conntest.Widgets.Field(name) == nil {
						delete(v, name)
					}
				}
				changes = append(changes, change(kedge.Insert, "widgets", kedge.Key(fmt.Sprint("w", i)), v))
			}
			for i, r := range write(t, d, changes...) {
				if r.State != connectors.Inserted {
					t.Errorf("change %d: got %v: %v %s", i, r.State, r.Err, r.Remote)
					continue
				}
				have := record(t, s, "widgets", r.Key)
				for name, v := range want[i] {
					if got := have.Get(name); !kedge.Equal(got, v) {
						t.Errorf("change %d, field %s: got %v %q, want %v %q", i, name, got.Type(), got.Text(), v.Type(), v.Text())
					}
				}
			}
		})
	}
}

// A stale version is refused and nothing is written, be it an ETag or the value
// of a version field.
func TestWriteStale(t *testing.T) {
	for _, ifMatch := range []string{"always", "etag_only", "never"} {
		everyForm(t, func(t *testing.T, options map[string]any) {
			options["ifMatch"] = ifMatch
			s, d := widgets(t, odatatest.Options{}, options)
			first := write(t, d, change(kedge.Insert, "widgets", "w1", values{"string": str("a")}), change(kedge.Insert, "widgets", "w2", values{"string": str("a")}))
			old := record(t, s, "widgets", "w1").Get("RowVersion").Text()
			update := func(key kedge.Key, version, text string) kedge.Change {
				c := change(kedge.Update, "widgets", key, values{"string": str(text)})
				c.Version = version
				return c
			}
			fresh := write(t, d, update("w1", first[0].Version, "b"), update("w2", record(t, s, "widgets", "w2").Get("RowVersion").Text(), "b"))
			wantOutcomes(t, "fresh", fresh, "updated updated")
			remove := change(kedge.Delete, "widgets", "w1", nil)
			remove.Version = first[0].Version
			upsert := update("w2", first[1].Version, "c")
			upsert.Op = kedge.Upsert
			before := s.Records("widgets")
			wantOutcomes(t, "stale", write(t, d, remove, upsert), "rejected:conflict rejected:conflict")
			wantOutcomes(t, "stale version field", write(t, d, update("w1", old, "c")), "rejected:conflict")
			gone := update("gone", first[0].Version, "c")
			if results := write(t, d, gone); results[0].State != connectors.Rejected {
				t.Errorf("an expected version of no record: got %s", outcomes(results))
			}
			for i, r := range s.Records("widgets") {
				if r.Get("RowVersion").Int() != before[i].Get("RowVersion").Int() {
					t.Errorf("a refused change wrote to record %d", i)
				}
			}
		})
	}
}

// An upsert ends in one record whether it was there or not, with services that
// upsert by themselves and with those that don't, and those that answer a
// duplicate with 500. A second run creates nothing.
func TestUpsert(t *testing.T) {
	for name, o := range map[string]odatatest.Options{
		"honest": {}, "no upsert": {NoUpsert: true}, "500 for duplicates": {NoUpsert: true, Quirks: []string{odatatest.Duplicate500}},
	} {
		for _, how := range []string{"ladder", "native"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				everyForm(t, func(t *testing.T, options map[string]any) {
					options["upsert"] = how
					s, d := widgets(t, o, options)
					for run, want := range []string{"inserted inserted", "updated updated"} {
						results := write(t, d,
							change(kedge.Upsert, "widgets", "a", values{"int": kedge.Int(int64(run))}),
							change(kedge.Upsert, "widgets", "b", values{"id": str("b"), "int": kedge.Int(int64(run))}))
						wantOutcomes(t, fmt.Sprint("run ", run), results, want)
						for _, r := range s.Records("widgets") {
							if r.Get("int").Int() != int64(run) {
								t.Errorf("run %d: record has %d", run, r.Get("int").Int())
							}
						}
					}
					if n := s.Inserted("widgets"); n["a"] != 1 || n["b"] != 1 {
						t.Errorf("created %v times, want once each", n)
					}
				})
			})
		}
	}
}

// No computed field is ever sent, and no key or immutable field on an update.
func TestWriteSendsOnlyWhatItMay(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 2})
	d := newDriver(t, s.Start(t), map[string]any{"batch": "none"})
	line := values{
		"OrderNo": str("O00001"), "LineNo": kedge.Int(77), "Description": str("x"), "Quantity": kedge.Decimal("1.5"),
		"RowVersion": kedge.Int(1), "ModifiedAt": kedge.Time(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)),
	}
	key := kedge.NewKey(line["OrderNo"], line["LineNo"])
	wantOutcomes(t, "insert", write(t, d, change(kedge.Insert, "orderLines", "", line)), "inserted")
	wantOutcomes(t, "update", write(t, d, change(kedge.Update, "orderLines", key, line)), "updated")
	writes := s.Writes()
	if len(writes) != 2 {
		t.Fatalf("got %d writes, want 2", len(writes))
	}
	want := []string{
		`{"Description":"x","LineNo":77,"OrderNo":"O00001","Quantity":"1.5"}`,
		`{"Description":"x","Quantity":"1.5"}`,
	}
	for i, w := range writes {
		if w.Body != want[i] {
			t.Errorf("%s sent %s, want %s", w.Method, w.Body, want[i])
		}
	}
	if writes[0].Key != key {
		t.Errorf("the insert wrote another key")
	}
}

// What the service made is in the result: the key, computed fields, the ETag.
func TestServerMade(t *testing.T) {
	ticket := kedge.Entity{Name: "tickets", Key: []string{"Id"}, AlternateKeys: [][]string{{"Code"}}, Fields: []kedge.Field{
		{Name: "Id", Type: kedge.TypeString, Format: kedge.FormatGUID, Computed: true},
		{Name: "Code", Type: kedge.TypeString, MaxLength: 20, Nullable: true}, {Name: "Title", Type: kedge.TypeString, Nullable: true},
	}}
	everyForm(t, func(t *testing.T, options map[string]any) {
		s := odatatest.New(odatatest.Options{Entities: []kedge.Entity{ticket}})
		d := newDriver(t, s.Start(t), options)
		results := write(t, d,
			change(kedge.Insert, "tickets", "", values{"Title": str("a"), "Code": str("A")}),
			change(kedge.Insert, "tickets", "", values{"Title": str("b"), "Code": str("B")}))
		wantOutcomes(t, "insert", results, "inserted inserted")
		for i, r := range results {
			row := record(t, s, "tickets", r.Key)
			if row == nil || row.Get("Title").Str() != string("ab"[i]) {
				t.Fatalf("result %d has a key that is not its record's", i)
			}
			made := map[string]kedge.Value{}
			for _, v := range r.Values {
				made[v.Name] = v.Value
			}
			if made["Id"].Str() != string(r.Key) || made["RowVersion"].Int() != row.Get("RowVersion").Int() || r.Version == "" {
				t.Errorf("result %d has values %v and version %q", i, r.Values, r.Version)
			}
		}
		// The key is unknown to the caller: the record is found by its code.
		for run, want := range []string{"updated inserted", "updated updated"} {
			again := write(t, d,
				change(kedge.Upsert, "tickets", "", values{"Title": str(fmt.Sprint("a", run)), "Code": str("A")}),
				change(kedge.Upsert, "tickets", "", values{"Title": str(fmt.Sprint("c", run)), "Code": str("C")}))
			wantOutcomes(t, fmt.Sprint("upsert ", run), again, want)
			if again[0].Key != results[0].Key {
				t.Errorf("the upsert wrote another record")
			}
		}
		if n := len(s.Records("tickets")); n != 3 {
			t.Errorf("there are %d tickets, want 3", n)
		}
	})
}

// Without a declared key, records are found by a filter; two of them are too many.
func TestUpsertByFilter(t *testing.T) {
	note := kedge.Entity{Name: "notes", Key: []string{"Id"}, Fields: []kedge.Field{
		{Name: "Id", Type: kedge.TypeString, Format: kedge.FormatGUID, Computed: true},
		{Name: "Code", Type: kedge.TypeString, Nullable: true}, {Name: "Title", Type: kedge.TypeString, Nullable: true},
	}}
	for _, quirk := range []string{"", odatatest.EmptyPages} {
		t.Run(quirk, func(t *testing.T) {
			o := odatatest.Options{Entities: []kedge.Entity{note}}
			if quirk != "" {
				o.Quirks = []string{quirk}
			}
			s := odatatest.New(o)
			d := newDriver(t, s.Start(t), map[string]any{"batch": "none", "alternateKey": []string{"Code"}})
			upsert := func(code kedge.Value) []connectors.Result {
				return write(t, d, change(kedge.Upsert, "notes", "", values{"Code": code, "Title": str("t")}))
			}
			wantOutcomes(t, "none there", upsert(str("it's")), "inserted")
			wantOutcomes(t, "one there", upsert(str("it's")), "updated")
			write(t, d, change(kedge.Insert, "notes", "", values{"Code": str("it's")}))
			two := upsert(str("it's"))
			wantOutcomes(t, "two there", two, "rejected:invalid")
			if !strings.Contains(two[0].Err.Error(), "2 records match") {
				t.Errorf("got %v", two[0].Err)
			}
			wantOutcomes(t, "no value to match by", upsert(kedge.Null()), "rejected:invalid")
		})
	}
}

// Lookups whose own property is read-only are written by their navigation.
func TestWriteLookups(t *testing.T) {
	inForms(t, func(t *testing.T, options map[string]any) {
		options["flavor"] = "dataverse"
		s := odatatest.New(odatatest.Options{Rows: 4, Flavor: odatatest.Dataverse})
		d := newDriver(t, s.Start(t), options)
		fields := fieldsOf(t, d, "contacts")
		if !slices.Contains(fields, "_customerno_value") {
			t.Fatalf("the service has fields %v", fields)
		}
		wantOutcomes(t, "bind", write(t, d,
			change(kedge.Upsert, "contacts", "N1", values{"Name": str("n"), "_customerno_value": str("C00002")}),
			change(kedge.Insert, "contacts", "N2", values{"Name": str("n"), "_customerno_value": kedge.Null()}),
		), "inserted inserted")
		if got := record(t, s, "contacts", "N1").Get("_customerno_value"); got.Text() != "C00002" {
			t.Errorf("the lookup is %q, want C00002", got.Text())
		}
		wantOutcomes(t, "unbind", write(t, d, change(kedge.Update, "contacts", "N1", values{"_customerno_value": kedge.Null()})), "updated")
		if got := record(t, s, "contacts", "N1").Get("_customerno_value"); !got.IsNull() {
			t.Errorf("the lookup is %q, want null", got.Text())
		}
	}, "none", "auto", "multipart") // Dataverse takes no others
}

// A navigation of which no property tells the target is written by its key.
func TestWriteNavigation(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 4, Quirks: []string{odatatest.OddConstraint}})
	d := newDriver(t, s.Start(t), nil)
	if !slices.Contains(fieldsOf(t, d, "customers"), "PrimaryContact/No") {
		t.Fatalf("the customers have fields %v", fieldsOf(t, d, "customers"))
	}
	contact := s.Records("contacts")[0].Key
	wantOutcomes(t, "bind", write(t, d, change(kedge.Update, "customers", "C00003", values{"PrimaryContact/No": str(string(contact))})), "updated")
	if got := record(t, s, "customers", "C00003").Get("PrimaryContactNo"); got.Text() != string(contact) {
		t.Errorf("the lookup is %q, want %q", got.Text(), contact)
	}
}

// A service that wants a CSRF token gets one, and again when it has expired.
func TestCSRF(t *testing.T) {
	everyForm(t, func(t *testing.T, options map[string]any) {
		s, d := widgets(t, odatatest.Options{Quirks: []string{odatatest.CSRF}}, options)
		insert := func(key kedge.Key) kedge.Change {
			return change(kedge.Insert, "widgets", key, values{"string": str("x")})
		}
		wantOutcomes(t, "first", write(t, d, insert("a"), insert("b")), "inserted inserted")
		fetched := func() int {
			n := 0
			for _, r := range s.Requests() {
				if r.Method == http.MethodGet && r.Path == s.Root() {
					n++
				}
			}
			return n
		}
		wantOutcomes(t, "second", write(t, d, insert("c"), insert("d")), "inserted inserted")
		if n := fetched(); n != 1 {
			t.Errorf("the token was fetched %d times, want once", n)
		}
		s.ExpireCSRF()
		wantOutcomes(t, "expired", write(t, d, insert("e"), insert("f")), "inserted inserted")

		options["csrf"] = "off"
		_, d = widgets(t, odatatest.Options{Quirks: []string{odatatest.CSRF}}, options)
		if results, err := d.Write(t.Context(), []kedge.Change{insert("a")}); err == nil && results[0].State != connectors.Rejected {
			t.Errorf("with csrf off: got %s", outcomes(results))
		}
	})
}
