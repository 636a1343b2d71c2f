package main

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kedge": main})
}

// TestScripts runs every script with SQLite.
func TestScripts(t *testing.T) {
	runScripts(t, "testdata/*.txt", "sqlite:kedge.db")
}

// TestScriptsPostgres runs the main stories with PostgreSQL.
func TestScriptsPostgres(t *testing.T) {
	for _, story := range []string{"import", "sync", "faults", "quarantine", "deletes", "reset", "create", "tables", "technical", "twoway", "jobs", "subscriptions", "subscribers"} {
		t.Run(story, func(t *testing.T) {
			t.Parallel()
			runScripts(t, "testdata/"+story+".txt", storetest.PostgresDSN(t))
		})
	}
}

// runScripts runs scripts that find the DSN of kedge's database as $DSN, and
// the commands of script_commands_test.go.
func runScripts(t *testing.T, pattern, dsn string) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts %s: %v", pattern, err)
	}
	configs, err := filepath.Abs("../../configs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files:              files,
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("DSN", dsn)
			env.Setenv("USER", "tester")
			env.Setenv("CONFIGS", configs)
			env.Values["services"] = map[string]*odatatest.Service{}
			env.Values["servers"] = map[string]*served{}
			env.Values["listeners"] = map[string]*listener{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "serve": serve, "servebc": servebc, "demo": demo, "page": page, "put": put, "spoil": spoil, "mend": mend,
			"delete": deleteRows, "sql": query, "capture": capture, "hides": hides,
			"kserve": kserve, "kstop": kstop, "khup": khup, "klog": klog, "call": call, "certificate": certificate, "klisten": klisten, "kheard": kheard, "await": await,
		},
	})
}
