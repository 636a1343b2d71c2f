package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/bench/floor/feed"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
)

// writePages is how many pages each contestant writes in a repeat.
const writePages = 20

// A writer writes pages of new customers to a table, in three ways.
type writer struct {
	st     *store.Store
	driver connectors.TxWriter
	page   int // rows
	next   int // of the source
	stmt   string

	changes []kedge.Change
	plain   []feed.Customer
	models  []model
	copied  bytes.Buffer
}

// A model is a customer as bun writes it.
type model struct {
	bun.BaseModel `bun:"table:by_bun"`

	No, Name, Street, City, PostCode, Country, Email string
	Phone                                            *string
	Balance                                          string
	Blocked                                          bool
	RowVersion                                       int64
	ModifiedAt                                       time.Time
}

var columns = strings.Fields("no name street city post_code country email phone balance blocked row_version modified_at")

// microWrite measures WriteTx against bare statements and against bun, with
// the same commits.
func microWrite(in microInput) (finding, error) {
	ctx := context.Background()
	st, err := store.Open(ctx, in.dsn, nil)
	if err != nil {
		return finding{}, err
	}
	defer st.Close()
	w := &writer{st: st, page: 1000, stmt: upsertInto("bare", "VALUES (?"+strings.Repeat(", ?", len(columns)-1)+")")}
	if st.Engine() == store.Postgres {
		w.page, w.stmt = 4000, upsertInto("bare", "SELECT * FROM stage")
	}
	if err := w.makeTables(ctx, "customer", "bare", "by_bun"); err != nil {
		return finding{}, err
	}
	ways := []func(context.Context, *store.Tx) error{w.byKedge, w.bareSQLite, w.byBun}
	if st.Engine() == store.Postgres {
		ways[1] = w.barePostgres
	}
	times, err := w.inTurn(ctx, ways)
	if err != nil {
		return finding{}, err
	}
	return finding{Rows: w.rows(times)}, w.check(ctx)
}

func upsertInto(table, values string) string {
	var set []string
	for _, c := range columns[1:] {
		set = append(set, c+" = excluded."+c)
	}
	return "INSERT INTO " + table + " " + values + " ON CONFLICT (no) DO UPDATE SET " + strings.Join(set, ", ")
}

// makeTables makes tables of one shape.
func (w *writer) makeTables(ctx context.Context, names ...string) error {
	made, err := sqltable.Kind().New(json.RawMessage(`{"dsn": "kedge"}`), connectors.Env{Name: "local", Store: w.st})
	if err != nil {
		return err
	}
	d := made.(*sqltable.Driver)
	w.driver = d
	ent := customers(0).Entity
	want := kedge.Entity{Name: "customer", Key: columns[:1], Fields: append([]kedge.Field(nil), ent.Fields...)}
	for i := range want.Fields {
		want.Fields[i].Name = columns[i]
	}
	for _, want.Name = range names {
		steps, err := d.PlanSchema(ctx, []kedge.Entity{want})
		if err != nil {
			return err
		}
		if err := d.ApplySchema(ctx, steps); err != nil {
			return err
		}
	}
	return nil
}

// inTurn lets all ways write each page, every time another one first, so that
// what else the disk does and the checkpoints of the log meet all of them. It
// returns the median of what writePages pages take.
func (w *writer) inTurn(ctx context.Context, ways []func(context.Context, *store.Tx) error) ([]usage, error) {
	all := make([][]usage, len(ways))
	for range repeats {
		turn := make([]usage, len(ways))
		for page := range writePages {
			if err := w.make(); err != nil {
				return nil, err
			}
			for k := range ways {
				i := (page + k) % len(ways)
				cpu, begin := cpuTime(), time.Now()
				if err := w.st.InTx(ctx, ways[i]); err != nil {
					return nil, err
				}
				turn[i].cpu, turn[i].wall = turn[i].cpu+cpuTime()-cpu, turn[i].wall+time.Since(begin)
			}
		}
		for i := range all {
			all[i] = append(all[i], turn[i])
		}
	}
	medians := make([]usage, len(ways))
	for i := range all {
		medians[i] = median(all[i])
	}
	return medians, nil
}

