package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/subscriptions"
	pushapi "github.com/kedge-sync/kedge/subscriptions/api"
	"github.com/kedge-sync/kedge/subscriptions/resources"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// A pusher is the push subscriptions of a config.
type pusher struct {
	*subscriptions.Service
	source connectors.Driver // of the records that can be subscribed
}

// subscriptions returns the push subscriptions. Without the section of the
// config it is an error of the user's.
func (a *app) subscriptions(ctx context.Context) (*pusher, error) {
	p, err := a.publisher(ctx, a.logger(), nil)
	if err == nil && p == nil {
		err = usagef("%s has no section subscriptions, so nothing can be subscribed", a.configPath)
	}
	return p, err
}

// publisher returns the push subscriptions, or nil if the config has none.
func (a *app) publisher(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) (*pusher, error) {
	s, err := a.open(ctx)
	if err != nil || a.cfg.Subscriptions == nil || a.push != nil {
		return a.push, err
	}
	cfg, err := a.pushConfig()
	if err != nil {
		return nil, err
	}
	conn, err := a.connect(ctx, config.Local, "subscriptions")
	if err != nil {
		return nil, err
	}
	hc, err := httpclient.New(a.withEgress("subscriptions", httpclient.Options{
		AllowHTTP: cfg.Targets.HTTP, Concurrency: orDefault(cfg.Limits.InFlight, 1024), Timeout: orDefault(cfg.Limits.Timeout, 15*time.Second),
	}))
	if err != nil {
		return nil, err
	}
	stored, err := ingest.New(ingest.Options{Store: s, Logger: log})
	if err != nil {
		return nil, err
	}
	source := newPushSource(conn, stored)
	o := &subscriptions.Options{Logger: log, Metrics: metrics, Allowed: publicTarget(hc), Pushed: source.Pushed}
	if o.Operator, err = a.noticeClient(cfg.Notices.URL); err != nil {
		return nil, err
	}
	service, err := subscriptions.New(ctx, s, source, hc, cfg, o)
	if kedge.KindOf(err) == kedge.Invalid {
		return nil, a.pushError(err)
	}
	if err != nil {
		return nil, err
	}
	if i, err := service.CheckItems(); err != nil {
		return nil, a.itemError(i, err)
	}
	a.push = &pusher{service, source}
	return a.push, nil
}

// noticeClient returns the way to the operator's channel, whose address is
// trusted because the config names it; nil if there is none.
func (a *app) noticeClient(address string) (*httpclient.Client, error) {
	if address == "" {
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, usage(a.cfg.At("subscriptions.notices.url: is not a URL"))
	}
	return httpclient.New(a.withEgress("notices", httpclient.Options{Origin: u}))
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// publicTarget tells subscribers early that a target will be refused, and not
// what addresses a name has here.
func publicTarget(hc *httpclient.Client) func(ctx context.Context, target string) error {
	return func(ctx context.Context, target string) error {
		u, err := url.Parse(target)
		if err != nil || hc.Allows(ctx, u) == nil {
			return err
		}
		return errors.New("the address of this host is not public; an operator can allow its network: egress.allow")
	}
}

// pushConfig returns the section subscriptions as its package takes it.
func (a *app) pushConfig() (subscriptions.Config, error) {
	c := a.cfg.Subscriptions
	out := subscriptions.Config{
		PublicURL: strings.TrimRight(a.cfg.Server.PublicURL, "/"), Entities: map[string]spec.Entity{},
		Limits: subscriptions.Limits{
			PerAccount: c.Limits.PerAccount, Payload: int(c.Limits.Payload), Backlog: c.Limits.Backlog, Concurrency: c.Limits.Concurrency, InFlight: c.Limits.InFlight,
			Timeout: time.Duration(c.Limits.Timeout), MaxAge: time.Duration(c.Limits.MaxAge), DisableAfter: time.Duration(c.Limits.DisableAfter),
		},
		Retention: subscriptions.Retention{Events: time.Duration(c.Retention.Events), Attempts: time.Duration(c.Retention.Attempts), Dead: time.Duration(c.Retention.Dead)},
		Targets:   subscriptions.Targets{HTTP: c.Targets.HTTP, Ports: c.Targets.Ports, Handshake: c.Targets.Handshake == "required"},
		Notices:   subscriptions.Notices{URL: c.Notices.URL, Secret: c.Notices.Secret},
	}
	for _, d := range c.Retry.Schedule {
		out.Retry.Schedule = append(out.Retry.Schedule, time.Duration(d))
	}
	if j := c.Retry.Jitter; j != nil {
		out.Retry.Jitter = *j
		if *j == 0 {
			out.Retry.Jitter = -1 // none
		}
	}
	for name, e := range c.Entities {
		x := spec.Entity{Title: e.Title, Search: e.Search, Fields: e.Fields, Parents: e.Parents, Account: e.Account}
		for _, op := range e.Operations {
			x.Operations = append(x.Operations, kedge.Operation(op))
		}
		out.Entities[name] = x
	}
	for i, item := range c.Items {
		doc, err := spec.Parse(item.Doc)
		if err != nil {
			return out, a.itemError(i, err)
		}
		out.Items = append(out.Items, subscriptions.Item{Name: item.Name, Account: item.Account, User: item.User, Doc: *doc})
	}
	return out, nil
}

// itemError gives what is wrong with a declared subscription its place.
func (a *app) itemError(i int, err error) error {
	p, ok := errors.AsType[*spec.Problems](err)
	if !ok {
		return err
	}
	var lines []string
	for _, x := range p.List {
		lines = append(lines, a.cfg.At(fmt.Sprintf("subscriptions.items[%d]%s: %s", i, keyPath(x.Pointer), x.Detail)).Error())
	}
	return usage(errors.New(strings.Join(lines, "\n")))
}

var index = regexp.MustCompile(`\.([0-9]+)(\.|$)`)

// keyPath writes a JSON Pointer as the config's keys are written.
func keyPath(pointer string) string {
	return index.ReplaceAllString(strings.ReplaceAll(pointer, "/", "."), "[$1]$2")
}

// pushError gives what is wrong with the section its place.
func (a *app) pushError(err error) error { return usage(a.cfg.At(err.Error())) }

// pushModule is the part of the server that lets others subscribe; none if the
// config does not offer anything.
func (l *live) pushModule(ctx context.Context, metrics prometheus.Registerer) ([]server.Module, error) {
	a := l.app.Load()
	l.onReload(func(_ context.Context, next *app) (func(), error) {
		if !reflect.DeepEqual(next.cfg.Subscriptions, a.cfg.Subscriptions) || next.cfg.Subscriptions != nil && next.cfg.Server.PublicURL != a.cfg.Server.PublicURL {
			return nil, usagef("subscriptions and server.publicURL cannot change while the server runs; restart it, or put the old value back")
		}
		next.push = a.push
		return nil, nil
	})
	p, err := a.publisher(ctx, l.log, metrics)
	if err != nil || p == nil {
		return nil, err
	}
	h := pushapi.New(pushapi.Options{Service: p.Service, Resources: resources.New(p.Catalog(), p.source, nil), Logger: l.log})
	return []server.Module{{Name: "subscriptions", Routes: h.Routes, AdminRoutes: h.AdminRoutes, Run: p.Run}}, nil
}
