package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/migrate"
)

const (
	migrationTable = "kedge_migration"
	migrationLock  = 0x6b656467_65 // "kedge"; one advisory lock of the database, for migrating
)

// A Migration is one forward step of the database's schema. Names sort in the
// order of application: "20261124_01_syncer".
type Migration struct {
	Name     string
	SQLite   string // statements, separated by semicolons
	Postgres string // "" means the same as SQLite
}

// Migrations are the store's own tables: kedge_lease, connector_state.
func Migrations() []Migration {
	return []Migration{{
		Name: "20261120_01_store",
		SQLite: `
CREATE TABLE kedge_lease (
	name TEXT NOT NULL PRIMARY KEY,
	holder TEXT NOT NULL, -- '' when released
	fence BIGINT NOT NULL,
	expires BIGINT NOT NULL, -- milliseconds since 1970 by the database's clock
	session TEXT NOT NULL -- names the lock that proves the holder alive
);
CREATE TABLE connector_state (
	connection TEXT NOT NULL,
	name TEXT NOT NULL,
	value BLOB NOT NULL, -- sealed
	rev BIGINT NOT NULL,
	updated_at TIMESTAMP NOT NULL,
	PRIMARY KEY (connection, name)
);`,
		Postgres: `
CREATE TABLE kedge_lease (
	name TEXT NOT NULL PRIMARY KEY,
	holder TEXT NOT NULL,
	fence BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	session TEXT NOT NULL
);
CREATE TABLE connector_state (
	connection TEXT NOT NULL,
	name TEXT NOT NULL,
	value BYTEA NOT NULL,
	rev BIGINT NOT NULL,
	updated_at TIMESTAMPTZ NOT NULL,
	PRIMARY KEY (connection, name)
);`,
	}}
}

// Migrate applies the migrations that are not yet recorded in kedge_migration,
// in order of name, each in a transaction, and returns their names, also with
// an error. Two processes may call it at once.
func (s *Store) Migrate(ctx context.Context, migrations []Migration) ([]string, error) {
	if err := checkMigrations(migrations); err != nil {
		return nil, err
	}
	var done []string
	for {
		name, err := s.migrateNext(ctx, migrations)
		if err != nil || name == "" {
			return done, err
		}
		done = append(done, name)
	}
}

// migrateNext applies the first pending migration and returns its name, or ""
// if there is none.
func (s *Store) migrateNext(ctx context.Context, migrations []Migration) (string, error) {
	pending, err := s.Pending(ctx, migrations)
	if err != nil || len(pending) == 0 {
		return "", err
	}
	// bun/migrate takes a *bun.DB and records a migration after running it.
	// One connection inside a transaction makes the two one step.
	db, err := s.fork()
	if err != nil {
		return "", err
	}
	defer db.Close() // rolls back what is not committed
	if err := s.beginAlone(ctx, db); err != nil {
		return "", Error("store.Migrate", "", err)
	}
	// Another process may have been quicker.
	if pending, err = unapplied(ctx, db, migrations); err != nil || len(pending) == 0 {
		return "", err
	}
	if err := s.apply(ctx, db, migrations, pending[0]); err != nil {
		return "", Error("store.Migrate", pending[0], err)
	}
	if _, err := db.ExecContext(ctx, "COMMIT"); err != nil {
		return "", Error("store.Migrate", pending[0], err)
	}
	return pending[0], nil
}

// beginAlone begins a transaction on the one connection of db while nobody else
// migrates.
func (s *Store) beginAlone(ctx context.Context, db *bun.DB) error {
	if s.engine == Postgres {
		_, err := db.ExecContext(ctx, fmt.Sprintf("BEGIN; SELECT pg_advisory_xact_lock(%d)", migrationLock))
		return err
	}
	leave, err := s.turn.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = db.ExecContext(ctx, "BEGIN IMMEDIATE")
	return err
}

// apply runs and records one migration on db, which is in a transaction.
func (s *Store) apply(ctx context.Context, db *bun.DB, migrations []Migration, name string) error {
	m := migrations[slices.IndexFunc(migrations, func(m Migration) bool { return m.Name == name })]
	statements := m.SQLite
	if s.engine == Postgres && m.Postgres != "" {
		statements = m.Postgres
	}
	list := migrate.NewMigrations()
	list.Add(migrate.Migration{Name: name, Up: func(ctx context.Context, _ *migrate.Migrator, _ *migrate.Migration) error {
		_, err := db.DB.ExecContext(ctx, statements) // past bun, which would read ? as an argument
		return err
	}})
	if _, err := db.NewCreateTable().Model((*migrate.Migration)(nil)).ModelTableExpr(migrationTable).IfNotExists().Exec(ctx); err != nil {
		return err
	}
	_, err := migrate.NewMigrator(db, list, migrate.WithTableName(migrationTable), migrate.WithMarkAppliedOnSuccess(true)).Migrate(ctx)
	return err
}

// Pending returns the names of the migrations that Migrate would apply. It
// writes nothing.
func (s *Store) Pending(ctx context.Context, migrations []Migration) ([]string, error) {
	if err := checkMigrations(migrations); err != nil {
		return nil, err
	}
	return unapplied(ctx, s.db, migrations)
}

func unapplied(ctx context.Context, db *bun.DB, migrations []Migration) ([]string, error) {
	exists, err := hasTable(ctx, db, migrationTable)
	if err != nil {
		return nil, Error("store.Migrate", "", err)
	}
	applied := map[string]bool{}
	if exists {
		rows, err := migrate.NewMigrator(db, migrate.NewMigrations(), migrate.WithTableName(migrationTable)).AppliedMigrations(ctx)
		if err != nil {
			return nil, Error("store.Migrate", "", err)
		}
		for _, m := range rows {
			applied[m.Name] = true
		}
	}
	var names []string
	for _, m := range migrations {
		if !applied[m.Name] {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// hasTable asks the catalogue, because on PostgreSQL a failing query would end
// the transaction.
func hasTable(ctx context.Context, db *bun.DB, name string) (bool, error) {
	query := "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
	if db.Dialect().Name().String() == "pg" {
		query = "SELECT count(*) FROM pg_class WHERE oid = to_regclass(?)"
	}
	var n sql.NullInt64
	err := db.QueryRowContext(ctx, query, name).Scan(&n)
	return n.Int64 > 0, err
}

func checkMigrations(migrations []Migration) error {
	seen := map[string]bool{}
	for _, m := range migrations {
		if m.Name == "" || m.SQLite == "" || seen[m.Name] {
			return &kedge.Error{Op: "store.Migrate", Entity: m.Name, Kind: kedge.Internal, Err: fmt.Errorf("a migration needs a name of its own and statements")}
		}
		seen[m.Name] = true
	}
	return nil
}
