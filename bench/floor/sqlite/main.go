// Command sqlite is the floor of a load into SQLite: it fetches and decodes
// customers and upserts them with one prepared statement, in commits of as
// many rows as kedge's and with the same durability.
package main

import (
	"database/sql"
	"encoding/json"
	"log"
	"os"

	_ "modernc.org/sqlite"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

const table = `CREATE TABLE IF NOT EXISTS customer (no TEXT NOT NULL, name TEXT, street TEXT, city TEXT, post_code TEXT, country TEXT,
	email TEXT, phone TEXT, balance TEXT, blocked BOOLEAN, row_version INTEGER, modified_at TEXT, PRIMARY KEY (no))`

const upsert = `INSERT INTO customer VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (no) DO UPDATE SET
	name = excluded.name, street = excluded.street, city = excluded.city, post_code = excluded.post_code, country = excluded.country,
	email = excluded.email, phone = excluded.phone, balance = excluded.balance, blocked = excluded.blocked,
	row_version = excluded.row_version, modified_at = excluded.modified_at`

func main() {
	r, dsn := feed.Flags()
	s, err := load(r, dsn)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(s)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func load(r *feed.Reader, dsn string) (s feed.Summary, err error) {
	db, err := sql.Open("sqlite", "file:"+dsn+"?_txlock=immediate&_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		return s, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(table); err != nil {
		return s, err
	}
	var batch []feed.Customer
	for r.URL != "" {
		if batch, err = r.Batch(batch); err != nil {
			return s, err
		}
		if err := write(db, batch); err != nil {
			return s, err
		}
		s.Rows += len(batch)
	}
	s.Delta = r.Delta
	return s, db.Close()
}

func write(db *sql.DB, batch []feed.Customer) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.Prepare(upsert)
	if err != nil {
		return err
	}
	for i := range batch {
		c := &batch[i]
		phone := sql.NullString{String: c.Phone, Valid: c.HasPhone}
		_, err := stmt.Exec(c.No, c.Name, c.Street, c.City, c.PostCode, c.Country, c.Email, phone, c.Balance, c.Blocked, c.RowVersion, c.ModifiedAt)
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}
