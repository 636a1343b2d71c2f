package sqltable_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun/driver/pgdriver"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/pgcopy"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// benchEntity has 12 fields; its rows have about 450 bytes.
var benchEntity = kedge.Entity{Name: "bench", Key: []string{"f0"}, Fields: benchFields()}

func benchFields() []kedge.Field {
	types := []kedge.Type{kedge.TypeString, kedge.TypeString, kedge.TypeString, kedge.TypeDecimal, kedge.TypeInt, kedge.TypeTime, kedge.TypeBool,
		kedge.TypeString, kedge.TypeString, kedge.TypeDate, kedge.TypeFloat, kedge.TypeString}
	var fields []kedge.Field
	for i, t := range types {
		fields = append(fields, kedge.Field{Name: fmt.Sprintf("f%d", i), Type: t, Nullable: true, Scale: -1})
	}
	return fields
}

// benchChanges returns n changes of rows from on.
func benchChanges(op kedge.Op, from, n, revision int) []kedge.Change {
	var names []string
	for _, f := range benchEntity.Fields {
		names = append(names, f.Name)
	}
	fields := kedge.NewFields(names...)
	pad := strings.Repeat("x", 60)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	changes := make([]kedge.Change, n)
	for i := range changes {
		id := fmt.Sprintf("%08x-0000-7000-8000-%012x", from+i, from+i)
		changes[i] = kedge.Change{Op: op, Entity: "bench", Key: kedge.Key(id), Fields: fields, Values: []kedge.Value{
			kedge.String(id), kedge.String(pad), kedge.String(pad[:40]), kedge.Decimal("1234.50"), kedge.Int(int64(revision)),
			kedge.Time(at.Add(time.Duration(i) * time.Second)), kedge.Bool(i%2 == 0), kedge.String(pad), kedge.String(pad[:50]),
			kedge.Date(at), kedge.Float(float64(i) + 0.5), kedge.String(pad),
		}}
	}
	return changes
}

const benchPage = 1000

// BenchmarkWriteTx/…/kedge against …/bare gives the ratio to a bare program:
// rows per second with the same commits.
func BenchmarkWriteTx(b *testing.B) {
	for _, engine := range []store.Engine{store.SQLite, store.Postgres} {
		for _, mode := range []string{"insert", "upsertNew", "upsertChanged", "updateChanged"} {
			for _, who := range []string{"bare", "kedge"} {
				b.Run(fmt.Sprint(engine, "/", mode, "/", who), func(b *testing.B) { benchWrite(b, engine, mode, who) })
			}
		}
	}
}

func benchWrite(b *testing.B, engine store.Engine, mode, who string) {
	s := storetest.SQLite
	page := benchPage
	if engine == store.Postgres {
		s, page = storetest.Postgres, 4*benchPage
	}
	st := s(b)
	d := open(b, st, "")
	create(b, d, benchEntity)
	op := map[string]kedge.Op{"insert": kedge.Insert, "upsertNew": kedge.Upsert, "upsertChanged": kedge.Upsert, "updateChanged": kedge.Update}[mode]
	const pages = 20
	if strings.HasSuffix(mode, "Changed") {
		for p := range pages {
			benchCommit(b, st, d, "kedge", benchChanges(kedge.Insert, p*page, page, 0))
		}
	}
	i := 0
	for b.Loop() {
		from, revision := i*page, 1
		if strings.HasSuffix(mode, "Changed") {
			from, revision = i%pages*page, i+1
		}
		b.StopTimer()
		changes := benchChanges(op, from, page, revision)
		var ready []byte
		if engine == store.Postgres {
			ready = benchCopy(b, changes)
		}
		b.StartTimer()
		if who == "bare" && engine == store.Postgres {
			benchBarePostgres(b, st, op, ready)
		} else {
			benchCommit(b, st, d, who, changes)
		}
		i++
	}
	b.ReportMetric(float64(page*i)/b.Elapsed().Seconds(), "rows/s")
}

