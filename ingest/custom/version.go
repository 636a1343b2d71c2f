package custom

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"strconv"

	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
	"github.com/kedge-sync/kedge/internal/store"
)

// A Report tells what a new version of a schema means.
type Report struct {
	Level   schema.Level    `json:"level"`
	Changes []schema.Change `json:"changes"`
	Stored  Stored          `json:"stored"`
}

// Stored counts the stored resources that fit the new version.
type Stored struct {
	Valid   int       `json:"valid"`
	Invalid int       `json:"invalid"`
	First   []Misfits `json:"first"` // of the invalid ones the first 20
}

// A Misfits names a resource that does not fit, and where.
type Misfits struct {
	GroupKey string `json:"groupKey,omitempty"`
	ID       string `json:"id"`
	Pointer  string `json:"pointer"`
	Detail   string `json:"detail"`
}

// A Check validates stored resources against a new version of their schema.
type Check struct {
	c       *Custom
	next    *schema.Schema
	seq     int64              // resources up to here were looked at
	invalid map[int64]*Misfits // by number; of all but the first without a text
	Report  Report
}

// Check validates all live resources of t against next, in pages, while
// senders go on.
func (c *Custom) Check(ctx context.Context, t *Table, next *schema.Schema) (*Check, error) {
	compared := schema.Compare(t.Schema, next)
	k := &Check{c: c, next: next, invalid: map[int64]*Misfits{}}
	k.Report = Report{Level: compared.Level, Changes: compared.Changes}
	for {
		n, err := k.page(ctx, c.store.DB().DB, t.No, 1000)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
	}
	return k, k.summarize(ctx, c.store.DB().DB, t.No)
}

// page validates the next resources in the order of their numbers.
func (k *Check) page(ctx context.Context, q querier, no int64, size int) (n int, err error) {
	s := k.c.sql("SELECT group_key, id, data, seq FROM ingest_resource WHERE schema_no = ").arg(no).add(" AND seq > ").arg(k.seq).
		add(" AND hash IS NOT NULL ORDER BY seq LIMIT " + strconv.Itoa(size))
	err = s.each(ctx, q, func(rows *sql.Rows) error {
		var m Misfits
		var data sql.RawBytes
		if err := rows.Scan(&m.GroupKey, &m.ID, &data, &k.seq); err != nil {
			return err
		}
		n++
		if fault := k.fault(data); fault != nil {
			k.invalid[k.seq] = nil
			if len(k.invalid) <= maxMisfits {
				m.Pointer, m.Detail = fault.Pointer, fault.Detail
				k.invalid[k.seq] = &m
			}
		}
		return nil
	})
	return n, err
}

// fault is the first thing that is wrong with a stored resource, nil if it
// fits.
func (k *Check) fault(data []byte) *jsonguard.Fault {
	v, counts, err := jsonguard.Decode(data, 0)
	if err == nil {
		if err = k.next.Validate(v, &counts); err == nil {
			_, err = k.next.Identify(v)
		}
	}
	if err == nil {
		return nil
	}
	f := firstFault(err)
	return &f
}

// maxMisfits is how many misfits a report names.
const maxMisfits = 20

// summarize counts what still holds: resources that were replaced meanwhile
// have other numbers.
func (k *Check) summarize(ctx context.Context, q querier, no int64) error {
	live := 0
	s := k.c.sql("SELECT count(*) FROM ingest_resource WHERE schema_no = ").arg(no).add(" AND hash IS NOT NULL")
	if err := s.each(ctx, q, func(rows *sql.Rows) error { return rows.Scan(&live) }); err != nil {
		return err
	}
	k.Report.Stored = Stored{First: []Misfits{}}
	err := chunks(slices.Sorted(maps.Keys(k.invalid)), maxIDs, func(part []int64) error {
		s := k.c.sql("SELECT seq FROM ingest_resource WHERE schema_no = ").arg(no).add(" AND hash IS NOT NULL AND seq IN ").row(anysOf(part)...).add(" ORDER BY seq")
		return s.each(ctx, q, func(rows *sql.Rows) error {
			var seq int64
			if err := rows.Scan(&seq); err != nil {
				return err
			}
			k.Report.Stored.Invalid++
			if m := k.invalid[seq]; m != nil && len(k.Report.Stored.First) < maxMisfits {
				k.Report.Stored.First = append(k.Report.Stored.First, *m)
			}
			return nil
		})
	})
	k.Report.Stored.Valid = live - k.Report.Stored.Invalid
	return err
}

// Finish looks at what changed since Check, in the transaction that makes the
// version active, while no sender can write, and marks the resources that do
// not fit.
func (k *Check) Finish(ctx context.Context, tx *store.Tx, no int64, mark bool) error {
	for {
		n, err := k.page(ctx, tx.Tx.Tx, no, 1000)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
	}
	if err := k.summarize(ctx, tx.Tx.Tx, no); err != nil || !mark {
		return err
	}
	s := k.c.sql("UPDATE ingest_resource SET valid = ").arg(true).add(" WHERE schema_no = ").arg(no).add(" AND valid = ").arg(false)
	if _, err := s.exec(ctx, tx.Tx.Tx); err != nil {
		return err
	}
	return chunks(slices.Sorted(maps.Keys(k.invalid)), maxIDs, func(part []int64) error {
		s := k.c.sql("UPDATE ingest_resource SET valid = ").arg(false).add(" WHERE schema_no = ").arg(no).add(" AND hash IS NOT NULL AND seq IN ").row(anysOf(part)...)
		_, err := s.exec(ctx, tx.Tx.Tx)
		return err
	})
}
