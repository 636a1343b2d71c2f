package odata

import (
	"context"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// A Driver reads from and writes to one OData service. It implements
// [connectors.Driver], [connectors.Writer], [connectors.KeyReader],
// [connectors.Prober] and [connectors.Checker].
type Driver struct {
	cfg    Config
	preset preset
	env    connectors.Env
	client *httpclient.Client
	root   *url.URL
	header http.Header // of all requests

	// plainJSON is set once the service has refused IEEE754Compatible.
	plainJSON atomic.Bool
	findings  findings
	spilled   spill
	csrf      csrf
	sentFirst firstSent

	mu       sync.Mutex
	metadata *metadata // nil until it was read
	company  string    // path of the company, "" until it is known
}

// New returns a driver. It does no I/O.
func New(cfg Config, env connectors.Env) (*Driver, error) {
	cfg, preset, err := cfg.withDefaults()
	if err != nil {
		return nil, configError(env, err)
	}
	root, err := serviceRoot(cfg.URL)
	if err != nil {
		return nil, configError(env, err)
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	if env.HTTP == nil {
		env.HTTP = httpclient.New
	}
	d := &Driver{cfg: cfg, preset: preset, env: env, root: root, header: http.Header{}}
	for name, value := range cfg.Headers {
		d.header.Set(name, value)
	}
	d.findings.state = env.State
	d.sentFirst.state, d.sentFirst.name = env.State, "odata.sent."+env.Consumer
	auth, err := cfg.Auth.New(d.authEnv())
	if err != nil {
		return nil, configError(env, err)
	}
	d.client, err = env.HTTP(httpclient.Options{
		Name: env.Name, Origin: root, AllowHosts: cfg.AllowedHosts, AllowHTTP: cfg.AllowHTTP, Auth: auth,
		Concurrency: cfg.Concurrency, Rate: cfg.Rate, Burst: cfg.Burst,
		Timeout: time.Duration(cfg.Timeout), IdleTimeout: time.Duration(cfg.IdleTimeout), Logger: env.Logger, Now: env.Now,
	})
	return d, err
}

func (d *Driver) authEnv() httpclient.AuthEnv {
	env := httpclient.AuthEnv{
		Name: d.env.Name, HTTP: d.env.HTTP, Prompt: d.env.Prompt, AllowHTTP: d.cfg.AllowHTTP, Logger: d.env.Logger, Now: d.env.Now,
	}
	if d.env.State != nil {
		env.Tokens = d.env.State
	}
	return env
}

// configError names the key of the config that is wrong.
func configError(env connectors.Env, err error) error {
	return &kedge.Error{Kind: kedge.Invalid, Err: &configProblem{path: "connections." + env.Name + ".", err: err}}
}

type configProblem struct {
	path string
	err  error
}

func (p *configProblem) Error() string { return p.path + p.err.Error() }
func (p *configProblem) Unwrap() error { return p.err }

// Close closes idle connections and forgets pages that are kept.
func (d *Driver) Close() error {
	d.spilled.clear()
	d.client.Close()
	return nil
}

// Schema reads the metadata.
func (d *Driver) Schema(ctx context.Context) (*kedge.Schema, error) {
	m, err := d.readMetadata(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.metadata = m
	d.mu.Unlock()
	return d.schema(ctx, m), nil
}

// known returns the metadata, which is read if it was not yet.
func (d *Driver) known(ctx context.Context) (*metadata, error) {
	d.mu.Lock()
	m := d.metadata
	d.mu.Unlock()
	if m != nil {
		return m, nil
	}
	if _, err := d.Schema(ctx); err != nil {
		return nil, err
	}
	return d.known(ctx)
}
