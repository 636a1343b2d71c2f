package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/cmd/kedge/server"
	"github.com/kedge-sync/kedge/internal/store"
)

func (a *app) serveCommand() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use: "serve", Short: "Run the server: the API for operators, what others push, and the jobs", Args: cobra.NoArgs,
		Long: `Listens on server.listen of the config, 127.0.0.1:8080 by default, and runs until
it is told to stop by Ctrl-C or SIGTERM. It then accepts no more requests, lets
those that run finish, and hands back what it works on, within 30 seconds.

Until there is an operator token, only this machine is served, and it needs no
token; "kedge tokens create" makes one. /healthz, /readyz and /metrics are for
machines, /api/v1/openapi.yaml describes the rest.`,
		Example: examples("kedge serve", "kedge serve --listen 127.0.0.1:9000"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.serving, a.patient = true, true
			return a.serve(cmd, listen)
		},
	}
	c.Flags().StringVar(&listen, "listen", "", "HOST:PORT to listen on, instead of server.listen")
	return c
}

func (a *app) serve(cmd *cobra.Command, listen string) error {
	ctx, signals := cmd.Context(), hangups()
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	if listen == "" {
		listen = a.cfg.Server.Listen
	}
	l, err := newLive(ctx, a)
	if err != nil {
		return err
	}
	srv, err := l.server(ctx, s)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return usagef("server.listen: %v; choose another address, or stop what listens there", err)
	}
	if err := srv.CheckReach(ctx, listener.Addr()); err != nil {
		return errors.Join(usage(err), listener.Close())
	}
	go l.reloadOnSignal(ctx, signals)
	scheme := "http"
	if l.certificate.Load() != nil {
		scheme = "https"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "kedge listens on %s://%s\n", scheme, listener.Addr())
	return srv.Serve(ctx, listener)
}

// server puts the parts together.
func (l *live) server(ctx context.Context, s *store.Store) (*server.Server, error) {
	o := server.Options{Store: s, Migrations: migrations(), Tokens: l.tokens, Log: l.log, Metrics: l.registry}
	if l.certificate.Load() != nil {
		o.Certificate = func() (*tls.Certificate, error) { return l.certificate.Load(), nil }
	}
	var err error
	o.Modules, err = l.modules(ctx, o.Metrics)
	if err != nil {
		return nil, err
	}
	return server.New(o), nil
}

// modules are the parts of kedge that the server runs. A new one is one entry
// here. What a part needs of the config and the syncer it asks l for at each
// use, or hears of by onReload.
func (l *live) modules(ctx context.Context, metrics prometheus.Registerer) ([]server.Module, error) {
	jobs, err := l.jobsModule(ctx)
	if err != nil {
		return nil, err
	}
	push, err := l.pushModule(ctx, metrics)
	if err != nil {
		return nil, err
	}
	pushed, err := l.ingestModule(ctx, metrics)
	if err != nil {
		return nil, err
	}
	return append(push, l.apiModule(), jobs, pushed), nil
}
