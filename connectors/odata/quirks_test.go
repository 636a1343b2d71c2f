package odata_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// edit changes some customers: new, edited, deleted.
func edit(t testing.TB, s *odatatest.Service, round int) (edits int) {
	t.Helper()
	all := s.Records("customers")
	for i := range 3 {
		if err := s.Delete("customers", all[(round*7+i*11)%len(all)].Key); err != nil {
			t.Fatal(err)
		}
	}
	all = s.Records("customers")
	for i := range 5 {
		r := odatatest.Row("No", kedge.String(string(all[(round*5+i*3)%len(all)].Key)), "Name", kedge.String(fmt.Sprintf("edited %d/%d", round, i)))
		if err := s.Patch("customers", r); err != nil {
			t.Fatal(err)
		}
	}
	r := odatatest.Row("No", kedge.String(fmt.Sprintf("N%05d", round)), "Name", kedge.String("new"))
	if err := s.Put("customers", r); err != nil {
		t.Fatal(err)
	}
	return 6
}

// sweep removes from l what a full read does not have, but only if a read by
// key confirms it, as a syncer does.
func sweep(t testing.TB, d connectors.Driver, fields []string, l local) {
	t.Helper()
	full := local{}
	readAll(t, d, connectors.ReadRequest{Entity: "customers", Fields: fields, Size: 50}, full, nil)
	var missing []kedge.Key
	for k := range l {
		if _, ok := full[k]; !ok {
			missing = append(missing, k)
		}
	}
	found, err := d.(connectors.KeyReader).ReadKeys(t.Context(), "customers", fields, missing)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		if !f.OK {
			delete(l, missing[i])
		}
	}
	for k, r := range full {
		l[k] = r
	}
}

// story reads all, edits, reads what has changed, three times, and sweeps.
func story(t *testing.T, s *odatatest.Service, d connectors.Driver) {
	fields := fieldsOf(t, d, "customers")
	l := local{}
	req := connectors.ReadRequest{Entity: "customers", Fields: fields, Size: 20}
	a, _ := readAll(t, d, req, l, func(page int) {
		if page == 2 {
			edit(t, s, 100)
		}
	})
	for round := range 3 {
		edit(t, s, round)
		req.Anchor = a
		next, err := incremental(t, d, req, l)
		if kedge.KindOf(err) == kedge.AnchorExpired {
			req.Anchor = ""
			next, _ = readAll(t, d, req, l, nil)
		} else if err != nil {
			t.Fatal(err)
		}
		a = next
	}
	sweep(t, d, fields, l)
	same(t, s, "customers", fields, l)
}

func incremental(t testing.TB, d connectors.Driver, req connectors.ReadRequest, l local) (kedge.Anchor, error) {
	t.Helper()
	for {
		p, err := d.ReadPage(t.Context(), req)
		if err != nil {
			return "", err
		}
		l.take(t, p)
		if p.Next == "" {
			return p.Anchor, nil
		}
		req.Token = p.Next
	}
}

func TestQuirks(t *testing.T) {
	quirks := append([]string{""}, names(odatatest.ReadQuirks())...)
	for _, quirk := range quirks {
		for _, tracking := range []string{"auto", "delta", "watermark", "full"} {
			for _, noDelta := range []bool{false, true} {
				if noDelta && tracking == "delta" || quirk == odatatest.TextTimeCompare && tracking == "watermark" {
					continue
				}
				name := quirk + "/" + tracking
				if noDelta {
					name += "/nodelta"
				}
				t.Run(name, func(t *testing.T) {
					for _, version := range []string{odatatest.V40, odatatest.V401} {
						o := odatatest.Options{Rows: 120, PageCap: 60, NoDelta: noDelta, Version: version}
						if quirk != "" {
							o.Quirks = []string{quirk}
						}
						s := odatatest.New(o)
						options := map[string]any{"tracking": tracking, "overlapVersions": 5}
						if quirk == odatatest.NoOr {
							options["orFilters"] = false
						}
						story(t, s, newDriver(t, s.Start(t), options))
					}
				})
			}
		}
	}
}

func TestFaults(t *testing.T) {
	for _, fault := range []string{"429=0.2", "500=0.2", "cut=0.2", "anchor-expiry=1", "anchor-expiry=2", "anchor-expiry=3"} {
		for _, tracking := range []string{"auto", "delta", "watermark"} {
			t.Run(fault+"/"+tracking, func(t *testing.T) {
				s := odatatest.New(odatatest.Options{Rows: 120, Faults: []string{fault}, Seed: 7})
				story(t, s, newDriver(t, s.Start(t), map[string]any{"tracking": tracking}))
			})
		}
	}
}

// A next link that leads to its own page must not become an endless read.
func TestRepeatedLink(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 120, Faults: []string{"dup-next=3"}})
	d := newDriver(t, s.Start(t), map[string]any{"tracking": "full", "paging": "server"})
	_, err := incremental(t, d, connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 10}, local{})
	if kedge.KindOf(err) != kedge.Invalid {
		t.Errorf("got %v, want Invalid", err)
	}
}

