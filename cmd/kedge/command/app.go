package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/jobs"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/memory"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/syncer"
)

// An app is what the commands share: the flags, and what is opened on first
// use.
type app struct {
	configPath string
	output     string
	json       bool
	noMigrate  bool
	prompt     bool // a person may be asked to sign in
	serving    bool // the command is "kedge serve"
	patient    bool // the command runs integrations: a system that is down may come back

	cfg       *config.Config
	store     *store.Store
	syncer    *syncer.Syncer
	push      *pusher       // nil until it was asked for, or if nothing can be subscribed
	unread    mappingErrors // what is wrong with mappings of the config
	progress  func(syncer.Progress)
	ended     func(syncer.Result) // is told how runs ended; nil: nobody is
	waits     *waitLines
	log       *slog.Logger   // of a server
	level     *slog.LevelVar // of log
	quick     *app           // of a server: the same for calls that a person waits for
	endTraces func()         // sends the last spans; nil: there are none
}

// registry returns the kinds of systems that kedge knows. A new kind is one
// line here.
func registry() *connectors.Registry { return new(app).registry() }

func (a *app) registry() *connectors.Registry {
	return connectors.NewRegistry(
		memory.Kind(),
		odata.Kind(),
		sqltable.KindWith(a.pushedViews),
	)
}

// migrations are the steps that make kedge's own tables.
func migrations() []store.Migration {
	return slices.Concat(store.Migrations(), connectionMigrations(), server.TokenMigrations(), sqltable.Migrations(), syncer.Migrations(), ingest.Migrations(), subscriptions.Migrations(), jobs.Migrations())
}

// config reads the configuration, once.
func (a *app) config() (*config.Config, error) {
	if a.cfg == nil {
		cfg, err := config.Load(a.configPath)
		if err != nil {
			return nil, usage(err)
		}
		a.cfg = cfg
	}
	return a.cfg, nil
}

// open opens the database and brings it up to date, once.
func (a *app) open(ctx context.Context) (*store.Store, error) {
	if a.store != nil {
		return a.store, nil
	}
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	keys, err := cfg.KeyRing()
	if err != nil {
		return nil, usage(err)
	}
	s, err := store.Open(ctx, cfg.Store.DSN, &store.Options{LeaseTTL: time.Duration(cfg.Store.LeaseTTL), Keys: keys})
	if err != nil {
		return nil, storeError(err)
	}
	a.store = s
	if cfg.Telemetry.OTLPEndpoint != "" {
		if a.endTraces, err = sendTraces(ctx, cfg.Telemetry.OTLPEndpoint, a.logger()); err != nil {
			return nil, err
		}
	}
	if !a.noMigrate {
		_, err = s.Migrate(ctx, migrations())
		return s, err
	}
	pending, err := s.Pending(ctx, migrations())
	if err == nil && len(pending) > 0 {
		err = fmt.Errorf("the database lacks %d migrations (%s); run \"kedge migrate\"", len(pending), strings.Join(pending, ", "))
	}
	return s, err
}

func (a *app) close() {
	if a.endTraces != nil {
		a.endTraces()
	}
	if a.store != nil {
		// Everything that matters was committed.
		_ = a.store.Close()
	}
}

// sync returns the syncer, with the integrations of the config up to date, but
// for those in unread.
func (a *app) sync(ctx context.Context) (*syncer.Syncer, error) {
	if a.syncer != nil {
		return a.syncer, nil
	}
	s, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	a.syncer = a.newSyncer(s)
	return a.syncer, a.importMappings(ctx)
}

// newSyncer returns a syncer that works with what a says now.
func (a *app) newSyncer(s *store.Store) *syncer.Syncer {
	keep := a.cfg.Sync.Keep
	if a.progress == nil {
		a.progress = func(syncer.Progress) {}
	}
	return syncer.New(syncer.Options{
		Publisher:   a.runPublisher(),
		Store:       s,
		Connect:     a.connect,
		OwnDatabase: a.isOwnDatabase,
		Limits: syncer.Limits{
			CommitRows: a.cfg.Sync.CommitRows, ParallelEntities: a.cfg.Sync.ParallelEntities, HashSkipMaxRows: a.cfg.Sync.HashSkipMaxRows,
			KeepLog: time.Duration(keep.Log), KeepWriteLog: time.Duration(keep.Writelog), KeepQuarantine: time.Duration(keep.Quarantine), KeepTombstones: time.Duration(keep.Tombstones),
		},
		Logger:   a.logger(),
		Progress: func(p syncer.Progress) { a.progress(p) },
		Ended:    a.ended,
	})
}

// impatient makes a.quick, which is a without waiting for systems that are
// down: a person waits for the answer.
func (a *app) impatient() {
	quick := *a
	quick.patient = false
	quick.syncer = quick.newSyncer(a.store)
	a.quick = &quick
}

// mappingErrors says what is wrong with the mappings of the config, by
// integration.
type mappingErrors map[string]error

// tell shows a line per integration, for commands that go on without them.
func (m mappingErrors) tell(w io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(w, "kedge: %v\n", m[name])
	}
}

