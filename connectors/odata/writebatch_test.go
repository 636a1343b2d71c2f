package odata_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// batchQuirks are the oddities of batches, and none.
var batchQuirks = []string{"", odatatest.Batch201RolledBack, odatatest.BatchNullIDs, odatatest.BatchFlat, odatatest.BatchWrongHost, odatatest.BatchOmits, odatatest.BatchNextLink}

func quirks(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

// inserts makes n inserts of widgets; the bad one has a key that is taken.
func inserts(n, bad int) []kedge.Change {
	var changes []kedge.Change
	for i := range n {
		key := kedge.Key(fmt.Sprintf("w%03d", i))
		if i == bad {
			key = "taken"
		}
		changes = append(changes, change(kedge.Insert, "widgets", key, values{"int": kedge.Int(int64(i))}))
	}
	return changes
}

// Of 250 changes the one that is bad fails and the others are done, whatever
// the service's batches look like. What is left out of an answer has no result
// and is unknown, and is never called done or failed.
func TestOneBadAmongMany(t *testing.T) {
	const bad = 137
	for _, form := range []string{"multipart", "json"} {
		for _, quirk := range batchQuirks {
			t.Run(form+"/"+quirk, func(t *testing.T) {
				s, d := widgets(t, odatatest.Options{Quirks: quirks(quirk)}, map[string]any{"batch": form})
				if err := s.Put("widgets", newRecord("taken", 1)); err != nil {
					t.Fatal(err)
				}
				changes := inserts(250, bad)
				results, err := connectors.New(d, nil).Write(t.Context(), changes)
				if quirk != odatatest.BatchOmits && err != nil {
					t.Fatal(err)
				}
				if quirk == odatatest.BatchOmits && kedge.KindOf(err) != kedge.OutcomeUnknown {
					t.Fatalf("got %v, want an unknown outcome", err)
				}
				count := map[connectors.State]int{}
				for i, r := range results {
					count[r.State]++
					switch {
					case i == bad && (r.State == connectors.Rejected && r.Err.Kind == kedge.Conflict || r.State == connectors.Unset && err != nil):
					case i != bad && r.State == connectors.Inserted && r.Key == changes[i].Key && r.Version != "":
					case r.State == connectors.Unset && err != nil:
					default:
						t.Fatalf("change %d: got %v (%v) with key %q, version %q", i, r.State, r.Err, r.Key, r.Version)
					}
				}
				if err == nil && (count[connectors.Inserted] != 249 || count[connectors.Rejected] != 1) {
					t.Errorf("got %v, want 249 inserted and 1 rejected", count)
				}
				for key, n := range s.Inserted("widgets") {
					if n != 1 {
						t.Errorf("%s was created %d times", key, n)
					}
				}
			})
		}
	}
}

// What is left out behind an error was done, if the service says that it goes on.
func TestLeftOutBehindAnError(t *testing.T) {
	for _, form := range []string{"multipart", "json"} {
		s, d := widgets(t, odatatest.Options{Quirks: []string{odatatest.BatchOmits}}, map[string]any{"batch": form})
		if err := s.Put("widgets", newRecord("taken", 1)); err != nil {
			t.Fatal(err)
		}
		results, err := d.Write(t.Context(), inserts(3, 1))
		if got := outcomes(results); got != "inserted rejected:conflict unset" || kedge.KindOf(err) != kedge.OutcomeUnknown {
			t.Errorf("%s: got %s and %v", form, got, err)
		}
		if n := len(s.Writes()); n != 3 {
			t.Errorf("%s: %d changes were sent, want 3", form, n)
		}
	}
}

// A service that stops at the first error of a batch, whatever it is asked for,
// gets the rest once more, and nothing twice.
func TestServiceThatStops(t *testing.T) {
	for _, form := range []string{"multipart", "json"} {
		t.Run(form, func(t *testing.T) {
			service := odatatest.New(odatatest.Options{Entities: []kedge.Entity{conntest.Widgets, conntest.Parts}, NoUpsert: true})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del("Prefer")
				service.Handler().ServeHTTP(w, r)
			}))
			t.Cleanup(server.Close)
			d := newDriver(t, server.URL+"/", map[string]any{"batch": form})
			if err := service.Put("widgets", newRecord("taken", 1)); err != nil {
				t.Fatal(err)
			}
			results, err := connectors.New(d, nil).Write(t.Context(), inserts(50, 17))
			if err != nil && (form == "multipart" || kedge.KindOf(err) != kedge.OutcomeUnknown) {
				t.Fatal(err)
			}
			for i, r := range results {
				if want := map[bool]connectors.State{true: connectors.Rejected, false: connectors.Inserted}[i == 17]; r.State != want && !(r.State == connectors.Unset && err != nil) {
					t.Errorf("change %d: got %v (%v), want %v", i, r.State, r.Err, want)
				}
			}
			var upserts []kedge.Change
			for i := range 20 {
				upserts = append(upserts, change(kedge.Upsert, "widgets", kedge.Key(fmt.Sprint("u", i)), values{"int": kedge.Int(1)}))
			}
			for i, r := range write(t, d, upserts...) {
				if r.State != connectors.Inserted && r.State != connectors.Rejected {
					t.Errorf("upsert %d: got %v (%v)", i, r.State, r.Err)
				}
				if r.Err != nil && (form == "multipart" || r.Err.Kind != kedge.Transient) {
					t.Errorf("upsert %d: %v", i, r.Err)
				}
			}
			for key, n := range service.Inserted("widgets") {
				if n != 1 {
					t.Errorf("%s was created %d times", key, n)
				}
			}
		})
	}
}

