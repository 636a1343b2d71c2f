package command

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/ingest"
)

func (a *app) ingestCommand() *cobra.Command {
	c := group("ingest", "Take data that others push: tables, keys, and what was sent",
		a.ingestGroups(), a.ingestSchemas(), a.ingestIntegrations(), a.ingestKeys(), a.ingestHowto(), a.ingestSend(), a.ingestDelete(),
		a.ingestResources(), a.ingestHistory(), a.ingestQuarantine(), a.ingestRemap())
	c.Long = `A sender keeps a table in kedge equal to its own list. Make a group, then a
schema, then an integration with a key; "kedge ingest howto TABLE" shows the
lines that a sender needs. send and delete call the server by HTTP; all other
commands work on the database, beside a running server, too.`
	return c
}

// newIngest returns the service that takes pushed data.
func (a *app) newIngest(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) (*ingest.Service, error) {
	o := ingest.Options{
		Store: a.store, Logger: log, Registerer: metrics,
		Local: func(ctx context.Context) (*connectors.Conn, error) { return a.connect(ctx, config.Local, "ingest") },
	}
	p, err := a.publisher(ctx, log, nil)
	if err != nil {
		return nil, err
	}
	if p != nil {
		o.Publisher = p
	}
	return ingest.New(o)
}

// pushedViews tells connections to kedge's own database of the views that show
// pushed data.
func (a *app) pushedViews(ctx context.Context) (map[string]sqltable.View, error) {
	if a.store == nil {
		return nil, nil
	}
	s, err := ingest.New(ingest.Options{Store: a.store})
	if err != nil {
		return nil, err
	}
	return s.Views(ctx)
}

// ingest returns the service for a command, with what the config declares up
// to date.
func (a *app) ingest(ctx context.Context) (*ingest.Service, error) {
	if _, err := a.open(ctx); err != nil {
		return nil, err
	}
	s, err := a.newIngest(ctx, a.logger(), nil)
	if err != nil {
		return nil, err
	}
	d, err := a.ingestDeclaration()
	if err != nil {
		return nil, err
	}
	return s, a.ingestError(s.Declare(ctx, d))
}

// ingestModule is the part of the server that takes pushed data.
func (l *live) ingestModule(ctx context.Context, metrics prometheus.Registerer) (server.Module, error) {
	a := l.app.Load()
	s, err := a.newIngest(ctx, l.log, metrics)
	if err != nil {
		return server.Module{}, err
	}
	d, err := a.ingestDeclaration()
	if err != nil {
		return server.Module{}, err
	}
	if err := a.ingestError(s.Check(d)); err != nil {
		return server.Module{}, err
	}
	if err := s.Declare(ctx, d); err != nil { // what fits works
		l.log.ErrorContext(ctx, "ingest config not applied", "err", err)
	}
	l.onReload(func(ctx context.Context, next *app) (func(), error) {
		d, err := next.ingestDeclaration()
		if err == nil {
			err = next.ingestError(s.Check(d))
		}
		if err != nil {
			return nil, err
		}
		return func() {
			if err := s.Declare(context.WithoutCancel(ctx), d); err != nil {
				l.log.ErrorContext(ctx, "ingest config not applied", "err", err)
			}
		}, nil
	})
	return server.Module{Name: "ingest", Routes: s.Routes, AdminRoutes: s.AdminRoutes, Run: s.Run}, nil
}

// ingestError gives what is wrong with the declaration its place in the file.
func (a *app) ingestError(err error) error {
	if err == nil {
		return nil
	}
	return usage(a.cfg.Place(err))
}

// ingestDeclaration reads what the config says, and the files that it names.
func (a *app) ingestDeclaration() (ingest.Declaration, error) {
	var d ingest.Declaration
	for _, g := range a.cfg.Ingest.Groups {
		d.Groups = append(d.Groups, ingest.Group{Name: g.Name, Prefix: g.Prefix, Description: g.Description})
	}
	for i, t := range a.cfg.Ingest.Schemas {
		at := fmt.Sprintf("ingest.schemas[%d]", i)
		in := ingest.Schema{Group: t.Group, Table: t.Table, History: t.History, EmptyBulk: t.EmptyBulk}
		text, err := a.cfg.ReadIngestFile(at+".file", t.File)
		if err != nil {
			return d, usage(err)
		}
		in.Schema = text
		if t.Mapping != "" {
			text, err := a.cfg.ReadIngestFile(at+".mapping", t.Mapping)
			if err != nil {
				return d, usage(err)
			}
			if in.Mapping, err = json.Marshal(string(text)); err != nil {
				return d, err
			}
		}
		if m := t.MaxRemoved; m != nil {
			in.MaxRemoved = &ingest.MaxRemoved{Percent: m.Percent, Min: m.Min}
		}
		d.Schemas = append(d.Schemas, in)
	}
	for _, in := range a.cfg.Ingest.Integrations {
		out := ingest.DeclaredIntegration{Integration: ingest.Integration{Name: in.Name, Tables: in.Tables}}
		if r := in.Rate; r != nil {
			out.Rate = &ingest.Rate{Requests: r.Requests, Burst: r.Burst, Bytes: r.Bytes}
		}
		for _, k := range in.Keys {
			out.Keys = append(out.Keys, ingest.DeclaredKey{Name: k.Name, Secret: k.From, Rights: ingest.Rights{Operations: k.Operations, Tables: k.Tables, GroupKeys: k.GroupKeys}})
		}
		d.Integrations = append(d.Integrations, out)
	}
	return d, nil
}
