package schema_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

const examples = "../../configs/ingest/"

// Each example of a schema is read without a warning, and so is the resource
// beside it.
func TestExamples(t *testing.T) {
	files, _ := filepath.Glob(examples + "*.schema.json")
	if len(files) < 2 {
		t.Fatalf("%d examples", len(files))
	}
	for _, file := range files {
		s := parse(t, read(t, file))
		if _, warnings := s.Columns(63); len(warnings)+len(s.Warnings()) > 0 {
			t.Errorf("%s: %v %v", file, s.Warnings(), warnings)
		}
		accept(t, s, read(t, strings.Replace(file, ".schema.json", ".json", 1)))
	}
	s := parse(t, read(t, examples+"employee.schema.json"))
	n := 0
	for e, err := range jsonguard.Elements([]byte(read(t, examples+"employees.json"))) {
		if err != nil {
			t.Fatal(err)
		}
		accept(t, s, string(e))
		n++
	}
	if n != 3 {
		t.Errorf("%d employees, want 3", n)
	}
}

func accept(t *testing.T, s *schema.Schema, resource string) {
	t.Helper()
	v, counts, err := jsonguard.Decode([]byte(resource), 0)
	if err == nil {
		err = s.Validate(v, &counts)
	}
	if err != nil {
		t.Fatal(err)
	}
	if id, err := s.Identify(v); err != nil || id.Name == "" || id.Version == "" {
		t.Errorf("%+v %v", id, err)
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