// importMappings stores the mappings that the config names, where they changed.
// What is wrong with one harms the commands that need it, and no others.
func (a *app) importMappings(ctx context.Context) error {
	a.unread = mappingErrors{}
	for _, in := range a.cfg.Integrations {
		src, err := os.ReadFile(in.Mapping)
		if err != nil {
			a.unread[in.Name] = usagef("integration %s: mapping: %v", in.Name, err)
			continue
		}
		_, err = a.syncer.Save(ctx, syncer.Integration{
			Name: in.Name, External: in.External, Local: in.Local, Source: in.Mapping, YAML: string(src), Author: "config",
		})
		if err != nil && kedge.KindOf(err) != kedge.Invalid {
			return err
		}
		if err != nil {
			a.unread[in.Name] = usage(err)
		}
	}
	return nil
}

// connect opens a connection of the config, or one that a command made.
func (a *app) connect(ctx context.Context, name, integration string) (*connectors.Conn, error) {
	cfg, err := a.config()
	if err != nil {
		return nil, err
	}
	block, ok := cfg.Connections[name]
	if !ok {
		stored, err := a.storedConnection(ctx, name)
		if err != nil {
			return nil, err
		}
		block = *stored
	}
	env := connectors.Env{
		Name: name, Consumer: integration, Store: a.store, Logger: a.logger(), Now: time.Now,
		HTTP: func(o httpclient.Options) (*httpclient.Client, error) { return httpclient.New(a.withEgress(name, o)) },
	}
	if a.store != nil && len(cfg.Keys) > 0 {
		env.State = a.store.State(name)
	}
	if a.prompt {
		env.Prompt = a.showDeviceCode(name)
	}
	conn, err := a.registry().Open(ctx, block.Kind, block.Block, env, nil)
	if kedge.KindOf(err) == kedge.Invalid {
		return nil, usage(placed(cfg, name, block.Declared, err))
	}
	return conn, err
}

// placed says in each line of an error about a connection's block which
// connection it is, and where in the config.
func placed(cfg *config.Config, name string, inFile bool, err error) error {
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !strings.HasPrefix(line, "connections.") {
			line = "connections." + name + ": " + line
		}
		if inFile {
			line = cfg.At(line).Error()
		}
		lines = append(lines, line)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// withEgress adds what the config says for all outgoing requests.
func (a *app) withEgress(name string, o httpclient.Options) httpclient.Options {
	e := a.cfg.Egress
	o.Name, o.UserAgent, o.Logger, o.FailFast = name, "kedge/"+Version, a.logger(), !a.patient
	o.SingleTry = true // the outbox counts the attempts of writes
	for _, n := range e.Allow {
		if p, err := netip.ParsePrefix(n); err == nil { // checked when the config was read
			o.Egress = append(o.Egress, p)
		}
	}
	if u, err := url.Parse(e.Proxy); err == nil && e.Proxy != "" {
		o.Proxy = u
	}
	if addr, err := netip.ParseAddr(e.Bind); err == nil {
		o.Bind = addr
	}
	return o
}

// isOwnDatabase tells whether a connection's tables lie in kedge's database.
func (a *app) isOwnDatabase(name string) bool {
	c, ok := a.cfg.Connections[name]
	var block struct {
		DSN string `json:"dsn"`
	}
	return ok && c.Kind == "sqltable" && json.Unmarshal(c.Block, &block) == nil && block.DSN == "kedge"
}

func (a *app) showDeviceCode(connection string) httpclient.DevicePrompt {
	return func(ctx context.Context, code httpclient.DeviceCode) error {
		fmt.Fprintln(os.Stderr, code.String())
		if a.syncer == nil {
			return nil
		}
		return a.syncer.LogConnection(ctx, connection, "sign_in", code.String())
	}
}

func (a *app) logger() *slog.Logger {
	if a.log != nil {
		return a.log
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn)
	if a.serving {
		level.Set(slog.LevelInfo)
	}
	json := false
	if a.cfg != nil {
		setLevel(level, a.cfg.Log.Level)
		json = a.cfg.Log.Format == "json"
	}
	opts := &slog.HandlerOptions{Level: level}
	switch {
	case json:
		return a.keep(level, slog.NewJSONHandler(os.Stderr, opts))
	case a.serving:
		return a.keep(level, slog.NewTextHandler(os.Stderr, opts))
	case a.waits == nil:
		a.waits = &waitLines{Handler: slog.NewTextHandler(os.Stderr, opts), out: os.Stderr, now: time.Now}
	}
	return slog.New(a.waits)
}

// keep returns the logger with a handler, and of a server keeps it.
func (a *app) keep(level *slog.LevelVar, h slog.Handler) *slog.Logger {
	log := slog.New(httpapi.LogRequestID(h))
	if a.serving {
		a.log, a.level = log, level
	}
	return log
}

// setLevel sets a level by its name in the config, which was checked; none
// changes nothing.
func setLevel(level *slog.LevelVar, name string) {
	var l slog.Level
	if name != "" && l.UnmarshalText([]byte(name)) == nil {
		level.Set(l)
	}
}

// user names who runs a command, for the log.
func user() string {
	if u := os.Getenv("USER"); u != "" {
		return u
	}
	return filepath.Base(os.Args[0])
}

// storeError is the error of a database that cannot be opened: the config's, if
// it names one that cannot be.
func storeError(err error) error {
	text := fmt.Errorf("store: %w", err)
	if kedge.KindOf(err) == kedge.Invalid {
		return usage(text)
	}
	return text
}