func benchCommit(b *testing.B, s *store.Store, d *sqltable.Driver, who string, changes []kedge.Change) {
	err := s.InTx(b.Context(), func(ctx context.Context, tx *store.Tx) error {
		if who == "bare" {
			return bare(ctx, tx, changes)
		}
		_, err := d.WriteTx(ctx, tx, changes)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// bare does the physical work only.
func bare(ctx context.Context, tx *store.Tx, changes []kedge.Change) error {
	if changes[0].Op == kedge.Update {
		return bareUpdate(ctx, tx, changes)
	}
	var set []string
	for i := 1; i < 12; i++ {
		set = append(set, fmt.Sprintf("f%d = excluded.f%d", i, i))
	}
	stmt, err := tx.Tx.Tx.PrepareContext(context.WithoutCancel(ctx), "INSERT INTO bench VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (f0) DO UPDATE SET "+strings.Join(set, ", "))
	if err != nil {
		return err
	}
	defer stmt.Close()
	args := make([]any, 12)
	for _, c := range changes {
		bareArgs(args, c.Values)
		if _, err := stmt.Exec(args...); err != nil {
			return err
		}
	}
	return nil
}

func bareArgs(args []any, values []kedge.Value) {
	for i, v := range values {
		switch v.Type() {
		case kedge.TypeTime:
			args[i] = v.Time().Format("2006-01-02T15:04:05.000000000Z")
		case kedge.TypeDate:
			args[i] = v.Time().Format(time.DateOnly)
		default:
			args[i] = v.Any()
		}
	}
}

func bareUpdate(ctx context.Context, tx *store.Tx, changes []kedge.Change) error {
	var set []string
	for i := 1; i < 12; i++ {
		set = append(set, fmt.Sprintf("f%d = ?", i))
	}
	stmt, err := tx.Tx.Tx.PrepareContext(context.WithoutCancel(ctx), "UPDATE bench SET "+strings.Join(set, ", ")+" WHERE f0 = ?")
	if err != nil {
		return err
	}
	defer stmt.Close()
	args := make([]any, 12)
	for _, c := range changes {
		bareArgs(args, c.Values)
		if _, err := stmt.Exec(append(args[1:12:12], args[0])...); err != nil {
			return err
		}
	}
	return nil
}

// benchCopy returns changes in the format of COPY.
func benchCopy(b *testing.B, changes []kedge.Change) []byte {
	var e pgcopy.Encoder
	for _, c := range changes {
		e.Row(12)
		for _, v := range c.Values {
			switch v.Type() {
			case kedge.TypeDecimal:
				e.Numeric(v.Str())
			case kedge.TypeInt:
				e.Int8(v.Int())
			case kedge.TypeBool:
				e.Bool(v.Bool())
			case kedge.TypeFloat:
				e.Float8(v.Float())
			case kedge.TypeTime:
				e.Time(v.Time())
			case kedge.TypeDate:
				e.Date(v.Time())
			default:
				e.Text(v.Str())
			}
		}
	}
	e.End()
	return e.Drain()
}

// benchBarePostgres copies ready bytes and merges them.
func benchBarePostgres(b *testing.B, s *store.Store, op kedge.Op, ready []byte) {
	err := s.InTx(b.Context(), func(ctx context.Context, tx *store.Tx) error {
		conn := tx.Conn()
		if _, err := conn.Conn.ExecContext(ctx, "CREATE TEMP TABLE IF NOT EXISTS bare (LIKE bench) ON COMMIT DELETE ROWS"); err != nil {
			return err
		}
		if _, err := pgdriver.CopyFrom(ctx, conn, bytes.NewReader(ready), "COPY bare FROM STDIN (FORMAT BINARY)"); err != nil {
			return err
		}
		var set, copied []string
		for i := 1; i < 12; i++ {
			set = append(set, fmt.Sprintf("f%d = excluded.f%d", i, i))
			copied = append(copied, fmt.Sprintf("f%d = bare.f%d", i, i))
		}
		merge := "INSERT INTO bench SELECT * FROM bare ON CONFLICT (f0) DO UPDATE SET " + strings.Join(set, ", ")
		if op == kedge.Update {
			merge = "UPDATE bench SET " + strings.Join(copied, ", ") + " FROM bare WHERE bench.f0 = bare.f0"
		}
		_, err := conn.Conn.ExecContext(ctx, merge)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}
