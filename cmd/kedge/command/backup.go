package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Copy kedge's database to a new file, also while the server runs", Args: cobra.ExactArgs(1),
		Long: `Writes all that kedge's database holds at one moment: its own tables and the
local tables in it. Nobody has to wait. A file that exists is not overwritten,
and the new one appears when it is complete. It holds what the database holds:
personal data, and stored secrets, which are sealed with the keys of the config.

SQLite: the file is a database; to restore it, stop kedge and put it in the
place of the old one, whose files ending in -wal and -shm go away.
PostgreSQL: pg_dump is run, which must be installed, and writes an archive for
pg_restore.`,
		Example: examples("kedge backup kedge-2026-12-01.db", "kedge backup /backup/kedge.dump --json"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.config()
			if err != nil {
				return err
			}
			engine, size := "sqlite", int64(0)
			if path, ok := strings.CutPrefix(cfg.Store.DSN, "sqlite:"); ok {
				size, err = a.copySQLite(cmd.Context(), path, args[0])
			} else {
				engine = "postgres"
				size, err = dumpPostgres(cmd.Context(), cfg.Store.DSN, args[0])
			}
			if err != nil {
				return usageIfInvalid(err)
			}
			data := map[string]any{"file": args[0], "bytes": size, "engine": engine}
			return a.print(cmd.OutOrStdout(), data, func(w io.Writer) { fmt.Fprintf(w, "%s: %d bytes\n", args[0], size) })
		},
	}
}

// copySQLite copies the database as it is: it may be older than this kedge,
// and a backup comes before migrating.
func (a *app) copySQLite(ctx context.Context, path, file string) (int64, error) {
	if _, err := os.Stat(strings.TrimPrefix(path, "//")); errors.Is(err, os.ErrNotExist) {
		return 0, usagef("there is no database %s to copy", path)
	}
	s, err := store.Open(ctx, "sqlite:"+path, nil)
	if err != nil {
		return 0, storeError(err)
	}
	a.store = s
	return s.Backup(ctx, file)
}

// dumpPostgres runs pg_dump, which gets the connection from its environment:
// a command line is for all users of the machine to see.
func dumpPostgres(ctx context.Context, dsn, file string) (int64, error) {
	program, err := exec.LookPath("pg_dump")
	if err != nil {
		return 0, fmt.Errorf("a PostgreSQL database is backed up by pg_dump, which is not installed here; install it (postgresql-client), or run \"pg_dump --format=custom --file=%s\" where it is", file)
	}
	env, err := libpq(dsn)
	if err != nil {
		return 0, err
	}
	size, err := store.NewFile(file, func(part string) error {
		c := exec.CommandContext(ctx, program, "--format=custom", "--no-password", "--file="+part)
		c.Env = append(os.Environ(), env...)
		var text strings.Builder
		c.Stderr = &text
		if err := c.Run(); err != nil {
			return fmt.Errorf("pg_dump: %w: %s", err, strings.TrimSpace(text.String()))
		}
		return nil
	})
	return size, err
}

// libpq returns the variables that tell libpq what a DSN says. TLS is checked
// as kedge does.
func libpq(dsn string) ([]string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("store.dsn is not a URL")}
	}
	q := u.Query()
	host, port, mode, root := u.Hostname(), u.Port(), q.Get("sslmode"), q.Get("sslrootcert")
	if h := q.Get("host"); h != "" {
		host = h
	}
	if p := q.Get("port"); p != "" {
		port = p
	}
	if strings.HasPrefix(filepath.Base(host), ".s.PGSQL.") { // the socket itself
		port = strings.TrimPrefix(filepath.Base(host), ".s.PGSQL.")
		host = filepath.Dir(host)
	}
	if mode == "" || mode == "require" {
		mode = "verify-full"
	}
	if root == "" && mode == "verify-full" {
		root = "system"
	}
	if filepath.IsAbs(host) {
		mode, root = "disable", ""
	}
	password, _ := u.User.Password()
	var env []string
	for _, v := range [][2]string{
		{"PGHOST", host}, {"PGPORT", port}, {"PGUSER", u.User.Username()}, {"PGPASSWORD", password}, {"PGDATABASE", strings.TrimPrefix(u.Path, "/")},
		{"PGSSLMODE", mode}, {"PGSSLROOTCERT", root}, {"PGSSLCERT", q.Get("sslcert")}, {"PGSSLKEY", q.Get("sslkey")},
	} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env, nil
}
