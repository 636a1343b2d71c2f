package schema

import (
	"fmt"
	"maps"
	"slices"

	"github.com/kedge-sync/kedge/internal/jsonguard"
	"github.com/kedge-sync/kedge/internal/nearest"
)

// Metadata is the object named "kedge" or "resmo" in the root of a document.
// Paths are JSONPaths that begin with "$", or names with points between.
type Metadata struct {
	ID              string   // path of the id; required, declared as string or integer
	Name            string   // path of the name to show, or ""
	ImportantFields []string // paths of the fields to show
	Version         string   // path of a declared integer or date-time that grows with each change, or ""
	Indexes         []string // top-level scalars that are searched often
	Formats         bool     // assert the formats in [AssertedFormats]; else they are annotations
}

var metadataObjects = []string{"kedge", "resmo"}

var metadataKeys = []string{"id", "name", "importantFields", "version", "indexes", "formats"}

// readMetadata finds and reads the metadata object.
func readMetadata(root map[string]any) (Metadata, jsonguard.Faults) {
	var found []string
	for _, name := range metadataObjects {
		if _, ok := root[name]; ok {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		detail := `the root needs an object named "kedge" with the path of the id: "kedge": {"id": "employeeId"}`
		if len(found) > 1 {
			detail = `"kedge" and "resmo" are two names of one object: keep one of them`
		}
		return Metadata{}, jsonguard.Faults{{Detail: detail}}
	}
	r := metadataReader{pointer: "/" + found[0]}
	object, ok := root[found[0]].(map[string]any)
	if !ok {
		r.fault("", "must be an object")
		return Metadata{}, r.faults
	}
	r.object = object
	r.unknownKeys()
	m := Metadata{
		ID: r.text("id"), Name: r.text("name"), Version: r.text("version"),
		ImportantFields: r.texts("importantFields"), Indexes: r.texts("indexes"), Formats: r.flag("formats"),
	}
	if _, ok := object["id"]; !ok {
		r.fault("", `needs "id", the path of the field that identifies a resource`)
	}
	if len(m.Indexes) > MaxIndexes {
		r.fault("/indexes", fmt.Sprintf("at most %d", MaxIndexes))
	}
	return m, r.faults
}

type metadataReader struct {
	pointer string
	object  map[string]any
	faults  jsonguard.Faults
}

func (r *metadataReader) fault(below, detail string) {
	r.faults = append(r.faults, jsonguard.Fault{Pointer: r.pointer + below, Detail: detail})
}

func (r *metadataReader) unknownKeys() {
	for _, key := range slices.Sorted(maps.Keys(r.object)) {
		if slices.Contains(metadataKeys, key) {
			continue
		}
		detail := "unknown key"
		if near := nearest.Name(key, metadataKeys); near != "" {
			detail += fmt.Sprintf("; did you mean %q?", near)
		}
		r.fault(jsonguard.Token(key), detail)
	}
}

func (r *metadataReader) text(key string) string {
	v, ok := r.object[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok || s == "" {
		r.fault("/"+key, "must be a path: a string that is not empty")
	}
	return s
}

func (r *metadataReader) texts(key string) []string {
	v, ok := r.object[key]
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		r.fault("/"+key, "must be a list of paths")
	}
	var out []string
	for i, e := range list {
		s, ok := e.(string)
		if !ok || s == "" {
			r.fault(fmt.Sprintf("/%s/%d", key, i), "must be a path: a string that is not empty")
		}
		out = append(out, s)
	}
	return out
}

func (r *metadataReader) flag(key string) bool {
	v, ok := r.object[key]
	b, isBool := v.(bool)
	if ok && !isBool {
		r.fault("/"+key, "must be true or false")
	}
	return b
}
