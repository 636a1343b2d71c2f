package nearest

import "testing"

func TestName(t *testing.T) {
	names := []string{"name", "external", "modifiedAt", "fields"}
	for word, want := range map[string]string{
		"nam": "name", "NAME": "name", "exernal": "external", "extrenal": "external", "modifiedat": "modifiedAt",
		"field": "fields", "zzz": "", "": "", "fieldset": "fields",
	} {
		if got := Name(word, names); got != want {
			t.Errorf("Name(%q) = %q, want %q", word, got, want)
		}
	}
}