// In an atomic batch one bad change undoes all, whatever its answers say.
func TestAtomic(t *testing.T) {
	const bad = 137
	for _, form := range []string{"multipart", "json"} {
		for _, quirk := range batchQuirks {
			t.Run(form+"/"+quirk, func(t *testing.T) {
				s, d := widgets(t, odatatest.Options{Quirks: quirks(quirk)}, map[string]any{"batch": form, "atomic": true, "batchSize": 250})
				if err := s.Put("widgets", newRecord("taken", 1)); err != nil {
					t.Fatal(err)
				}
				results, err := d.Write(t.Context(), inserts(250, bad))
				if err != nil && (quirk != odatatest.BatchOmits || kedge.KindOf(err) != kedge.OutcomeUnknown) {
					t.Fatal(err)
				}
				culprits := 0
				for i, r := range results {
					switch {
					case r.State == connectors.Rejected && r.Err.Kind == kedge.Conflict:
						culprits++
					case r.State == connectors.Rejected && r.Err.Kind == kedge.Transient, r.State == connectors.Unset && err != nil:
					default:
						t.Fatalf("change %d of a group that was undone: %v (%v)", i, r.State, r.Err)
					}
				}
				if quirk != odatatest.BatchOmits && culprits == 0 {
					t.Error("nobody is told the reason")
				}
				if n := len(s.Records("widgets")); n != 1 {
					t.Errorf("there are %d records, want the one from before", n)
				}
				if quirk != odatatest.BatchOmits {
					wantOutcomes(t, "a good group", write(t, d, inserts(250, -1)...)[249:], "inserted")
				}
			})
		}
	}
}

// Groups with upserts, updates and deletes: all or nothing.
func TestAtomicUpserts(t *testing.T) {
	for _, form := range []string{"multipart", "json"} {
		for _, how := range []string{"ladder", "native"} {
			t.Run(form+"/"+how, func(t *testing.T) {
				s, d := widgets(t, odatatest.Options{NoUpsert: how == "ladder"}, map[string]any{"batch": form, "atomic": true, "upsert": how})
				if err := s.Put("widgets", newRecord("old", 1), newRecord("away", 1)); err != nil {
					t.Fatal(err)
				}
				group := []kedge.Change{
					change(kedge.Upsert, "widgets", "old", values{"int": kedge.Int(2)}),
					change(kedge.Upsert, "widgets", "new", values{"int": kedge.Int(2)}),
					change(kedge.Delete, "widgets", "away", nil),
					change(kedge.Update, "widgets", "gone", values{"int": kedge.Int(2)}),
				}
				wantOutcomes(t, "with an update of nothing", write(t, d, group...), "rejected:transient rejected:transient rejected:transient rejected:not_found")
				if r := record(t, s, "widgets", "old"); len(s.Records("widgets")) != 2 || r.Get("int").Int() != 1 {
					t.Error("a group that was undone left something behind")
				}
				wantOutcomes(t, "without", write(t, d, group[:3]...), "updated inserted deleted")
				if r := record(t, s, "widgets", "old"); len(s.Records("widgets")) != 2 || r.Get("int").Int() != 2 {
					t.Error("a group was not done")
				}
			})
		}
	}
}

