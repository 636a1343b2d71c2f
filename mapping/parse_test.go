package mapping_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
)

var values = cmp.Comparer(func(a, b kedge.Value) bool { return a == b })

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, src string) *mapping.Mapping {
	t.Helper()
	m, err := mapping.Parse("m.yaml", []byte(src))
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return m
}

func TestCanonicalForm(t *testing.T) {
	m := parse(t, string(readFile(t, "testdata/bc.yaml")))
	want := string(readFile(t, "testdata/bc.canonical.yaml"))
	if diff := cmp.Diff(want, string(m.Marshal())); diff != "" {
		t.Errorf("Marshal (-want +got):\n%s", diff)
	}
	again := parse(t, want)
	if diff := cmp.Diff(m, again, values); diff != "" {
		t.Errorf("Parse of Marshal (-want +got):\n%s", diff)
	}
}

// head starts a file with one entity, whose fields follow.
const head = "kedge: mapping/v1\nentities:\n  - external: A\n    local: b\n"

func TestParseErrors(t *testing.T) {
	field := func(s string) string { return head + "    fields:\n      - " + s + "\n" }
	for _, tt := range []struct{ name, src, want string }{
		{"empty", "", "m.yaml:1:1: the file is empty"},
		{"comment only", "# nothing\n", "m.yaml:1:1: the file is empty"},
		{"not an object", "- a\n", "m.yaml:1:1: must be an object of keys and values"},
		{"no version", "entities: [{external: A, local: b}]\n", `m.yaml:1:1: key "kedge" is missing`},
		{"other version", "kedge: mapping/v2\n", "m.yaml:1:8: kedge: must be mapping/v1, the only version of the format"},
		{"unknown key", "kedge: mapping/v1\nentitys: []\n", `m.yaml:2:1: unknown key "entitys"; did you mean "entities"?`},
		{"unknown entity key", head + "    downloadfilter: x\n", `m.yaml:5:5: entities[0]: unknown key "downloadfilter"; did you mean "downloadFilter"?`},
		{"unknown field key", field("{extrenal: A, local: b}"), `m.yaml:6:10: entities[0].fields[0]: unknown key "extrenal"; did you mean "external"?`},
		{"nothing like it", head + "    zzzzzz: x\n", `m.yaml:5:5: entities[0]: unknown key "zzzzzz"`},
		{"duplicate key", "kedge: mapping/v1\nkedge: mapping/v1\n", `m.yaml:2:1: key "kedge" is there twice`},
		{"duplicate key in flow", field("{external: A, external: B, local: b}"), `m.yaml:6:23: entities[0].fields[0]: key "external" is there twice`},
		{"duplicate key, other quotes", "kedge: mapping/v1\n\"kedge\": mapping/v1\n", `m.yaml:2:1: key "kedge" is there twice`},
		{"anchor", "kedge: &v mapping/v1\n", "m.yaml:1:8: YAML anchors and aliases are not allowed; write the value out"},
		{"alias", "kedge: *v\n", "m.yaml:1:8: YAML anchors and aliases are not allowed; write the value out"},
		{"tag", "kedge: !!str mapping/v1\n", "m.yaml:1:8: YAML tags are not allowed; put text in quotes instead"},
		{"merge key", "kedge: mapping/v1\n<<: {}\n", "m.yaml:2:1: YAML merge keys are not allowed; write the keys out"},
		{"complex key", "? kedge\n: mapping/v1\n", `m.yaml:1:1: keys that start with "? " are not allowed`},
		{"two documents", "kedge: mapping/v1\n---\nkedge: mapping/v1\n", "m.yaml:3:6: a mapping file is one YAML document; this starts a second one"},
		{"syntax", "kedge: [\n", "m.yaml:1:8: not valid YAML: sequence end token ']' not found"},
		{"not UTF-8", "kedge: \xff\n", "m.yaml:1:1: the file is not UTF-8"},
		{"null text", "kedge: mapping/v1\nentities: [{external: , local: b}]\n", "entities[0].external: must be a text"},
		{"no external", "kedge: mapping/v1\nentities: [{local: b}]\n", `entities[0]: key "external" is missing`},
		{"empty list", "kedge: mapping/v1\nentities: []\n", "m.yaml:2:11: entities: must be a list with at least one item"},
		{"bad choice", "kedge: mapping/v1\ndrift: wran\n", `m.yaml:2:8: drift: must be one of warn, hold, adopt; did you mean "warn"?`},
		{"bad flag", head + "    enabled: yes\n", "m.yaml:5:14: entities[0].enabled: must be true or false"},
		{"bad duration", head + "    reconcileEvery: 2 weeks\n", "entities[0].reconcileEvery: must be a duration like 90s, 15m, 168h, 7d or 10y"},
		{"bad number", head + "    deletes: {maxPercent: 101}\n", "entities[0].deletes.maxPercent: must be a number from 0 to 100"},
		{"bad compare", field("{external: A, local: b, compare: round:19}"), "entities[0].fields[0].compare: must be one of exact, trim, nocase, or round:N with N from 0 to 18; did you mean \"round:2\"?"},
		{"bad type", field("{external: A, local: b, type: integer}"), "must be one of bool, int, float, decimal, string, time, date, bytes, json"},
		{"octal", field("{external: A, local: b, default: 010}"), "means different things to different YAML readers"},
		{"yes", field("{local: b, constant: yes}"), "means different things to different YAML readers"},
		{"hex", field("{local: b, constant: 0x1F}"), "means different things to different YAML readers"},
		{"two kinds", field("{external: A, local: b, values: {x: 1}, lookup: {entity: b}}"), "has lookup and values; a field has at most one of them"},
		{"constant with external", field("{external: A, local: b, constant: 1}"), `has "constant", which reads no external field; take "external" out`},
		{"nothing to read", field("{local: b}"), `key "external" is missing`},
		{"two externals", field("{external: [A, B], local: b}"), "has several external fields, which only a lookup can have"},
		{"lookup counts", field("{external: [A, B], local: b, lookup: {entity: b, fields: X}}"), "lookup has 1 fields for 2 external ones"},
		{"default missing", field("{external: A, local: b, onError: default}"), `onError: default needs "default"`},
		{"otherwise alone", field("{external: A, local: b, otherwise: keep}"), `"otherwise" needs "values"`},
		{"empty expr", field("{external: A, local: b, expr: {}}"), `expr: needs "download" or "upload"`},
		{"null map key", field("{external: A, local: b, values: {~: 1}}"), `must be a text; a null value is filled by "default"`},
		{"map key twice", field(`{external: A, local: b, values: {1: 1, "1": 2}}`), `value "1" is there twice`},
		{"newest without stamps", head + "    conflict: newest_wins\n", "newest_wins needs conflict.modified"},
		{"field newest without stamps", field("{external: A, local: b, conflict: newest_wins}"), "newest_wins needs conflict.modified"},
		{"soft without mark", head + "    deletes: {download: soft}\n", `soft needs "soft"`},
		{"half a primary key", head + "    key: [{external: A, local: b, primary: true}, {external: C, local: d}]\n", "primary must be on all pairs of the key or on none"},
		{"one name twice", head + "  - external: C\n    local: b\n", `m.yaml:5:5: entities[1]: name "b" is already that of entities[0]; give one of them another name`},
		{"control character", field(`{external: "A\x01", local: b}`), "holds control characters"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := mapping.Parse("m.yaml", []byte(tt.src))
			if err == nil {
				t.Fatalf("Parse gave %+v, want an error with %q", m, tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse: %v\nwant %s", err, tt.want)
			}
			if got := kedge.KindOf(err); got != kedge.Invalid {
				t.Errorf("kind = %v, want invalid", got)
			}
		})
	}
}

