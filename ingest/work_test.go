package ingest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/ingest"
)

// Each element of "list" weighs almost as much as one value may, and costs
// little, because a text is compared with no number.
var heavySchema = `{"type": "object", "properties": {"id": {"type": "string"}, "list": {"items": {"if": {"enum": [` +
	strings.TrimSuffix(strings.Repeat("1,", 4900), ",") + `]}}}}, "kedge": {"id": "id"}}`

// The resources of a bulk share a budget of validation, and whatever is
// refused leaves no trace.
func TestBulkTooComplex(t *testing.T) {
	each(t, func(w *world) {
		w.schema(ingest.Schema{Group: "HR", Table: "heavy", Schema: json.RawMessage(heavySchema)})
		_, err := w.s.CreateIntegration(t.Context(), ingest.Integration{Name: "heavy-feed", Tables: []string{"hr_heavy"}})
		w.must(err)
		key := w.newKey("heavy-feed", "nightly", ingest.Rights{})
		resources := func(n int) string {
			var list []string
			for i := range n {
				list = append(list, fmt.Sprintf(`{"id": "%d", "list": [%s]}`, i, strings.TrimSuffix(strings.Repeat(`"x",`, 100), ",")))
			}
			return "[" + strings.Join(list, ",") + "]"
		}
		post := func(n int) answer {
			return w.send("POST", base+"/bulk-event/hr_heavy", resources(n), "X-Ingest-Key", key)
		}
		post(9).is(http.StatusRequestEntityTooLarge).says("too complex")
		if n := w.count("SELECT count(*) FROM ingest_resource"); n != 0 {
			t.Errorf("%d resources were stored", n)
		}
		post(8).is(http.StatusOK).has("created", 8)
	})
}

// Of many bad resources the first 20 are named, in order, whoever finds them.
func TestBulkOfBadResources(t *testing.T) {
	each(t, func(w *world) {
		list := strings.TrimSuffix(strings.Repeat(`{"employeeId": "x", "active": 1},`, 5000), ",")
		a := w.bulk("", "["+list+"]").is(http.StatusUnprocessableEntity)
		errs, _ := a.body["errors"].([]any)
		if len(errs) != 20 {
			t.Fatalf("%d errors: %.300s", len(errs), a.raw)
		}
		for i, e := range errs {
			if got, want := e.(map[string]any)["pointer"], fmt.Sprintf("/%d/active", i); got != want {
				t.Errorf("error %d is at %v, want %s", i, got, want)
			}
		}
	})
}
