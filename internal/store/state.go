package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

// State is a sealed key/value store of one connection (table connector_state):
// tokens, for example, that a system gave us.
type State struct {
	store      *Store
	connection string
}

// A stateRow is one sealed value.
type stateRow struct {
	bun.BaseModel `bun:"table:connector_state"`

	Connection string `bun:",pk"`
	Name       string `bun:",pk"`
	Value      []byte
	Rev        int64
	UpdatedAt  time.Time
}

// State returns the state of the named connection.
func (s *Store) State(connection string) *State { return &State{store: s, connection: connection} }

// Get returns the value stored under name and the revision to swap it with,
// or nil and 0 if there is none.
func (st *State) Get(ctx context.Context, name string) (value []byte, rev int64, err error) {
	if st.store.opts.Keys == nil {
		return nil, 0, errNoKeys("store.State")
	}
	var row stateRow
	err = st.store.db.NewSelect().Model(&row).Where("connection = ? AND name = ?", st.connection, name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, st.error(err)
	}
	if value, err = st.store.opts.Keys.Open(row.Value, st.context(name)); err != nil {
		return nil, 0, &kedge.Error{Op: "store.State", Entity: st.connection, Kind: kedge.Invalid, Err: err}
	}
	return value, row.Rev, nil
}

// Put stores value under name if its revision is still rev (0: there is none
// yet), and returns an error of kind Conflict otherwise. Read again to learn
// the new revision.
func (st *State) Put(ctx context.Context, name string, value []byte, rev int64) error {
	sealed, err := st.store.opts.Keys.Seal(value, st.context(name))
	if err != nil {
		return err
	}
	row := &stateRow{Connection: st.connection, Name: name, Value: sealed, Rev: rev + 1, UpdatedAt: st.store.opts.Now().UTC()}
	var n int64
	err = st.store.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		var res sql.Result
		if rev == 0 {
			if row.Rev, err = firstRev(); err != nil {
				return err
			}
			res, err = tx.NewInsert().Model(row).On("CONFLICT (connection, name) DO NOTHING").Exec(ctx)
		} else {
			res, err = tx.NewUpdate().Model(row).WherePK().Where("rev = ?", rev).Exec(ctx)
		}
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	if err == nil && n == 0 {
		err = &kedge.Error{Op: "store.State", Entity: st.connection, Kind: kedge.Conflict, Err: errors.New("the value was changed meanwhile")}
	}
	return st.error(err)
}

// Delete forgets name, if it is there.
func (st *State) Delete(ctx context.Context, name string) error {
	return st.error(st.store.InTx(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.NewDelete().Model(&stateRow{Connection: st.connection, Name: name}).WherePK().Exec(ctx)
		return err
	}))
}

func (st *State) error(err error) error { return Error("store.State", st.connection, err) }

func (st *State) context(name string) string {
	return "connector_state\x00" + st.connection + "\x00" + name
}

// firstRev returns a random revision, so that a value that was deleted and
// made again does not have one that somebody remembers.
func firstRev() (int64, error) {
	var b [8]byte
	_, err := rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:])>>2) + 1, err
}
