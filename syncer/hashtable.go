package syncer

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect"
)

// A hashState is a key hash and its row word, outcome included.
type hashState struct{ key, word uint64 }

// A hashRow is what is known of one row of an entity that has too many of them
// to be kept in memory. An entity has either these rows or a hash log.
type hashRow struct {
	bun.BaseModel `bun:"table:integration_hash,alias:h"`

	Ent        int64 `bun:",pk"`
	Key        int64 `bun:",pk"` // bits of the key hash
	Word       int64 // row word; its outcome is one of the run with that fence
	Generation int64
	Fence      int64
}

// SQL conditions on a row: it exists, and the full read has not met it.
const (
	rowLives  = "(h.word & -16) <> 0"
	rowUnseen = "h.generation <> ?"
)

func hasHashTable(ctx context.Context, db bun.IDB, ent int64) (bool, error) {
	return db.NewSelect().Model((*hashRow)(nil)).Where("ent = ?", ent).Limit(1).Exists(ctx)
}

// loadRows puts the rows of keys into the index, and nothing else.
func (l *hashLog) loadRows(ctx context.Context, db bun.IDB, keys []uint64) error {
	if !l.planning {
		l.index = hashIndex{}
	}
	for chunk := range slices.Chunk(keys, 5000) {
		bits := make([]int64, len(chunk))
		for i, k := range chunk {
			bits[i] = int64(k)
		}
		list, err := json.Marshal(bits)
		if err != nil {
			return err
		}
		unpack := "h.key IN (SELECT value FROM json_each(?))"
		if db.Dialect().Name() == dialect.PG {
			unpack = "h.key IN (SELECT jsonb_array_elements_text(?::jsonb)::bigint)"
		}
		var rows []hashRow
		if err := db.NewSelect().Model(&rows).Where("h.ent = ?", l.ent).Where(unpack, string(list)).Scan(ctx); err != nil {
			return err
		}
		for _, r := range rows {
			if _, known := l.index.get(uint64(r.Key)); !known {
				l.index.set(uint64(r.Key), l.wordOf(r))
			}
		}
	}
	return nil
}

// wordOf is the word of a stored row in this run.
func (l *hashLog) wordOf(r hashRow) uint64 {
	word := uint64(r.Word)
	switch {
	case l.generation != 0 && r.Generation != l.generation:
		return wordHash(word)
	case r.Fence == l.fence && !l.planning:
		return word
	case l.generation != 0:
		return wordHash(word) | uint64(seenEarlier)
	}
	return wordHash(word)
}

// saveRows stores states of one page transaction, in the order of their keys.
// While a full read is under way they count as seen by it.
func (l *hashLog) saveRows(ctx context.Context, tx bun.IDB, states []hashState) error {
	rows := make([]hashRow, 0, len(states))
	at := make(map[uint64]int, len(states))
	for _, s := range states {
		if i, again := at[s.key]; again {
			rows[i].Word = int64(s.word)
			continue
		}
		at[s.key] = len(rows)
		rows = append(rows, hashRow{Ent: l.ent, Key: int64(s.key), Word: int64(s.word), Generation: l.generation, Fence: l.fence})
	}
	slices.SortFunc(rows, func(a, b hashRow) int {
		if a.Key < b.Key {
			return -1
		}
		return 1 // keys are distinct
	})
	for chunk := range slices.Chunk(rows, 1000) {
		_, err := tx.NewInsert().Model(&chunk).On("CONFLICT (ent, key) DO UPDATE").
			Set("word = EXCLUDED.word, fence = EXCLUDED.fence").
			Set("generation = CASE WHEN EXCLUDED.generation = 0 THEN h.generation ELSE EXCLUDED.generation END").Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// outgrown tells whether the log holds more than limit rows.
func (l *hashLog) outgrown(ctx context.Context, db bun.IDB, limit int) (bool, error) {
	if l.table || !l.whole && (l.compacted+l.small)/putSize <= limit {
		return false, nil
	}
	if err := l.loadAll(ctx, db); err != nil {
		return false, err
	}
	return l.index.live > limit, nil
}

// toTable moves the whole log into the table.
func (l *hashLog) toTable(ctx context.Context, tx bun.IDB) error {
	for i := range l.index.shards {
		states := make([]hashState, 0, l.index.shards[i].used)
		seen := make([]hashState, 0, l.index.shards[i].used)
		for _, slot := range l.index.shards[i].slots {
			switch {
			case slot.word == 0 || slot.word == goneUnseen:
			case wordOutcome(slot.word) == notSeen:
				states = append(states, hashState(slot))
			default:
				seen = append(seen, hashState(slot))
			}
		}
		unseen := hashLog{ent: l.ent, fence: l.fence}
		if err := unseen.saveRows(ctx, tx, states); err != nil {
			return err
		}
		if err := l.saveRows(ctx, tx, seen); err != nil {
			return err
		}
	}
	_, err := tx.NewDelete().Model((*hashBlob)(nil)).Where("ent = ?", l.ent).Exec(ctx)
	return err
}

// inTable notes that [hashLog.toTable] was committed.
func (l *hashLog) inTable() {
	l.table, l.index, l.ranges, l.small, l.compacted = true, hashIndex{}, nil, 0, 0
}

// dropGone forgets the rows that exist no more.
func (l *hashLog) dropGone(ctx context.Context, tx bun.IDB) error {
	_, err := tx.NewDelete().Model((*hashRow)(nil)).Where("h.ent = ?", l.ent).Where("NOT " + rowLives).Exec(ctx)
	return err
}

// unseen counts the rows that the full read has not met, and those that it has.
func (l *hashLog) unseen(ctx context.Context, db bun.IDB) (missing, seen int, err error) {
	if l.table {
		count := func(where string) (int, error) {
			n, err := db.NewSelect().Model((*hashRow)(nil)).Where("h.ent = ?", l.ent).Where(rowLives).Where(where, l.generation).Count(ctx)
			return int(n), err
		}
		if missing, err = count(rowUnseen); err == nil {
			seen, err = count("NOT " + rowUnseen)
		}
		return missing, seen, err
	}
	for i := range l.index.shards {
		for _, slot := range l.index.shards[i].slots {
			switch {
			case isLive(slot.word) == 0:
			case wordOutcome(slot.word) == notSeen:
				missing++
			default:
				seen++
			}
		}
	}
	return missing, seen, nil
}

// dropUnseen forgets the rows that the full read has not met, and returns how
// many. Of a log it changes only the index; compact makes it durable.
func (l *hashLog) dropUnseen(ctx context.Context, tx bun.IDB) (int64, error) {
	if l.table {
		res, err := tx.NewDelete().Model((*hashRow)(nil)).Where("h.ent = ?", l.ent).Where(rowLives).Where(rowUnseen, l.generation).Exec(ctx)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}
	n := int64(0)
	for i := range l.index.shards {
		for _, slot := range l.index.shards[i].slots {
			if isLive(slot.word) == 1 && wordOutcome(slot.word) == notSeen {
				n++
				l.index.set(slot.key, 0)
			}
		}
	}
	return n, nil
}

// isUnseen tells of a loaded key whether the full read has not met its row.
func (l *hashLog) isUnseen(key uint64) bool {
	word := l.get(key)
	return isLive(word) == 1 && wordOutcome(word) == notSeen
}