// All problems of a file are told at once, in file order.
func TestParseTellsAllProblems(t *testing.T) {
	_, err := mapping.Parse("m.yaml", []byte("kedge: mapping/v1\ndrift: x\nentities:\n  - {external: A, local: b, direction: down}\n  - {external: A}\n"))
	want := "m.yaml:2:8: drift: must be one of warn, hold, adopt\n" +
		"m.yaml:4:40: entities[0].direction: must be one of download, upload, bidirectional\n" +
		"m.yaml:5:5: entities[1]: key \"local\" is missing"
	if err == nil || err.Error() != want {
		t.Errorf("Parse: %v\nwant:\n%s", err, want)
	}
}

func TestPolicyAliases(t *testing.T) {
	for alias, want := range map[string]mapping.Policy{
		"Server Wins": mapping.RemoteWins, "server_wins": mapping.RemoteWins, "remote_wins": mapping.RemoteWins,
		"Device Wins": mapping.LocalWins, "DEVICE WINS": mapping.LocalWins, "Device Wins (Full)": mapping.LocalWinsFull,
		"device_wins_full": mapping.LocalWinsFull, "Manual Action": mapping.Manual, "manual": mapping.Manual,
	} {
		m := parse(t, head+"    conflict: {policy: "+alias+"}\n    fields: [{external: A, local: a, conflict: "+alias+"}]\n")
		if got := m.Entities[0].Conflict.Policy; got != want {
			t.Errorf("policy %q = %q, want %q", alias, got, want)
		}
		if got := string(m.Marshal()); strings.Contains(strings.ToLower(got), "wins (") || want != mapping.RemoteWins && !strings.Contains(got, "policy: "+string(want)) {
			t.Errorf("policy %q is written as:\n%s", alias, got)
		}
		short := parse(t, head+"    conflict: "+alias+"\n")
		if got := short.Entities[0].Conflict.Policy; got != want {
			t.Errorf("conflict: %q = %q, want %q", alias, got, want)
		}
	}
}

