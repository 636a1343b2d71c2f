// Command postgres is the floor of a load into PostgreSQL: it fetches and
// decodes customers, copies them into a temporary table in binary form and
// merges them from there with one statement per commit.
package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"os"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

const table = `CREATE TABLE IF NOT EXISTS customer (no text NOT NULL, name text, street text, city text, post_code text, country text,
	email text, phone text, balance numeric, blocked boolean, row_version bigint, modified_at timestamptz, PRIMARY KEY (no));
	CREATE TEMP TABLE stage (LIKE customer) ON COMMIT DELETE ROWS`

const merge = `INSERT INTO customer SELECT * FROM stage ON CONFLICT (no) DO UPDATE SET
	name = excluded.name, street = excluded.street, city = excluded.city, post_code = excluded.post_code, country = excluded.country,
	email = excluded.email, phone = excluded.phone, balance = excluded.balance, blocked = excluded.blocked,
	row_version = excluded.row_version, modified_at = excluded.modified_at`

func main() {
	r, dsn := feed.Flags()
	s, err := load(context.Background(), r, dsn)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func load(ctx context.Context, r *feed.Reader, dsn string) (s feed.Summary, err error) {
	db := bun.NewDB(sql.OpenDB(pgdriver.NewConnector(pgdriver.WithDSN(dsn))), pgdialect.New())
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return s, err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, table); err != nil {
		return s, err
	}
	var batch []feed.Customer
	var encoded bytes.Buffer
	for r.URL != "" {
		if batch, err = r.Batch(batch); err != nil {
			return s, err
		}
		if err := feed.EncodeCopy(&encoded, batch); err != nil {
			return s, err
		}
		if err := write(ctx, conn, &encoded); err != nil {
			return s, err
		}
		s.Rows += len(batch)
	}
	s.Delta = r.Delta
	return s, nil
}

func write(ctx context.Context, conn bun.Conn, rows *bytes.Buffer) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := pgdriver.CopyFrom(ctx, conn, rows, "COPY stage FROM STDIN (FORMAT BINARY)"); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, merge); err != nil {
		return err
	}
	return tx.Commit()
}
