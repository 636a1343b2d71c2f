package subscriptions

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge/internal/store"
)

// All times of push tables are milliseconds since 1970.

// A tokenRow is an access token. Only hashes of its value are kept.
type tokenRow struct {
	bun.BaseModel `bun:"table:push_token,alias:t"`

	ID         string `bun:",pk"`
	Account    string
	UserID     string
	Hash       string
	OldHash    string
	OldUntil   int64
	Grants     string // JSON of []spec.Grant
	Generation int64
	CreatedAt  int64
	ExpiresAt  int64
	RevokedAt  int64
	UsedAt     int64
}

// A subRow is a subscription.
type subRow struct {
	bun.BaseModel `bun:"table:push_subscription,alias:s"`

	ID          string `bun:",pk"`
	Account     string
	UserID      string
	TokenID     string
	Spec        string // JSON of spec.Doc without secrets
	Sealed      []byte // secrets, see seal
	Entity      string
	RecordKey   string
	State       string
	Reason      string
	StartSeq    int64
	Generation  int64
	CreatedAt   int64
	ChangedAt   int64
	FirstFailAt int64
	Failures    int64
	LastOkAt    int64
	ExpiresAt   int64
	Noticed     int64
	IdemHash    string
	IdemBody    []byte
}

// The states of a subscription. A deleted one keeps a row without content for
// a day, so that all processes learn of it.
const (
	StateUnverified = "unverified"
	StateActive     = "active"
	StatePaused     = "paused"
	StateDisabled   = "disabled"
	StateExpired    = "expired"

	stateDeleted = "deleted"
)

// An eventRow is an event.
type eventRow struct {
	Seq       int64
	ID        string
	Entity    string
	RecordKey string
	Resource  string
	KeyJSON   string
	Op        string
	Changed   string
	Image     string
	Before    string
	Origin    string
	At        int64
}

const eventColumns = "e.seq, e.id, e.entity, e.record_key, e.resource, e.key_json, e.op, e.changed, e.image, e.before, e.origin, e.at"

func (e *eventRow) targets() []any {
	return []any{&e.Seq, &e.ID, &e.Entity, &e.RecordKey, &e.Resource, &e.KeyJSON, &e.Op, &e.Changed, &e.Image, &e.Before, &e.Origin, &e.At}
}

// bump makes a new generation: what is written with it in tx is noticed by all
// workers. It keeps other changes of subscriptions waiting until tx ends.
func bump(ctx context.Context, tx bun.IDB) (int64, error) {
	var g int64
	err := tx.QueryRowContext(ctx, "UPDATE push_state SET value = value + 1 WHERE name = 'generation' RETURNING value").Scan(&g)
	return g, store.Error("subscriptions", "", err)
}

func readGeneration(ctx context.Context, db bun.IDB) (int64, error) {
	var g int64
	err := db.QueryRowContext(ctx, "SELECT value FROM push_state WHERE name = 'generation'").Scan(&g)
	return g, store.Error("subscriptions", "", err)
}

// readState returns the generation and the number of erasures.
func readState(ctx context.Context, db bun.IDB) (generation, scrubs int64, err error) {
	err = each(ctx, db, func(r *sql.Rows) error {
		var name string
		var value int64
		err := r.Scan(&name, &value)
		switch name {
		case "generation":
			generation = value
		case "scrub":
			scrubs = value
		}
		return err
	}, "SELECT name, value FROM push_state")
	return generation, scrubs, err
}

// lastSeq returns the highest sequence of an event so far.
func lastSeq(ctx context.Context, db bun.IDB) (int64, error) {
	var seq sql.NullInt64
	err := db.QueryRowContext(ctx, "SELECT max(seq) FROM push_event").Scan(&seq)
	return seq.Int64, store.Error("subscriptions", "", err)
}

// each runs a query and calls f for each row, which scans it.
func each(ctx context.Context, db bun.IDB, f func(*sql.Rows) error, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return store.Error("subscriptions", "", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return store.Error("subscriptions", "", err)
		}
	}
	return store.Error("subscriptions", "", rows.Err())
}

func exec(ctx context.Context, db bun.IDB, query string, args ...any) (int64, error) {
	res, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, store.Error("subscriptions", "", err)
	}
	n, err := res.RowsAffected()
	return n, store.Error("subscriptions", "", err)
}

// appendInts appends "1,2,3". The lists of this package hold numbers and ids of
// subscriptions, which need no quoting, so they are written into statements.
func appendInts(b []byte, list []int64) []byte {
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return b
}

// appendIDs appends "'sub_1','sub_2'".
func appendIDs(b []byte, ids []string) []byte {
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '\''), id...), '\'')
	}
	return b
}