func TestExternalMayBeTextOrList(t *testing.T) {
	one := parse(t, head+"    fields: [{external: X, local: x}]\n")
	list := parse(t, head+"    fields: [{external: [X], local: x}]\n")
	if diff := cmp.Diff(one, list, values); diff != "" {
		t.Errorf("a list of one differs from a text:\n%s", diff)
	}
}

func TestDurations(t *testing.T) {
	for _, tt := range []struct{ in, out string }{
		{"90s", "90s"}, {"60s", "1m"}, {"15m", "15m"}, {"168h", "168h"}, {"7d", "168h"}, {"10y", "87600h"}, {"1500ms", "1500ms"},
	} {
		m := parse(t, head+"    reconcileEvery: "+tt.in+"\n")
		if got := string(m.Marshal()); !strings.Contains(got, "reconcileEvery: "+tt.out+"\n") {
			t.Errorf("%s is written as:\n%s\nwant %s", tt.in, got, tt.out)
		}
	}
	for _, bad := range []string{"-1s", "1.5h", "01s", "s", "1", "1w", "300y", "9999999999999999999s"} {
		if _, err := mapping.Parse("m.yaml", []byte(head+"    reconcileEvery: "+bad+"\n")); err == nil {
			t.Errorf("duration %q was accepted", bad)
		}
	}
}

