package wire

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kedge-sync/kedge"
)

// golden is a case of testdata/odata/delta: an answer to a delta link in a form
// that a document shows, and what it says.
type golden struct {
	Source  string          `json:"source"` // document and section
	Set     string          `json:"set"`
	Answer  json.RawMessage `json:"answer"`
	Want    []goldenRecord  `json:"want"`
	Reread  []kedge.Key     `json:"reread"`
	Skipped int             `json:"skipped"`
}

type goldenRecord struct {
	Key     kedge.Key          `json:"key"`
	Removed string             `json:"removed"`
	Values  map[string]*string `json:"values"` // null is null; fields that are not there are missing
}

func deltaPlan(t testing.TB) *Plan {
	cols := []Column{
		{Path: "No", Type: kedge.TypeString}, {Path: "Name", Type: kedge.TypeString}, {Path: "Amount", Type: kedge.TypeDecimal},
	}
	return newPlan(t, Spec{Set: "customers", Columns: cols, Key: cols[:1], Delta: true, Navigations: []string{"Manager"}})
}

func TestGoldenDeltas(t *testing.T) {
	files, err := filepath.Glob("../../../testdata/odata/delta/*.json")
	if err != nil || len(files) < 15 {
		t.Fatalf("%d golden files (%v), want at least 15", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var g golden
			if err := json.Unmarshal(body, &g); err != nil {
				t.Fatal(err)
			}
			if g.Source == "" {
				t.Error("the case does not name its source")
			}
			page, err := deltaPlan(t).Decode(string(g.Answer), 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range page.Rejected {
				t.Errorf("rejected: %v", bad.Err)
			}
			checkGolden(t, &g, page)
		})
	}
}

func checkGolden(t *testing.T, g *golden, page *Page) {
	t.Helper()
	if page.DeltaLink == "" {
		t.Error("no delta link")
	}
	if !slices.Equal(page.Reread, g.Reread) || page.Skipped != g.Skipped || len(page.Records) != len(g.Want) {
		t.Fatalf("got %d records, reread %v, skipped %d; want %d, %v, %d", len(page.Records), page.Reread, page.Skipped, len(g.Want), g.Reread, g.Skipped)
	}
	for i, want := range g.Want {
		r := page.Records[i]
		removed := ""
		if r.Removed != kedge.Live {
			removed = r.Removed.String()
		}
		if r.Key != want.Key || removed != want.Removed {
			t.Errorf("record %d: got key %q, removed %q; want %q, %q", i, r.Key, removed, want.Key, want.Removed)
		}
		for _, name := range r.Fields.Names() {
			text, sent := want.Values[name]
			v := r.Get(name)
			switch {
			case !sent && !v.IsMissing(), sent && text == nil && !v.IsNull(), text != nil && v.Text() != *text:
				t.Errorf("record %d, field %s: got %v %q", i, name, v.Type(), v.Text())
			}
		}
	}
}
