package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// A live is what a server works with: the config, and the syncer made of it. A
// reload replaces both; what runs then ends with what it began with.
type live struct {
	app         atomic.Pointer[app]
	certificate atomic.Pointer[tls.Certificate] // nil: plain HTTP
	log         *slog.Logger
	tokens      *server.Tokens
	runs        *runner
	registry    *prometheus.Registry

	mu    sync.Mutex // one reload at a time
	parts []reloader
}

// A reloader looks whether a part of kedge can go on with next, and changes
// nothing. The func it returns, which may be nil, takes the change over and
// cannot fail.
type reloader func(ctx context.Context, next *app) (apply func(), err error)

// newLive makes what the server starts with. A mapping that cannot be read
// stops what needs it and nothing else.
func newLive(ctx context.Context, a *app) (*live, error) {
	l := &live{log: a.logger(), tokens: server.NewTokens(a.store, nil), runs: newRunner(a.logger()), registry: prometheus.NewRegistry()}
	metrics := newSyncMetrics(l.registry, func() *syncer.Syncer { return l.app.Load().syncer })
	a.patient, a.progress = true, l.runs.note
	a.ended = func(res syncer.Result) {
		l.runs.ended(res)
		metrics.ended(res)
	}
	if err := a.checkConnections(ctx); err != nil {
		return nil, err
	}
	certificate, err := loadCertificate(a.cfg.Server.TLS)
	if err != nil {
		return nil, err
	}
	if _, err := a.sync(ctx); err != nil {
		return nil, err
	}
	for name, err := range a.unread {
		l.log.ErrorContext(ctx, "mapping not read", "integration", name, "err", err)
	}
	a.impatient()
	l.certificate.Store(certificate)
	l.app.Store(a)
	return l, nil
}

// onReload has r asked at each reload. Call it before the server runs.
func (l *live) onReload(r reloader) { l.parts = append(l.parts, r) }

// reload reads the config again and takes it over whole, or not at all. Errors
// are the user's to mend.
func (l *live) reload(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.app.Load()
	next, certificate, err := l.prepare(ctx, old)
	if err != nil {
		return err
	}
	var applies []func()
	for _, part := range l.parts {
		apply, err := part(ctx, next)
		if err != nil {
			return usageIfInvalid(err)
		}
		if apply != nil {
			applies = append(applies, apply)
		}
	}
	if _, err := next.sync(ctx); err != nil { // stores the mappings, which were read before
		return err
	}
	if err := next.unread.first(); err != nil {
		return err
	}
	next.impatient()
	l.app.Store(next)
	l.certificate.Store(certificate)
	next.level.Set(slog.LevelInfo)
	setLevel(next.level, next.cfg.Log.Level)
	for _, apply := range applies {
		apply()
	}
	l.log.InfoContext(ctx, "config reloaded", "integrations", len(next.cfg.Integrations), "connections", len(next.cfg.Connections))
	return nil
}

// prepare reads the config and all files that it names, and checks them.
func (l *live) prepare(ctx context.Context, old *app) (*app, *tls.Certificate, error) {
	cfg, err := config.Load(old.configPath)
	if err != nil {
		return nil, nil, usage(err)
	}
	if err := needsRestart(old.cfg, cfg); err != nil {
		return nil, nil, err
	}
	next := &app{
		configPath: old.configPath, output: old.output, noMigrate: old.noMigrate, serving: true, patient: old.patient,
		store: old.store, cfg: cfg, log: old.log, level: old.level, progress: old.progress, ended: old.ended,
	}
	if err := next.checkConnections(ctx); err != nil {
		return nil, nil, err
	}
	for _, in := range cfg.Integrations {
		src, err := os.ReadFile(in.Mapping)
		if err != nil {
			return nil, nil, usagef("integration %s: mapping: %v", in.Name, err)
		}
		if _, err := mapping.Parse(in.Mapping, src); err != nil {
			return nil, nil, usage(err)
		}
	}
	certificate, err := loadCertificate(cfg.Server.TLS)
	return next, certificate, err
}

// needsRestart refuses changes that a running server cannot take over.
func needsRestart(old, next *config.Config) error {
	var keys []string
	for _, k := range []struct {
		name      string
		old, next any
	}{
		{"store", old.Store, next.Store}, {"keys", old.Keys, next.Keys}, {"server.listen", old.Server.Listen, next.Server.Listen},
		{"server.tls", old.Server.TLS.Cert != "", next.Server.TLS.Cert != ""}, {"log.format", old.Log.Format, next.Log.Format}, {"telemetry", old.Telemetry, next.Telemetry},
	} {
		if !reflect.DeepEqual(k.old, k.next) {
			keys = append(keys, k.name)
		}
	}
	if len(keys) > 0 {
		return usagef("%s cannot change while the server runs; restart it, or put the old value back", strings.Join(keys, ", "))
	}
	return nil
}

// checkConnections checks the settings of all connections and asks no system.
func (a *app) checkConnections(ctx context.Context) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(a.cfg.Connections)) {
		conn, err := a.connect(ctx, name, "")
		if err == nil {
			err = conn.Close()
		}
		errs = append(errs, err)
	}
	return usage(errors.Join(errs...))
}

// reloadOnSignal reloads at each SIGHUP until ctx ends.
func (l *live) reloadOnSignal(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
			if err := l.reload(ctx); err != nil {
				l.log.ErrorContext(ctx, "config not reloaded: the old one stays", "err", err)
			}
		}
	}
}

// hangups returns a channel of SIGHUPs.
func hangups() chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals
}

// loadCertificate reads the certificate of the config, nil if it names none.
// Cert and key are files or, by a reference, the PEM text itself.
func loadCertificate(c config.TLS) (*tls.Certificate, error) {
	if c.Cert == "" {
		return nil, nil
	}
	pem := func(key, v string) ([]byte, error) {
		if strings.HasPrefix(v, "-----BEGIN") {
			return []byte(v), nil
		}
		text, err := os.ReadFile(v)
		if err != nil {
			return nil, usagef("server.tls.%s: %v", key, err)
		}
		return text, nil
	}
	cert, err := pem("cert", c.Cert)
	if err != nil {
		return nil, err
	}
	key, err := pem("key", c.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, usagef("server.tls: %v", err)
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return nil, usagef("server.tls.cert: the certificate ended on %s; renew it", pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &pair, nil
}

// first returns one of the errors, or nil.
func (m mappingErrors) first() error {
	for _, err := range m {
		return fmt.Errorf("mapping: %w", err)
	}
	return nil
}
