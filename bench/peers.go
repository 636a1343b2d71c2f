package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

const (
	peerPrefix = "peer-"
	peerLead   = 3.0 // times the peer's rows per second
	peerRows   = 5000
)

// need fails if a program is missing that peers are installed or run with.
func need(programs ...string) error {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is missing: install nodejs and npm for PouchDB, python3, apt and dpkg for sqlite-utils, or run without --peers", p)
		}
	}
	return nil
}

// in runs a program that installs something in a folder.
func (b *bench) in(folder, program string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, program, args...)
	cmd.Dir = folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, args[0], err, out)
	}
	return nil
}

// sqliteUtils measures a full sync against a script with sqlite-utils.
func (b *bench) sqliteUtils() ([]row, error) {
	if err := need("apt-get", "dpkg", "python3"); err != nil {
		return nil, err
	}
	folder := b.path("sqlite-utils")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	packages := []string{"download", "-q", "sqlite-utils", "python3-click", "python3-click-default-group", "python3-tabulate", "python3-sqlite-fts4", "python3-dateutil", "python3-six", "python3-pluggy"}
	if err := b.in(folder, "apt-get", packages...); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.deb"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := b.in(folder, "dpkg", "-x", f, "root"); err != nil {
			return nil, err
		}
	}
	l, err := b.loaded(sqlite)
	if err != nil {
		return nil, err
	}
	p, err := b.inTurn(
		func() (usage, error) { return b.fullKedge(l, b.service) },
		func() (usage, error) {
			return b.loadScript(filepath.Join(folder, "root/usr/lib/python3/dist-packages"))
		})
	if err != nil {
		return nil, err
	}
	return []row{p.rate(fmt.Sprintf("full sync, %s OData rows → SQLite, ÷ sqlite-utils", thousands(b.rows)), peerLead)}, nil
}

func (b *bench) loadScript(modules string) (usage, error) {
	s, err := b.newSink(sqlite, nil)
	if err != nil {
		return usage{}, err
	}
	script := filepath.Join(b.root, "bench/peers/load.py")
	_, u, err := b.run([]string{"PYTHONPATH=" + modules}, "python3", script, b.service.URL+feed.Select, s.dsn)
	if err == nil {
		err = s.holds(b.ctx, b.service.State)
	}
	return u, errors.Join(err, b.drop(s))
}

// pouchDB measures one sync both ways against PouchDB.
func (b *bench) pouchDB() ([]row, error) {
	if err := need("node", "npm"); err != nil {
		return nil, err
	}
	folder := b.path("pouchdb")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	if err := b.in(folder, "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", "pouchdb@9", "express-pouchdb@4", "express@4"); err != nil {
		return nil, err
	}
	from, err := b.start(peerRows)
	if err != nil {
		return nil, err
	}
	defer from.stop()
	empty, err := b.emptyAs(bothWays, sqlite)
	if err != nil {
		return nil, err
	}
	s, _, err := b.loadAs(bothWays, empty, from)
	if err != nil {
		return nil, err
	}
	p, err := b.inTurn(
		func() (usage, error) { return b.editedBoth(s, from) },
		func() (usage, error) { return b.pouchScript(folder) })
	if err != nil {
		return nil, err
	}
	r := p.rate(fmt.Sprintf("two-way, %s rows edited, half on each side, ÷ PouchDB", thousands(peerRows)), peerLead)
	r.CPU = "" // the script tells the time of its sync only
	return []row{r}, nil
}

// editedBoth edits half of the rows on each side, and syncs.
func (b *bench) editedBoth(s *sink, from *service) (usage, error) {
	if err := from.change(peerRows / 2); err != nil { // these have odd numbers
		return usage{}, err
	}
	if err := s.edit(b.ctx, 2); err != nil {
		return usage{}, err
	}
	u, err := b.kedgeAs(bothWays, s, from, "sync", "bench")
	if err != nil {
		return u, err
	}
	if err := b.pushed(s, from, peerRows/2); err != nil {
		return u, err
	}
	_, err = b.kedgeAs(bothWays, s, from, "sync", "bench") // the echoes
	return u, err
}

func (b *bench) pouchScript(folder string) (u usage, err error) {
	data, err := os.MkdirTemp(folder, "data")
	if err != nil {
		return u, err
	}
	env := []string{"NODE_PATH=" + filepath.Join(folder, "node_modules")}
	server := exec.CommandContext(b.ctx, "node", filepath.Join(b.root, "bench/peers/serve.js"), data)
	server.Dir, server.Env, server.Stderr = data, append(os.Environ(), env...), os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		return u, err
	}
	if err := server.Start(); err != nil {
		return u, err
	}
	defer server.Wait()
	defer server.Process.Kill()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return u, fmt.Errorf("express-pouchdb does not start: %w", err)
	}
	text, u, err := b.run(env, "node", filepath.Join(b.root, "bench/peers/sync.js"), data, strings.TrimSpace(url), fmt.Sprint(peerRows))
	if err != nil {
		return u, err
	}
	var ms int64
	err = json.Unmarshal(text, &ms)
	u.wall = time.Duration(ms) * time.Millisecond
	return u, err
}
