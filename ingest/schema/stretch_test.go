package schema_test

import (
	"encoding/json"
	"fmt"
	"strings"
)

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // values come from JSON
	}
	return data
}

// repeat returns v with more of everything: the first array or text that is
// found becomes longer, and the object at the root gets more members.
func repeat(v any, times int) any {
	switch v := v.(type) {
	case string:
		return strings.Repeat(v, times)
	case []any:
		var out []any
		for range times {
			out = append(out, v...)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, e := range v {
			out[name] = e
			switch e.(type) {
			case []any, map[string]any:
				out[name] = repeat(e, times)
			default:
				for i := range min(times, 3000) / max(1, len(v)) {
					out[fmt.Sprintf("%s%d", name, i)] = e
				}
			}
		}
		return out
	}
	return v
}
