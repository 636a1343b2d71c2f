// Command bench measures kedge against floors: the least programs that do the
// physical work of the same job, on the same machine, with the same
// durability. See README.md for what each row means.
//
//	go run ./bench [--rows N] [--pairs N] [--only NAME] [--peers] [--write]
//
// Everything that is measured runs in a process of its own, started by this
// one, because only so its memory and CPU time are known for sure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "serve":
			return serve(os.Args[2:])
		case "load":
			return load(os.Args[2:])
		case "receive":
			return receive(os.Args[2])
		case "micro":
			return micro(os.Args[2], os.Args[3:])
		}
	}
	b := &bench{}
	flag.IntVar(&b.rows, "rows", 1_000_000, "customers in the source")
	flag.IntVar(&b.pairs, "pairs", 3, "how often kedge and floor run in turn; medians count")
	flag.StringVar(&b.only, "only", "", "run only the groups whose name contains this, or one of several with commas: "+strings.Join(groupNames(), ", "))
	flag.BoolVar(&b.peers, "peers", false, "also install other programs in a temporary folder, and measure against them")
	write := flag.Bool("write", false, "write bench/RESULTS.md")
	flag.Parse()
	if b.rows < 100_000 || b.pairs < 1 {
		return errors.New("--rows must be at least 100000 and --pairs at least 1")
	}
	if !b.peers && strings.Contains(b.only, "peer") {
		return errors.New("peers are measured with --peers only: they are installed into a temporary folder")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b.ctx = ctx
	results, err := b.all()
	if err != nil {
		return err
	}
	text := table(results)
	fmt.Print(text)
	if *write {
		if err := b.writeResults(text); err != nil {
			return err
		}
	}
	for _, r := range results {
		if !r.OK {
			return errors.New("a budget is missed")
		}
	}
	return nil
}

// A bench is one run of this program.
type bench struct {
	ctx   context.Context
	rows  int
	pairs int
	only  string
	peers bool

	root    string // of the module
	dir     string // for everything that is made, removed at the end
	service *service
	cluster string // DSN of the PostgreSQL server, once it runs
	loads   map[engine]*loads
	kept    map[form]map[engine]*sink // full syncs in the other forms
	edited  struct{ some, percent bool }
	sinks   int
}

// A group is some rows of the table that are measured together.
type group struct {
	name string
	run  func(*bench) ([]row, error)
}

// groups are in the order in which they run. Those before "incremental" need
// the source as it was at first; "resync" comes last because it changes most.
var groups = []group{
	{"decode", microRows("decode")},
	{"filter", microRows("filter")},
	{"metadata", microRows("metadata")},
	{"writetx-sqlite", func(b *bench) ([]row, error) { return b.writeTx("writetx", sqlite) }},
	{"writetx-postgres", func(b *bench) ([]row, error) { return b.writeTx("writetx", postgres) }},
	{"capture-sqlite", func(b *bench) ([]row, error) { return b.writeTx("capture", sqlite) }},
	{"capture-postgres", func(b *bench) ([]row, error) { return b.writeTx("capture", postgres) }},
	{"read", microRows("read")},
	{"full-sqlite", func(b *bench) ([]row, error) { return b.full(sqlite) }},
	{"full-postgres", func(b *bench) ([]row, error) { return b.full(postgres) }},
	{"memory", (*bench).memory},
	{"links-sqlite", func(b *bench) ([]row, error) { return b.fullAs(withLinks, sqlite) }},
	{"links-postgres", func(b *bench) ([]row, error) { return b.fullAs(withLinks, postgres) }},
	{"both-sqlite", func(b *bench) ([]row, error) { return b.fullAs(bothWays, sqlite) }},
	{"both-postgres", func(b *bench) ([]row, error) { return b.fullAs(bothWays, postgres) }},
	{"state-sqlite", func(b *bench) ([]row, error) { return b.state(sqlite) }},
	{"state-postgres", func(b *bench) ([]row, error) { return b.state(postgres) }},
	{"push", (*bench).push},
	{"ingest", (*bench).ingest},
	{"deliver-sqlite", func(b *bench) ([]row, error) { return b.deliver(sqlite) }},
	{"deliver-postgres", func(b *bench) ([]row, error) { return b.deliver(postgres) }},
	{"odatatest", (*bench).serviceSpeed},
	{"incremental-sqlite", func(b *bench) ([]row, error) { return b.incremental(sqlite) }},
	{"incremental-postgres", func(b *bench) ([]row, error) { return b.incremental(postgres) }},
	{"resync-sqlite", func(b *bench) ([]row, error) { return b.resync(sqlite) }},
	{"resync-postgres", func(b *bench) ([]row, error) { return b.resync(postgres) }},
	{peerPrefix + "sqlite-utils", (*bench).sqliteUtils},
	{peerPrefix + "pouchdb", (*bench).pouchDB},
}

func groupNames() []string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.name
	}
	return names
}

// all measures the groups that were asked for.
func (b *bench) all() (results []row, err error) {
	if err := b.build(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.service, err = b.start(b.rows); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.service.stop()) }()
	for _, g := range groups {
		if !b.wants(g.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench:", g.name)
		rows, err := g.run(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", g.name, err)
		}
		for _, r := range rows {
			fmt.Fprintln(os.Stderr, r.line())
		}
		results = append(results, rows...)
	}
	return results, nil
}

// build compiles kedge and the floors into a new folder.
func (b *bench) build() (err error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return err
	}
	b.root = filepath.Dir(strings.TrimSpace(string(mod)))
	if b.dir, err = os.MkdirTemp("", "kedge-bench-"); err != nil {
		return err
	}
	b.loads = map[engine]*loads{}
	b.kept = map[form]map[engine]*sink{withLinks: {}, bothWays: {}}
	for name, pkg := range map[string]string{"kedge": "./cmd/kedge", "floor-sqlite": "./bench/floor/sqlite", "floor-postgres": "./bench/floor/postgres", "floor-hash": "./bench/floor/hash", "floor-push": "./bench/floor/push", "floor-ingest": "./bench/floor/ingest"} {
		cmd := exec.CommandContext(b.ctx, "go", "build", "-o", b.path(name), pkg)
		cmd.Dir, cmd.Stderr = b.root, os.Stderr
		if err := cmd.Run(); err != nil {
			return errors.Join(fmt.Errorf("go build %s: %w", pkg, err), os.RemoveAll(b.dir))
		}
	}
	return b.writeConfig()
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// wants tells whether a group was asked for.
func (b *bench) wants(group string) bool {
	if strings.HasPrefix(group, peerPrefix) && !b.peers {
		return false
	}
	return slices.ContainsFunc(strings.Split(b.only, ","), func(part string) bool { return strings.Contains(group, part) })
}