// The forms of deltas that a service can choose, in 4.0 and 4.01.
func TestDeltaForms(t *testing.T) {
	for _, version := range []string{odatatest.V40, odatatest.V401} {
		for _, form := range []odatatest.DeltaForm{
			{}, {Partial: true}, {Partial: true, IDOnly: true}, {NoReason: true}, {Predicate: true}, {Links: true}, {Nested: true},
		} {
			for _, quirks := range [][]string{nil, {odatatest.MixedRemoved}, {odatatest.BareID}} {
				t.Run(fmt.Sprintf("%s/%+v/%v", version, form, quirks), func(t *testing.T) {
					s := odatatest.New(odatatest.Options{Rows: 120, Version: version, Delta: form, Quirks: slices.Clone(quirks)})
					story(t, s, newDriver(t, s.Start(t), map[string]any{"tracking": "delta", "maxVersion": version}))
				})
			}
		}
	}
}

// Every page is read by another process, also the slices of one large answer.
func TestResumeInNewDriver(t *testing.T) {
	for _, quirk := range []string{odatatest.IgnoreMaxPageSize, odatatest.OffsetTokens, odatatest.NextAfterTop} {
		for _, tracking := range []string{"delta", "watermark", "full"} {
			for _, paging := range []string{"server", "keyset"} {
				s := odatatest.New(odatatest.Options{Rows: 120, Quirks: []string{quirk}})
				url := s.Start(t)
				options := map[string]any{"tracking": tracking, "paging": paging}
				req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 10}
				l := local{}
				pages := 0
				for {
					p, err := newDriver(t, url, options).ReadPage(t.Context(), req)
					if err != nil {
						t.Fatal(err)
					}
					if l.take(t, p); p.Next == "" {
						break
					}
					if pages++; pages == 3 { // the answer changes, and must be begun again
						for k := range l {
							if err := s.Delete("customers", k); err != nil {
								t.Fatal(err)
							}
							delete(l, k)
							break
						}
					}
					if pages > 60 {
						t.Fatalf("%s/%s/%s: no end after %d pages", quirk, tracking, paging, pages)
					}
					req.Token = p.Next
				}
				if quirk != odatatest.OffsetTokens || paging == "keyset" && tracking != "delta" {
					same(t, s, "customers", []string{"Name"}, l)
				}
			}
		}
	}
}

func TestFlavors(t *testing.T) {
	for flavor, options := range map[odatatest.Flavor]map[string]any{
		odatatest.BusinessCentral: {"flavor": "businesscentral", "company": "CRONUS International Ltd."},
		odatatest.Dataverse:       {"flavor": "dataverse"},
	} {
		s := odatatest.New(odatatest.Options{Rows: 120, Flavor: flavor, Companies: []string{"CRONUS International Ltd.", "B"}})
		d := newDriver(t, s.Start(t), options)
		schema, err := d.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range schema.Entities {
			fields := fieldsOf(t, d, e.Name)
			l := local{}
			readAll(t, d, connectors.ReadRequest{Entity: e.Name, Fields: fields, Size: 20}, l, nil)
			if len(l) == 0 {
				t.Errorf("%s: no rows of %s", flavor, e.Name)
			}
			if e.Name == "customers" {
				same(t, s, e.Name, []string{"Name", "Balance"}, l)
			}
		}
	}
}

// Microsoft Graph gives deltas by a function of the set.
func TestDeltaFunction(t *testing.T) {
	var paths []string
	server := plainService(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path+" "+r.Header.Get("Prefer"))
		switch r.URL.Query().Get("$deltatoken") {
		case "":
			fmt.Fprint(w, `{"value":[{"No":"a","Name":"x"},{"No":"b","Name":"y"}],"@odata.deltaLink":"/things/delta()?$deltatoken=1"}`)
		default:
			fmt.Fprint(w, `{"value":[{"No":"b","@removed":{"reason":"deleted"}},{"No":"c","Name":"z"}],"@odata.deltaLink":"/things/delta()?$deltatoken=2"}`)
		}
	})
	d := newDriver(t, server.URL, map[string]any{"flavor": "graph"})
	req := connectors.ReadRequest{Entity: "things", Fields: []string{"Name"}, Size: 10}
	l := local{}
	req.Anchor, _ = readAll(t, d, req, l, nil)
	readAll(t, d, req, l, nil)
	a, c := l["a"], l["c"]
	if len(l) != 2 || a.Get("Name").Str() != "x" || c.Get("Name").Str() != "z" {
		t.Errorf("got %d records, want a and c", len(l))
	}
	for _, p := range paths {
		if p != "/things/delta() odata.maxpagesize=10" {
			t.Errorf("asked for %q", p)
		}
	}
}

// Wherever the first answer breaks off, the read is begun again and delivers
// the whole page once.
func TestCutAtEveryByte(t *testing.T) {
	const body = `{"value":[{"No":"a","Name":"Zoë"},{"No":"b","Name":null}],"@odata.deltaLink":"things?$deltatoken=1"}`
	var cut, tries atomic.Int32
	server := plainService(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if tries.Add(1) > 1 {
			fmt.Fprint(w, body)
			return
		}
		fmt.Fprint(w, body[:cut.Load()])
		panic(http.ErrAbortHandler)
	})
	d := newDriver(t, server.URL, map[string]any{"tracking": "delta", "paging": "server"})
	for at := range len(body) {
		cut.Store(int32(at))
		tries.Store(0)
		p, err := d.ReadPage(t.Context(), connectors.ReadRequest{Entity: "things", Fields: []string{"Name"}, Size: 10})
		if err != nil || len(p.Records) != 2 || p.Next != "" || p.Anchor == "" || tries.Load() != 2 {
			t.Fatalf("cut at %d: %v, %+v after %d requests, want 2 records after 2", at, err, p, tries.Load())
		}
	}
}
