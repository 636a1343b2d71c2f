package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
)

// A site is a folder with a config, its database, and a sample service of 30
// customers, which are read and stored ten at a time.
type site struct {
	t       *testing.T
	dir     string
	dsn     string
	url     string // of the service
	service *odatatest.Service
	gate    *gate
}

const siteMapping = `kedge: mapping/v1
entities:
  - name: customers
    external: customers
    local: customer
    key: [{external: "No", local: "no", primary: true}]
    fields: [{external: Name, local: name}]
`

func newSite(t *testing.T, dsn string) *site {
	service := odatatest.New(odatatest.Options{Rows: 30})
	s := &site{t: t, dir: t.TempDir(), dsn: dsn, service: service, gate: &gate{next: service.Handler()}}
	srv := httptest.NewServer(s.gate)
	t.Cleanup(srv.Close)
	t.Cleanup(s.gate.release)
	s.url = srv.URL + service.Root()
	s.write("kedge.yaml", fmt.Sprintf(`version: 1
store: {dsn: %q}
sync: {commitRows: 10}
connections:
  crm: {kind: odata, url: %q, pageSize: 10}
  local: {kind: sqltable, dsn: kedge, entities: {customer: {create: true}}}
integrations:
  - {name: crm, external: crm, mapping: crm.yaml}
`, dsn, s.url))
	s.write("crm.yaml", siteMapping)
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// A gate lets a number of requests for later pages pass and holds the next
// until it is released.
type gate struct {
	next http.Handler

	mu   sync.Mutex
	shut bool
	pass int           // later pages that may pass yet
	open chan struct{} // closed by release
	held chan struct{} // closed when a request waits
}

func (g *gate) hold(after int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.pass, g.open, g.held = true, after, make(chan struct{}), make(chan struct{})
}

// await returns when a request waits.
func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.held:
	case <-time.After(time.Minute):
		t.Fatal("no later page was asked for")
	}
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		close(g.open)
		g.shut = false
	}
}

// ServeHTTP waits if it must, and passes the request on.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if open := g.waits(r.URL); open != nil {
		select {
		case <-open:
		case <-r.Context().Done():
			return
		}
	}
	g.next.ServeHTTP(w, r)
}

func (g *gate) waits(u *url.URL) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.shut || !u.Query().Has("$skiptoken") {
		return nil
	}
	if g.pass--; g.pass == -1 {
		close(g.held)
	}
	if g.pass >= 0 {
		return nil
	}
	return g.open
}

// A process is a running kedge.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err lines
}

// start starts kedge in the site's folder.
func (s *site) start(args ...string) *process {
	s.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	p := &process{t: s.t, cmd: exec.CommandContext(ctx, exe, args...)}
	p.cmd.Args[0] = "kedge" // which testscript runs as the command
	p.cmd.Dir = s.dir
	p.out.wake, p.err.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait() // it was waited for, or it is killed
	})
	return p
}

// A lines collects what a process writes.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	wake chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns when the text was written.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.wake:
		case <-t.Context().Done():
			t.Fatalf("no %q in %q", text, l.String())
		case <-time.After(time.Minute):
			t.Fatalf("no %q in %q", text, l.String())
		}
	}
}

func (p *process) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the end of the process and compares its exit code.
func (p *process) ends(code int) {
	p.t.Helper()
	err := p.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		p.t.Fatal(exit, err)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("%q: exit code %d, want %d\n%s%s", p.cmd.Args, got, code, p.out.String(), p.err.String())
	}
}

// kedge runs kedge to its end and returns what it wrote.
func (s *site) kedge(code int, args ...string) (out, errOut string) {
	s.t.Helper()
	p := s.start(args...)
	p.ends(code)
	return p.out.String(), p.err.String()
}

// open opens the database of the site.
func (s *site) open() *store.Store {
	s.t.Helper()
	db, err := store.Open(s.t.Context(), s.dsn, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := db.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return db
}

// reaches waits until a query's number has a value: until so many rows are
// committed.
func (s *site) reaches(db *store.Store, query string, want int) {
	s.t.Helper()
	for {
		var got int
		err := db.DB().QueryRowContext(s.t.Context(), query).Scan(&got)
		if err == nil && got == want {
			return
		}
		if ctx := s.t.Context(); ctx.Err() != nil {
			s.t.Fatalf("%s: got %d, want %d (%v)", query, got, want, err)
		}
	}
}

// count compares a query's number.
func (s *site) count(db *store.Store, query string, want int) {
	s.t.Helper()
	var got int
	if err := db.DB().QueryRowContext(s.t.Context(), query).Scan(&got); err != nil || got != want {
		s.t.Errorf("%s: got %d, %v, want %d", query, got, err, want)
	}
}

// served returns the address of a server that was started, once it is ready.
func (p *process) served() string {
	p.t.Helper()
	p.out.await(p.t, "kedge listens on ")
	url := regexp.MustCompile(`listens on (\S+)\n`).FindStringSubmatch(p.out.String())[1]
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for status := 0; status != http.StatusOK; {
		select {
		case <-p.t.Context().Done():
			p.t.Fatalf("%s is not ready: %s", url, p.err.String())
		case <-poll.C:
		}
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			p.t.Fatal(err)
		}
		resp.Body.Close()
		status = resp.StatusCode
	}
	return url
}
