package schema_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// Whatever is saved can be saved again, and no resource that is small enough
// for it takes 2 s to validate. Payloads are stretched to a twentieth of the
// most work, which must not take a twentieth of that time.
func FuzzSchema(f *testing.F) {
	f.Add([]byte(employee), []byte(`{"employeeId": "1"}`))
	for _, h := range hostiles {
		if len(h.schema) < 4000 {
			f.Add([]byte(h.schema), []byte(h.payload(3)))
		}
	}
	files, _ := filepath.Glob("testdata/keywords/*.json")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		v, _, err := jsonguard.Decode(data, 0)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range v.([]any) {
			values := append(c.(map[string]any)["valid"].([]any), c.(map[string]any)["invalid"].([]any)...)
			f.Add(document(encode(c.(map[string]any)["schema"]), `, "formats": true`), append(append([]byte(`{"id": "1", "v": `), encode(values[0])...), '}'))
		}
	}
	f.Fuzz(func(t *testing.T, doc, value []byte) {
		var s *schema.Schema
		var err error
		if took := cpu(func() { s, err = schema.Parse(doc) }); took > slowdown*500*time.Millisecond {
			t.Fatalf("saving took %v", took)
		}
		if err != nil {
			if _, ok := errors.AsType[jsonguard.Faults](err); !ok {
				t.Fatalf("%v says no fault", err)
			}
			return
		}
		again, err := schema.Parse(s.Effective())
		if err != nil || schema.Compare(s, again).Level != schema.Same {
			t.Fatalf("the effective document is another schema: %v", err)
		}
		s.Columns(63)
		v, counts, err := jsonguard.Decode(value, 0)
		if err != nil {
			return
		}
		checkTime(t, s, v, &counts)
		if v, counts, ok := stretch(s, v); ok {
			checkTime(t, s, v, &counts)
		}
	})
}

func checkTime(t *testing.T, s *schema.Schema, v any, counts *jsonguard.Counts) {
	t.Helper()
	var err error
	took := cpu(func() { err = s.Validate(v, counts) })
	if took > 100*time.Millisecond { // once more: other work may have disturbed it
		took = min(took, cpu(func() { err = s.Validate(v, counts) }))
	}
	if took > 100*time.Millisecond && took > slowdown*2*time.Second*time.Duration(s.Work(counts))/schema.MaxWork {
		t.Fatalf("validating took %v for work %d", took, s.Work(counts))
	}
	if k := kedge.KindOf(err); err != nil && k != kedge.Invalid && k != kedge.TooLarge {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[jsonguard.Faults](err); err != nil && !ok {
		t.Fatalf("%v says no fault", err)
	}
}

// stretch repeats the elements of arrays and the members of objects until the
// work is a twentieth of the most.
func stretch(s *schema.Schema, v any) (any, jsonguard.Counts, bool) {
	best, ok := jsonguard.Counts{}, false
	var out any
	for times := 2; times < 1<<14; times *= 4 {
		text := encode(repeat(v, times))
		if len(text) > 1<<20 {
			break
		}
		longer, counts, err := jsonguard.Decode(text, 0)
		if err != nil || s.Work(&counts) > schema.MaxWork/20/slowdown {
			break
		}
		out, best, ok = longer, counts, true
	}
	return out, best, ok
}
