package odatatest

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The service must not share code with the connector that is tested against
// it, and must not bring testing into the binary.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/kedge-sync/kedge/connectors/filter") {
		t.Error("connectors/filter is not among the dependencies; the list is not what it should be")
	}
	for _, dep := range deps {
		if strings.Contains(dep, "connectors/odata") || strings.Contains(dep, "conntest") || dep == "testing" || dep == "net/http/httptest" {
			t.Errorf("depends on %s", dep)
		}
	}
}
