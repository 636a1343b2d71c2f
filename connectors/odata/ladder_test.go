package odata_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// Somebody else makes the record between the two steps of an upsert. However
// the service says that the key is taken, the record is updated then; and what
// is refused for another reason stays refused.
func TestUpsertRace(t *testing.T) {
	for _, status := range []int{400, 409, 412, 422, 500} {
		for _, race := range []bool{true, false} {
			service := odatatest.New(odatatest.Options{Entities: []kedge.Entity{conntest.Widgets, conntest.Parts}, NoUpsert: true})
			var sent []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "$metadata") {
					sent = append(sent, r.Method)
				}
				if r.Method != http.MethodPost {
					service.Handler().ServeHTTP(w, r)
					return
				}
				if race {
					if err := service.Put("widgets", newRecord("w", 1)); err != nil {
						t.Error(err)
					}
				}
				w.WriteHeader(status)
				io.WriteString(w, odataError)
			}))
			d := newDriver(t, server.URL+"/", map[string]any{"batch": "none"})
			r := write(t, d, change(kedge.Upsert, "widgets", "w", values{"int": kedge.Int(2)}))[0]
			server.Close()
			if race {
				if rec := record(t, service, "widgets", "w"); r.State != connectors.Updated || rec.Get("int").Int() != 2 {
					t.Errorf("%d: got %v (%v), want updated", status, r.State, r.Err)
				}
				if got := strings.Join(sent, " "); got != "PATCH POST GET PATCH" {
					t.Errorf("%d: sent %s", status, got)
				}
				continue
			}
			want := map[int]kedge.Kind{400: kedge.Invalid, 409: kedge.Conflict, 412: kedge.Conflict, 422: kedge.Invalid, 500: kedge.Transient}[status]
			if r.State != connectors.Rejected || r.Err.Kind != want || r.Remote == "" {
				t.Errorf("%d without a race: got %v (%v), want %v", status, r.State, r.Err, want)
			}
		}
	}
}

// A value that only an insert may have is not lost by an upsert, and not sent
// by an update.
func TestUpsertImmutable(t *testing.T) {
	asset := kedge.Entity{Name: "assets", Key: []string{"No"}, Fields: []kedge.Field{
		{Name: "No", Type: kedge.TypeString, MaxLength: 20}, {Name: "Serial", Type: kedge.TypeString, Nullable: true, Immutable: true},
		{Name: "Name", Type: kedge.TypeString, Nullable: true},
	}}
	for _, how := range []string{"ladder", "native"} {
		s := odatatest.New(odatatest.Options{Entities: []kedge.Entity{asset}})
		d := newDriver(t, s.Start(t), map[string]any{"batch": "none", "upsert": how})
		for run, want := range []string{"inserted", "updated"} {
			wantOutcomes(t, how, write(t, d, change(kedge.Upsert, "assets", "a", values{"Serial": str("S1"), "Name": str(string("xy"[run]))})), want)
		}
		wantRecord(t, s, "assets", "a", values{"Serial": str("S1"), "Name": str("y")})
		for _, w := range s.Writes() {
			if w.Method == http.MethodPatch && strings.Contains(w.Body, "Serial") {
				t.Errorf("%s: an update sent %s", how, w.Body)
			}
		}
	}
}

// A complex value whose parts are all null is null as a whole, as it was read.
func TestWriteNullComplex(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 2})
	d := newDriver(t, s.Start(t), map[string]any{"batch": "none"})
	all := values{"Address/Street": kedge.Null(), "Address/City": kedge.Null(), "Address/PostCode": kedge.Null(), "Address/CountryRegionCode": kedge.Null()}
	some := values{"Address/Street": kedge.Null(), "Address/City": str("x")}
	write(t, d, change(kedge.Update, "customers", "C00001", all), change(kedge.Update, "customers", "C00002", some))
	bodies := map[kedge.Key]string{}
	for _, w := range s.Writes() {
		bodies[w.Key] = w.Body
	}
	if got, want := bodies["C00001"], `{"Address":null}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	if got, want := bodies["C00002"], `{"Address":{"City":"x","Street":null}}`; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

// A change of a group that cannot even be sent undoes the group before it is sent.
func TestAtomicRefusedEarly(t *testing.T) {
	s, d := widgets(t, odatatest.Options{}, map[string]any{"batch": "json", "atomic": true})
	bad := change(kedge.Insert, "widgets", "c", values{"nope": kedge.Int(1)})
	results := write(t, d, append(inserts(2, -1), bad)...)
	wantOutcomes(t, "group", results, "rejected:transient rejected:transient rejected:invalid")
	if n := len(s.Writes()); n != 0 {
		t.Errorf("%d changes were sent", n)
	}
}
