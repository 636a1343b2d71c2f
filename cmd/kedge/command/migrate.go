package command

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/cmd/kedge/config"
	"github.com/kedge-sync/kedge/internal/store"
)

// connectionMigrations make the table of connections that commands made.
func connectionMigrations() []store.Migration {
	const table = `CREATE TABLE connector_connection (
  name text NOT NULL PRIMARY KEY,
  kind text NOT NULL,
  config text NOT NULL,
  author text NOT NULL,
  at timestamp NOT NULL
);`
	return []store.Migration{{Name: "20261124_05_connections", SQLite: table, Postgres: strings.Replace(table, "timestamp", "timestamptz", 1)}}
}

// A storedConnection is a connection made by "integrations create --kind".
// Its config holds references to secrets, never secrets.
type storedConnection struct {
	bun.BaseModel `bun:"table:connector_connection"`

	Name   string `bun:",pk"`
	Kind   string
	Config string
	Author string
	At     time.Time
}

func (a *app) storedConnection(ctx context.Context, name string) (*config.Connection, error) {
	unknown := usage(&kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no connection %q; see \"kedge connections list\"", name)})
	if a.store == nil {
		return nil, unknown
	}
	row := new(storedConnection)
	err := a.store.DB().NewSelect().Model(row).Where("name = ?", name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	block, err := config.Resolve(name, json.RawMessage(row.Config))
	if err != nil {
		return nil, usage(err)
	}
	return &config.Connection{Kind: row.Kind, Block: block}, nil
}

func (a *app) storedConnections(ctx context.Context) ([]storedConnection, error) {
	var rows []storedConnection
	return rows, a.store.DB().NewSelect().Model(&rows).Order("name").Scan(ctx)
}

func (a *app) migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "migrate", Short: "Bring the tables of kedge's database up to date", Args: cobra.NoArgs,
		Long:    "Applies the migrations that the database lacks. All commands do this when they start, unless --no-migrate is given.",
		Example: examples("kedge migrate"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.noMigrate = false
			cfg, err := a.config()
			if err != nil {
				return err
			}
			s, err := store.Open(cmd.Context(), cfg.Store.DSN, nil)
			if err != nil {
				return storeError(err)
			}
			a.store = s
			done, err := s.Migrate(cmd.Context(), migrations())
			if err != nil {
				return err
			}
			return a.print(cmd.OutOrStdout(), map[string]any{"applied": notNil(done)}, func(w io.Writer) {
				for _, name := range done {
					fmt.Fprintln(w, "applied "+name)
				}
				if len(done) == 0 {
					fmt.Fprintln(w, "up to date")
				}
			})
		},
	}
}
