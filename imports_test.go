package kedge_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// layers lists the packages of the module from the bottom up. A package may
// import packages of lower layers only; a folder stands for all below it that
// are not named themselves, and packages of one folder may import each other.
var layers = [][]string{
	{"", "internal/nearest"},
	{"connectors/filter", "internal/httpapi", "internal/httpclient", "internal/jsonguard", "internal/store", "internal/signature"},
	{"connectors", "internal/sqllist"},
	{"connectors/memory", "connectors/odata", "connectors/sqltable", "connectors/conntest", "mapping", "internal/odatatest"},
	{"ingest", "subscriptions", "syncer"},
	{"cmd/kedge"},
	{"bench", "e2e", "internal/docgen"},
}

func TestImports(t *testing.T) {
	const module = "github.com/kedge-sync/kedge"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		from, folder := layerOf(strings.TrimPrefix(strings.TrimPrefix(f[0], module), "/"))
		if from < 0 {
			t.Errorf("%s is in no layer; add it to layers", f[0])
			continue
		}
		seen++
		for _, imp := range f[1:] {
			rel, own := strings.CutPrefix(imp, module)
			if !own {
				if from == 0 && strings.Contains(imp, ".") {
					t.Errorf("%s must import the standard library only, not %s", f[0], imp)
				}
				continue
			}
			to, target := layerOf(strings.TrimPrefix(rel, "/"))
			if to >= from && target != folder {
				t.Errorf("%s must not import %s: its layer is not lower", f[0], imp)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages were checked", seen)
	}
}

// layerOf returns the layer of a package, and the folder that it is listed by.
func layerOf(rel string) (layer int, folder string) {
	for name := rel; ; name = name[:max(0, strings.LastIndexByte(name, '/'))] {
		if i := slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, name) }); i >= 0 && (name != "" || rel == "") {
			return i, name
		}
		if name == "" {
			return -1, ""
		}
	}
}