// make makes the next page in all forms.
func (w *writer) make() error {
	fields := kedge.NewFields(columns...)
	w.changes, w.plain, w.models = w.changes[:0], w.plain[:0], w.models[:0]
	for range w.page {
		v := customer(w.next)
		w.next++
		w.changes = append(w.changes, kedge.Change{Op: kedge.Upsert, Entity: "customer", Key: kedge.NewKey(v[0]), Fields: fields, Values: v})
		c := feed.Customer{No: v[0].Str(), Name: v[1].Str(), Street: v[2].Str(), City: v[3].Str(), PostCode: v[4].Str(), Country: v[5].Str(),
			Email: v[6].Str(), Phone: v[7].Str(), HasPhone: !v[7].IsNull(), Balance: v[8].Str(), Blocked: v[9].Bool(), RowVersion: v[10].Int(),
			ModifiedAt: v[11].Time().Format("2006-01-02T15:04:05.000000000Z")} // as long as kedge's
		w.plain = append(w.plain, c)
		m := model{No: c.No, Name: c.Name, Street: c.Street, City: c.City, PostCode: c.PostCode, Country: c.Country, Email: c.Email,
			Balance: c.Balance, Blocked: c.Blocked, RowVersion: c.RowVersion, ModifiedAt: v[11].Time()}
		if c.HasPhone {
			m.Phone = &c.Phone
		}
		w.models = append(w.models, m)
	}
	return feed.EncodeCopy(&w.copied, w.plain)
}

func (w *writer) byKedge(ctx context.Context, tx *store.Tx) error {
	results, err := w.driver.WriteTx(ctx, tx, w.changes)
	for i := range results {
		if err == nil && results[i].State != connectors.Inserted {
			err = fmt.Errorf("a row is %v", results[i].State)
		}
	}
	return err
}

func (w *writer) bareSQLite(ctx context.Context, tx *store.Tx) error {
	stmt, err := tx.Tx.Tx.PrepareContext(context.WithoutCancel(ctx), w.stmt)
	if err != nil {
		return err
	}
	for i := range w.plain {
		c := &w.plain[i]
		phone := sql.NullString{String: c.Phone, Valid: c.HasPhone}
		_, err := stmt.Exec(c.No, c.Name, c.Street, c.City, c.PostCode, c.Country, c.Email, phone, c.Balance, c.Blocked, c.RowVersion, c.ModifiedAt)
		if err != nil {
			return err
		}
	}
	return stmt.Close()
}

func (w *writer) barePostgres(ctx context.Context, tx *store.Tx) error {
	if _, err := tx.ExecContext(ctx, "CREATE TEMP TABLE IF NOT EXISTS stage (LIKE bare) ON COMMIT DELETE ROWS"); err != nil {
		return err
	}
	if _, err := pgdriver.CopyFrom(ctx, tx.Conn(), &w.copied, "COPY stage FROM STDIN (FORMAT BINARY)"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, w.stmt)
	return err
}

func (w *writer) byBun(ctx context.Context, tx *store.Tx) error {
	q := tx.NewInsert().Model(&w.models).On("CONFLICT (no) DO UPDATE")
	for _, c := range columns[1:] {
		q = q.Set(c + " = excluded." + c)
	}
	_, err := q.Exec(ctx)
	return err
}

// check fails if not all ways have written the same rows.
func (w *writer) check(ctx context.Context) error {
	want := state{}
	for _, table := range []string{"customer", "bare", "by_bun"} {
		var got state
		err := w.st.DB().DB.QueryRowContext(ctx, "SELECT count(*), sum(row_version), sum(length(name)) FROM "+table).Scan(&got.Rows, &got.Versions, &got.Letters)
		if err != nil {
			return err
		}
		if want == (state{}) {
			want = got
		}
		if got != want || got.Rows != w.next {
			return fmt.Errorf("table %s holds %+v, want %+v", table, got, want)
		}
	}
	return nil
}

func (w *writer) rows(times []usage) []row {
	kedge, bare, byBun := times[0], times[1], times[2]
	pages := fmt.Sprintf("WriteTx, pages of %s, ", thousands(w.page))
	perSecond := func(u usage) string {
		return fmt.Sprintf("%s rows/s, %s CPU", thousands(int(float64(w.page*writePages)/u.wall.Seconds())), short(u.cpu))
	}
	describe := func(r row, against usage) row {
		r.CPU = fmt.Sprintf("%.2f", ratio(against.cpu, kedge.cpu))
		r.Kedge, r.Floor = perSecond(kedge), perSecond(against)
		return r
	}
	if w.st.Engine() == store.SQLite {
		return []row{
			describe(atLeast(pages+"SQLite, rows/s ÷ a bare prepared statement", ratio(bare.wall, kedge.wall), 0.80, "%.2f"), bare),
			describe(atMost("its CPU time ÷ that of bun's bulk insert", ratio(kedge.cpu, byBun.cpu), 0.85, "%.2f"), byBun),
		}
	}
	return []row{
		describe(atLeast(pages+"PostgreSQL, rows/s ÷ a bare COPY of ready bytes and merge", ratio(bare.wall, kedge.wall), 0.85, "%.2f"), bare),
		describe(atLeast("its rows/s ÷ bun's bulk insert", ratio(byBun.wall, kedge.wall), 1.5, "%.2f"), byBun),
	}
}
