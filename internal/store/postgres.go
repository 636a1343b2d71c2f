package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/driver/pgdriver"
)

const (
	postgresConns = 16
	// postgresTimeout ends the wait for an answer to one statement, so that a
	// dead network is noticed; read_timeout and write_timeout in the DSN
	// replace it.
	postgresTimeout = 5 * time.Minute
	minPostgres     = 130000
)

func (s *Store) openPostgres(ctx context.Context, dsn string) error {
	s.engine = Postgres
	c, err := postgresConnector(dsn, s.opts.LeaseTTL)
	if err != nil {
		return err
	}
	s.db = postgresDB(c, postgresConns)
	s.write = s.db
	s.fork = func() (*bun.DB, error) { return postgresDB(&onceConnector{Connector: c}, 1), nil }
	return s.checkServer(ctx, c.Config())
}

// checkServer makes the first connection.
func (s *Store) checkServer(ctx context.Context, conf *pgdriver.Config) error {
	where := conf.Database + " at " + conf.Addr
	var version int
	err := s.db.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version)
	if err != nil {
		return connectError(where, err)
	}
	if version < minPostgres {
		return &kedge.Error{Op: "store.Open", Entity: where, Kind: kedge.Unsupported,
			Err: fmt.Errorf("the server is PostgreSQL %d; kedge needs 13 or later", version/10000)}
	}
	s.commitProbe = xidProbe
	var xid, timeline sql.NullString
	if err := s.db.QueryRowContext(ctx, xidProbe).Scan(&xid, &timeline); err != nil {
		if _, ok := errors.AsType[pgdriver.Error](err); !ok {
			return Error("store.Open", where, err)
		}
		s.commitProbe = plainProbe // a relative of PostgreSQL without these functions
	}
	return nil
}

// connectError says what to do about err of the first connection.
func connectError(where string, err error) error {
	advice := ""
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err) // with sslmode=verify-ca
	switch {
	case verification || authority:
		advice = "give sslrootcert=FILE of the server's authority in the DSN, or sslmode=disable on a network you trust"
	case err.Error() == "pgdriver: SSL is not enabled on the server":
		advice = "add sslmode=disable to the DSN if you trust the network"
	default:
		return Error("store.Open", where, err)
	}
	return &kedge.Error{Op: "store.Open", Entity: where, Kind: kedge.Invalid, Err: fmt.Errorf("%w; %s", err, advice)}
}

func postgresDB(c driver.Connector, conns int) *bun.DB {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return bun.NewDB(db, pgdialect.New())
}

// postgresConnector parses dsn. No error of it shows the DSN, which holds a
// password.
func postgresConnector(dsn string, ttl time.Duration) (*pgdriver.Connector, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, invalid("store.Open", "the DSN is not a URL; characters such as @ : / ? # %% in the password must be percent-encoded")
	}
	q := u.Query()
	socket := unixSocket(q)
	if err := setTLSMode(q, socket); err != nil {
		return nil, err
	}
	setDefault(q, "application_name", "kedge")
	// Ends the transaction of a holder that was paused inside it, so that its
	// lease can be taken.
	setDefault(q, "idle_in_transaction_session_timeout", fmt.Sprint(max(2*ttl, time.Minute).Milliseconds()))
	if !q.Has("timeout") {
		setDefault(q, "read_timeout", postgresTimeout.String())
		setDefault(q, "write_timeout", postgresTimeout.String())
	}
	u.RawQuery = q.Encode()
	dc, err := pgdriver.NewDriver().OpenConnector(u.String())
	if err != nil {
		return nil, invalid("store.Open", "PostgreSQL DSN: %w", err)
	}
	c := dc.(*pgdriver.Connector)
	conf := c.Config()
	conf.Dialer = dial(conf.DialTimeout)
	// pgdriver takes 0 for "no limit" but parses a limit of 0 to -1.
	conf.ReadTimeout, conf.WriteTimeout = max(conf.ReadTimeout, 0), max(conf.WriteTimeout, 0)
	if q.Get("sslmode") == "verify-full" {
		conf.TLSConfig = verified(conf)
	}
	return c, nil
}

// setTLSMode makes verify-full the default, and the meaning of require.
func setTLSMode(q url.Values, socket bool) error {
	switch mode := q.Get("sslmode"); {
	case socket:
		q.Set("sslmode", "disable")
	case mode == "allow" || mode == "prefer":
		return invalid("store.Open", "sslmode=%s does not protect the connection; use verify-full (the default) or disable", mode)
	case mode == "" || mode == "require":
		q.Set("sslmode", "verify-full")
	}
	return nil
}

// unixSocket completes host=DIRECTORY, as libpq does, and reports whether the
// DSN names a Unix socket.
func unixSocket(q url.Values) bool {
	host := q.Get("host")
	if !filepath.IsAbs(host) {
		return false
	}
	port := q.Get("port")
	q.Del("port")
	if info, err := os.Stat(host); err == nil && info.IsDir() {
		if port == "" {
			port = "5432"
		}
		q.Set("host", filepath.Join(host, ".s.PGSQL."+port))
	}
	return true
}

func setDefault(q url.Values, key, value string) {
	if !q.Has(key) {
		q.Set(key, value)
	}
}

// verified returns a TLS configuration that checks the server's certificate
// and name, keeping the authority and the client certificate of the DSN.
// pgdriver itself (1.2.18) checks neither without sslmode=verify-full, and
// takes the name from the wrong place for host=NAME.
func verified(conf *pgdriver.Config) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if conf.TLSConfig != nil {
		c.RootCAs, c.Certificates = conf.TLSConfig.RootCAs, conf.TLSConfig.Certificates
	}
	c.ServerName = conf.Addr
	if host, _, err := net.SplitHostPort(conf.Addr); err == nil {
		c.ServerName = host
	}
	return c
}

// dial notices within a minute that the other machine is gone.
func dial(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	return d.DialContext
}

// A onceConnector connects once. database/sql replaces a lost connection in
// silence; a series of statements that must share one fails instead.
type onceConnector struct {
	driver.Connector
	used atomic.Bool
}

// Connect opens the connection, or fails with kind Transient the second time.
func (c *onceConnector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.used.Swap(true) {
		return nil, &kedge.Error{Op: "store", Kind: kedge.Transient, Err: errors.New("the connection was lost")}
	}
	return c.Connector.Connect(ctx)
}