func newRecord(key kedge.Key, n int64) kedge.Record {
	return kedge.Record{Key: key, Fields: kedge.NewFields("id", "int"), Values: []kedge.Value{kedge.String(string(key)), kedge.Int(n)}}
}

// Changes of one round go out in one request, and reads by key too.
func TestBatchRequests(t *testing.T) {
	for _, form := range []string{"multipart", "json", "auto"} {
		t.Run(form, func(t *testing.T) {
			s, d := widgets(t, odatatest.Options{}, map[string]any{"batch": form})
			write(t, d, inserts(2, -1)...) // metadata and probes
			s.ForgetRequests()
			changes := inserts(100, -1)[2:]
			write(t, d, changes...)
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d changes took %d requests, want 1", len(changes), n)
			}
			s.ForgetRequests()
			var keys []kedge.Key
			for _, c := range changes {
				keys = append(keys, c.Key)
			}
			keys = append(keys, "gone")
			found, err := d.ReadKeys(t.Context(), "widgets", []string{"int"}, keys)
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range found {
				if f.OK != (keys[i] != "gone") || f.OK && f.Record.Get("int").Int() != int64(i+2) {
					t.Errorf("key %d: got %v", i, f)
				}
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("%d keys took %d requests, want 1", len(keys), n)
			}
		})
	}
}

// Reads by key are right under every quirk of batches: nothing that is there
// counts as missing.
func TestReadKeysWithBatchQuirks(t *testing.T) {
	for _, form := range []string{"multipart", "json"} {
		for _, quirk := range batchQuirks {
			t.Run(form+"/"+quirk, func(t *testing.T) {
				s, d := widgets(t, odatatest.Options{Quirks: quirks(quirk)}, map[string]any{"batch": form})
				var keys []kedge.Key
				for i := range 20 {
					key := kedge.Key(fmt.Sprint("k", i))
					keys = append(keys, key)
					if i%4 != 0 {
						if err := s.Put("widgets", newRecord(key, int64(i))); err != nil {
							t.Fatal(err)
						}
					}
				}
				found, err := d.ReadKeys(t.Context(), "widgets", []string{"int"}, keys)
				if err != nil {
					t.Fatal(err)
				}
				for i, f := range found {
					if f.OK != (i%4 != 0) || f.OK && f.Record.Get("int").Int() != int64(i) {
						t.Errorf("key %d: got %v %v", i, f.OK, f.Record.Get("int").Text())
					}
				}
			})
		}
	}
}

