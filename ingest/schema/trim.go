package schema

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// The validator makes an error for each failed check and cannot be told to
// stop, so a large resource could cost hundreds of megabytes of errors. Above
// detailWork only "valid or not" is asked first, and details are sought in
// what is left when containers are cut to trimTo.
const (
	detailWork = 100_000
	trimTo     = 100
)

// largeFaults returns faults of a resource that is known not to match.
func (s *Schema) largeFaults(v any) jsonguard.Faults {
	t := trimmer{}
	small := t.trim("", v)
	var out jsonguard.Faults
	for _, f := range s.allFaults(small) {
		if !t.touches(v, f) {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		out = jsonguard.Faults{{Detail: "does not match the schema, and is too large to say where"}}
	}
	return out
}

// A trimmer cuts containers and remembers which.
type trimmer struct{ cut []string }

func (t *trimmer) trim(pointer string, v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) > trimTo {
			t.cut = append(t.cut, pointer)
		}
		out := make([]any, min(len(v), trimTo))
		for i := range out {
			out[i] = t.trim(pointer+"/"+strconv.Itoa(i), v[i])
		}
		return out
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		if len(v) > trimTo {
			t.cut, names = append(t.cut, pointer), names[:trimTo]
		}
		out := make(map[string]any, len(names))
		for _, name := range names {
			out[name] = t.trim(pointer+jsonguard.Token(name), v[name])
		}
		return out
	}
	return v
}

// touches reports whether a fault may come from the cutting: a container at or
// below its value was cut, or its value is a member that was.
func (t *trimmer) touches(whole any, f jsonguard.Fault) bool {
	if strings.HasPrefix(f.Detail, required) && present(whole, f.Pointer) {
		return true
	}
	return slices.ContainsFunc(t.cut, func(cut string) bool {
		return cut == f.Pointer || strings.HasPrefix(cut, f.Pointer+"/")
	})
}

// present reports whether the object around the value at a pointer has it.
func present(v any, pointer string) bool {
	i := strings.LastIndexByte(pointer, '/')
	object, _ := lookup(v, pointer[:i]).(map[string]any)
	_, ok := object[unescapePointer.Replace(pointer[i+1:])]
	return ok
}