// Each limit holds at the limit and refuses one past it.
func TestLimits(t *testing.T) {
	repeat := func(n int, f func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(f(i))
		}
		return b.String()
	}
	names := func(n int) string {
		return "[" + strings.TrimSuffix(repeat(n, func(i int) string { return fmt.Sprintf("F%d, ", i) }), ", ") + "]"
	}
	for _, tt := range []struct {
		name  string
		limit int
		src   func(n int) string
		want  string
	}{
		{"file", mapping.MaxFile, func(n int) string { return head + strings.Repeat("#", n-len(head)) }, "the file is longer than"},
		{"entities", mapping.MaxEntities, func(n int) string {
			return "kedge: mapping/v1\nentities:\n" + repeat(n, func(i int) string { return fmt.Sprintf("  - {external: A, local: b%d}\n", i) })
		}, "entities: more than 500 items"},
		{"fields", mapping.MaxFields, func(n int) string {
			return head + "    fields:\n" + repeat(n, func(i int) string { return fmt.Sprintf("      - {external: A, local: b%d}\n", i) })
		}, "fields: more than 2000 items"},
		{"key parts", mapping.MaxKeyParts, func(n int) string {
			return head + "    key:\n" + repeat(n, func(i int) string { return fmt.Sprintf("      - {external: A%d, local: b%d}\n", i, i) })
		}, "key: more than 8 items"},
		{"alternate key parts", mapping.MaxKeyParts, func(n int) string {
			return head + "    alternateKeys:\n    -\n" + repeat(n, func(i int) string { return fmt.Sprintf("      - {external: A%d, local: b%d}\n", i, i) })
		}, "alternateKeys[0]: more than 8 items"},
		{"lookup fields", mapping.MaxKeyParts, func(n int) string {
			return head + "    fields: [{external: " + names(n) + ", local: x, lookup: {entity: b}}]\n"
		}, "external: more than 8 items"},
		{"values", mapping.MaxValues, func(n int) string {
			return head + "    fields:\n      - external: A\n        local: b\n        values:\n" + repeat(n, func(i int) string { return fmt.Sprintf("          v%d: 1\n", i) })
		}, "values: more than 10000 values"},
		{"filter", mapping.MaxFilter, func(n int) string { return head + "    downloadFilter: \"" + strings.Repeat("x", n) + "\"\n" }, "downloadFilter: longer than 8192 bytes"},
		{"upload filter", mapping.MaxFilter, func(n int) string { return head + "    uploadFilter: \"" + strings.Repeat("x", n) + "\"\n" }, "uploadFilter: longer than 8192 bytes"},
		{"expression", mapping.MaxExpression, func(n int) string {
			return head + "    fields: [{external: A, local: b, expr: {download: \"" + strings.Repeat("x", n) + "\"}}]\n"
		}, "expr.download: longer than 4096 bytes"},
		{"entity name", 100, func(n int) string { return head + "    name: " + strings.Repeat("x", n) + "\n" }, "name: longer than 100 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := mapping.Parse("m.yaml", []byte(tt.src(tt.limit))); err != nil {
				t.Errorf("at the limit: %v, want nil", err)
			}
			_, err := mapping.Parse("m.yaml", []byte(tt.src(tt.limit+1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("one past the limit: %v, want %s", err, tt.want)
			}
		})
	}
}

// The YAML parser takes time that grows with the square of the nesting, so
// deep files must not reach it.
func TestDeepNesting(t *testing.T) {
	for _, open := range []string{"[", "{a: ", "- ", "? ", "a:\n "} {
		_, err := mapping.Parse("m.yaml", []byte(strings.Repeat(open, mapping.MaxFile/8/len(open))))
		if err == nil {
			t.Errorf("a file of %q was accepted", open)
		}
	}
}

func TestDeepBlocks(t *testing.T) {
	for _, line := range []string{"a:", "-"} {
		var b strings.Builder
		for i := 0; b.Len() < mapping.MaxFile/8; i++ {
			b.WriteString(strings.Repeat(" ", i) + line + "\n")
		}
		if _, err := mapping.Parse("m.yaml", []byte(b.String())); err == nil {
			t.Errorf("a deep file of %q was accepted", line)
		}
	}
}

// The same holds for the keys of one object.
func TestLargeObject(t *testing.T) {
	for _, line := range []string{"a: b\n", "a:\n", "a: {b: c}\n", "{a: b, ", "a: [b]\n"} {
		_, err := mapping.Parse("m.yaml", []byte(strings.Repeat(line, mapping.MaxFile/8/len(line))))
		if err == nil {
			t.Errorf("a file of %q was accepted", line)
		}
	}
}
