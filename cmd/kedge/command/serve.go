package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/cmd/kedge/server"
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
			a.serving = true
			return a.serve(cmd, listen)
		},
	}
	c.Flags().StringVar(&listen, "listen", "", "HOST:PORT to listen on, instead of server.listen")
	return c
}

func (a *app) serve(cmd *cobra.Command, listen string) error {
	ctx := cmd.Context()
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	if listen == "" {
		listen = a.cfg.Server.Listen
	}
	log, metrics := a.logger(), prometheus.NewRegistry()
	modules, err := a.modules(ctx, log, metrics)
	if err != nil {
		return err
	}
	certificate, err := loadCertificate(a.cfg.Server.TLS)
	if err != nil {
		return err
	}
	o := server.Options{
		Store: s, Migrations: migrations(), Tokens: server.NewTokens(s, nil), Log: log, Metrics: metrics, Modules: modules,
	}
	scheme := "http"
	if certificate != nil {
		var current atomic.Pointer[tls.Certificate]
		current.Store(certificate)
		scheme, o.Certificate = "https", func() (*tls.Certificate, error) { return current.Load(), nil }
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return usagef("server.listen: %v; choose another address, or stop what listens there", err)
	}
	srv := server.New(o)
	if err := srv.CheckReach(ctx, l.Addr()); err != nil {
		return errors.Join(usage(err), l.Close())
	}
	fmt.Fprintf(cmd.OutOrStdout(), "kedge listens on %s://%s\n", scheme, l.Addr())
	return srv.Serve(ctx, l)
}

// modules are the parts of kedge that the server runs. A new one is one entry
// here.
func (a *app) modules(ctx context.Context, log *slog.Logger, metrics prometheus.Registerer) ([]server.Module, error) {
	return []server.Module{}, nil
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