// Without ids, answers in another order would make a record that is there look
// like one that is missing: such an answer is asked for again, alone.
func TestReadKeysInAnyOrder(t *testing.T) {
	service := odatatest.New(odatatest.Options{Entities: []kedge.Entity{conntest.Widgets, conntest.Parts}})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/$batch") {
			service.Handler().ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		service.Handler().ServeHTTP(answer, r)
		var all struct {
			Responses []map[string]any `json:"responses"`
		}
		if err := json.Unmarshal(answer.Body.Bytes(), &all); err != nil {
			t.Error(err)
		}
		for _, one := range all.Responses {
			one["id"] = nil
		}
		slices.Reverse(all.Responses)
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(all); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	d := newDriver(t, server.URL+"/", map[string]any{"batch": "json"})
	if err := service.Put("widgets", newRecord("a", 1), newRecord("b", 2)); err != nil {
		t.Fatal(err)
	}
	found, err := d.ReadKeys(t.Context(), "widgets", []string{"int"}, []kedge.Key{"a", "b", "c", "d"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false, false} {
		if found[i].OK != want {
			t.Errorf("key %d: found %v, want %v", i, found[i].OK, want)
		}
	}
}

// An answer to a batch that is cut at any byte, in a body that claims to be
// whole: nothing is done twice, nothing counts as done that was not, and what
// has no whole answer is unknown.
func TestBatchCutAnywhere(t *testing.T) {
	for _, form := range []string{"multipart", "json"} {
		t.Run(form, func(t *testing.T) {
			whole := 0
			for cut := 0; cut == 0 || cut < whole; cut += 7 {
				service := odatatest.New(odatatest.Options{Entities: []kedge.Entity{conntest.Widgets, conntest.Parts}})
				if err := service.Put("widgets", newRecord("there", 1)); err != nil {
					t.Fatal(err)
				}
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					answer := httptest.NewRecorder()
					service.Handler().ServeHTTP(answer, r)
					body := answer.Body.Bytes()
					if strings.HasSuffix(r.URL.Path, "/$batch") {
						whole = len(body)
						body = body[:min(cut, whole)]
					}
					w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
					w.WriteHeader(answer.Code)
					w.Write(body)
				}))
				d := newDriver(t, server.URL+"/", map[string]any{"batch": form})
				changes := []kedge.Change{
					change(kedge.Insert, "widgets", "a", values{"int": kedge.Int(1)}),
					change(kedge.Update, "widgets", "there", values{"int": kedge.Int(2)}),
					change(kedge.Insert, "widgets", "there", values{"int": kedge.Int(3)}),
				}
				results, err := d.Write(t.Context(), changes)
				server.Close()
				states := outcomes(results)
				for i, allowed := range [][]string{{"inserted", "unset"}, {"updated", "rejected:transient", "unset"}, {"rejected:conflict", "unset"}} {
					if got := strings.Fields(states)[i]; got != allowed[0] && !(err != nil && strings.Contains(strings.Join(allowed[1:], " "), got)) {
						t.Errorf("cut at %d: got %s and %v", cut, states, err)
					}
				}
				if err != nil && kedge.KindOf(err) != kedge.OutcomeUnknown {
					t.Errorf("cut at %d: got %v, want an unknown outcome", cut, err)
				}
				if n := service.Inserted("widgets")["a"]; n != 1 {
					t.Fatalf("cut at %d: the record was created %d times", cut, n)
				}
			}
		})
	}
}

// A version that holds line ends makes no lines of its own in a batch.
func TestHostileVersion(t *testing.T) {
	s, d := widgets(t, odatatest.Options{}, map[string]any{"batch": "multipart"})
	if err := s.Put("widgets", newRecord("a", 1), newRecord("b", 1)); err != nil {
		t.Fatal(err)
	}
	evil := change(kedge.Update, "widgets", "a", values{"int": kedge.Int(2)})
	evil.Version = "\"x\r\n\r\n{}\r\n--batch\r\nDELETE widgets('b')\""
	wantOutcomes(t, "changes", write(t, d, evil, change(kedge.Update, "widgets", "b", values{"int": kedge.Int(2)})), "rejected:conflict updated")
	if n := len(s.Records("widgets")); n != 2 {
		t.Errorf("there are %d records, want 2", n)
	}
}

// A service without batches is written to one by one, and asked once only.
func TestNoBatches(t *testing.T) {
	s, d := widgets(t, odatatest.Options{Batch: "none"}, nil)
	for i := range 3 {
		wantOutcomes(t, "without batches", write(t, d, inserts(2, -1)[i%2:]...)[:1], []string{"inserted", "rejected:conflict", "rejected:conflict"}[i])
	}
	n := 0
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "$batch") {
			n++
		}
	}
	if n > 1 {
		t.Errorf("batches were tried %d times", n)
	}
	_, d = widgets(t, odatatest.Options{Batch: "none"}, map[string]any{"atomic": true})
	if _, err := d.Write(t.Context(), inserts(2, -1)); kedge.KindOf(err) != kedge.Unsupported {
		t.Errorf("atomic without batches: got %v, want unsupported", err)
	}
}
