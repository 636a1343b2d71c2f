package syncer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun"
)

const (
	putSize         = 16                // bytes of a row in a put blob: key hash, row word
	seenSize        = 8                 // bytes of a row in a seen blob: key hash
	compactRows     = 8 << 10 / putSize // so small that a few keys do not meet all of a large log
	minCompactBytes = 256 << 10         // small blobs below this are never worth compacting
)

// A hashBlob is a row of integration_hashlog: what one page transaction, or a
// compaction, says about rows. A put blob holds key hashes with row words, a
// seen blob the key hashes of rows that a running full read met unchanged.
// Later blobs override earlier ones.
type hashBlob struct {
	bun.BaseModel `bun:"table:integration_hashlog"`

	Ent        int64  `bun:",pk"`
	Seq        int64  `bun:",pk"`
	Kind       string // put, seen
	Generation int64  // of the full read that wrote it, or 0
	First      *int64 // compacted blobs: ordered form of the lowest key hash; they do not overlap
	Data       []byte
}

// ordered maps key hashes to the signed integers of SQL, keeping their order.
func ordered(key uint64) int64 { return int64(key ^ 1<<63) }

var errHashLog = errors.New("the hash log is damaged; run \"kedge anchors reset\" for this entity")

// decodePuts calls yield for each row of a put blob.
func decodePuts(data []byte, yield func(key, word uint64)) error {
	if len(data)%putSize != 0 {
		return &kedge.Error{Op: "syncer", Err: errHashLog}
	}
	for ; len(data) > 0; data = data[putSize:] {
		yield(binary.LittleEndian.Uint64(data), wordHash(binary.LittleEndian.Uint64(data[8:])))
	}
	return nil
}

// decodeSeen calls yield for each row of a seen blob.
func decodeSeen(data []byte, yield func(key uint64)) error {
	if len(data)%seenSize != 0 {
		return &kedge.Error{Op: "syncer", Err: errHashLog}
	}
	for ; len(data) > 0; data = data[seenSize:] {
		yield(binary.LittleEndian.Uint64(data))
	}
	return nil
}

func appendPut(data []byte, key, word uint64) []byte {
	data = binary.LittleEndian.AppendUint64(data, key)
	return binary.LittleEndian.AppendUint64(data, wordHash(word))
}

// A hashLog is what a run knows about the rows of one entity. A full read
// loads all of it; an incremental one loads the ranges its records fall in.
type hashLog struct {
	ent        int64
	generation int64 // of the full read whose sweep is to come; 0 else
	fence      int64 // of the run
	whole      bool  // everything is in the index
	table      bool  // the rows are in integration_hash; the index holds those of one batch
	planning   bool  // nothing may be written, so the index keeps what was learned
	index      hashIndex
	next       int64 // sequence number of the next blob
	small      int   // bytes of small put blobs
	seen       bool  // there are seen blobs
	compacted  int   // bytes of compacted blobs
	ranges     []hashRange
}

type hashRange struct {
	first uint64
	seq   int64
}

// openHashLog reads the log of an entity: the whole, or what is needed to load
// ranges of it. What a full read of the given generation put or saw counts as
// seen; 0 means that no sweep can follow.
func openHashLog(ctx context.Context, db bun.IDB, ent, generation int64, whole bool) (*hashLog, error) {
	l := &hashLog{ent: ent, generation: generation, whole: whole}
	var err error
	if l.table, err = hasHashTable(ctx, db, ent); err != nil || l.table {
		return l, err
	}
	if whole {
		if err := l.loadCompacted(ctx, db); err != nil {
			return nil, err
		}
	} else if err := l.loadRanges(ctx, db); err != nil {
		return nil, err
	}
	return l, l.loadSmall(ctx, db)
}

func (l *hashLog) loadRanges(ctx context.Context, db bun.IDB) error {
	var heads []struct {
		First, Seq int64
		Bytes      int
	}
	err := db.NewSelect().Model((*hashBlob)(nil)).Column("first", "seq").ColumnExpr("length(data) AS bytes").
		Where("ent = ? AND first IS NOT NULL", l.ent).Order("first").Scan(ctx, &heads)
	if err != nil {
		return fmt.Errorf("read hash log: %w", err)
	}
	for _, h := range heads {
		l.ranges = append(l.ranges, hashRange{first: uint64(h.First) ^ 1<<63, seq: h.Seq})
		l.compacted += h.Bytes
		l.next = max(l.next, h.Seq+1)
	}
	return nil
}

// loadCompacted loads the compacted blobs. What is in the index already is newer
// and stays.
func (l *hashLog) loadCompacted(ctx context.Context, db bun.IDB) error {
	q := db.NewSelect().Model((*hashBlob)(nil)).Where("ent = ? AND first IS NOT NULL", l.ent)
	return l.scan(ctx, db, q.Order("seq"), func(b *hashBlob) error {
		l.compacted += len(b.Data)
		return decodePuts(b.Data, func(key, word uint64) {
			if _, known := l.index.get(key); !known {
				l.index.set(key, word)
			}
		})
	})
}

// loadSmall applies the blobs that page transactions wrote since the last
// compaction. In a full read that was interrupted, what it put or saw counts
// as seen.
func (l *hashLog) loadSmall(ctx context.Context, db bun.IDB) error {
	q := db.NewSelect().Model((*hashBlob)(nil)).Where("ent = ? AND first IS NULL", l.ent).Order("seq")
	return l.scan(ctx, db, q, func(b *hashBlob) error {
		l.count(b)
		current := l.generation != 0 && b.Generation == l.generation
		if b.Kind == "seen" {
			return decodeSeen(b.Data, func(key uint64) {
				if word, ok := l.index.get(key); ok && current {
					l.index.set(key, wordHash(word)|uint64(seenEarlier))
				}
			})
		}
		return decodePuts(b.Data, func(key, word uint64) {
			// Also what an import or a retry stored meanwhile stays seen.
			if before, _ := l.index.get(key); current || wordOutcome(before) == seenEarlier {
				word |= uint64(seenEarlier)
			}
			l.index.set(key, word)
		})
	})
}

func (l *hashLog) scan(ctx context.Context, db bun.IDB, q *bun.SelectQuery, apply func(*hashBlob) error) error {
	rows, err := q.Rows(ctx)
	if err != nil {
		return fmt.Errorf("read hash log: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		b := new(hashBlob)
		if err := rows.Scan(&b.Ent, &b.Seq, &b.Kind, &b.Generation, &b.First, &b.Data); err != nil {
			return fmt.Errorf("read hash log: %w", err)
		}
		l.next = max(l.next, b.Seq+1)
		if err := apply(b); err != nil {
			return err
		}
	}
	return rows.Err()
}

// load makes sure that what is known about keys is in the index.
func (l *hashLog) load(ctx context.Context, db bun.IDB, keys []uint64) error {
	if l.table {
		return l.loadRows(ctx, db, keys)
	}
	wanted := map[int64][]uint64{} // by sequence number of the blob they may be in
	for _, key := range keys {
		i := sort.Search(len(l.ranges), func(i int) bool { return l.ranges[i].first > key })
		if i == 0 {
			continue
		}
		if _, known := l.index.get(key); !known {
			seq := l.ranges[i-1].seq
			wanted[seq] = append(wanted[seq], key)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	q := db.NewSelect().Model((*hashBlob)(nil)).Where("ent = ? AND seq IN (?)", l.ent, bun.List(slices.Collect(maps.Keys(wanted))))
	return l.scan(ctx, db, q, func(b *hashBlob) error {
		if len(b.Data)%putSize != 0 {
			return &kedge.Error{Op: "syncer", Err: errHashLog}
		}
		for _, key := range wanted[b.Seq] {
			if word, ok := findPut(b.Data, key); ok {
				l.index.set(key, word)
			}
		}
		return nil
	})
}

// findPut looks for a row in a compacted blob, which is sorted.
func findPut(data []byte, key uint64) (word uint64, ok bool) {
	at := func(i int) []byte { return data[i*putSize:] }
	n := len(data) / putSize
	i := sort.Search(n, func(i int) bool { return binary.LittleEndian.Uint64(at(i)) >= key })
	if i == n || binary.LittleEndian.Uint64(at(i)) != key {
		return 0, false
	}
	return wordHash(binary.LittleEndian.Uint64(at(i)[8:])), true
}

// get returns the word of a key that was loaded, 0 if it is unknown.
func (l *hashLog) get(key uint64) uint64 {
	word, _ := l.index.get(key)
	return word
}

// loadAll loads the ranges that were not needed so far.
func (l *hashLog) loadAll(ctx context.Context, db bun.IDB) error {
	if l.whole || l.table {
		return nil
	}
	l.whole, l.compacted = true, 0
	return l.loadCompacted(ctx, db)
}

// append writes what one page transaction learned: puts as made by appendPut,
// seen as key hashes of 8 bytes each.
func (l *hashLog) append(ctx context.Context, tx bun.IDB, puts, seen []byte) error {
	blobs := make([]hashBlob, 0, 2)
	for _, b := range []hashBlob{{Kind: "put", Data: puts}, {Kind: "seen", Data: seen}} {
		if len(b.Data) == 0 {
			continue
		}
		b.Ent, b.Seq, b.Generation = l.ent, l.next, l.generation
		l.next++
		l.count(&b)
		blobs = append(blobs, b)
	}
	if len(blobs) == 0 {
		return nil
	}
	_, err := tx.NewInsert().Model(&blobs).Exec(ctx)
	return err
}

func (l *hashLog) count(b *hashBlob) {
	if b.Kind == "seen" {
		l.seen = true
	} else {
		l.small += len(b.Data)
	}
}

// forgetSeen drops what a full read saw, once its sweep is done.
func (l *hashLog) forgetSeen(ctx context.Context, tx bun.IDB) error {
	_, err := tx.NewDelete().Model((*hashBlob)(nil)).Where("ent = ? AND kind = 'seen'", l.ent).Exec(ctx)
	l.seen = err != nil
	return err
}

// grown tells whether the small blobs have outgrown a tenth of the log.
func (l *hashLog) grown() bool {
	return !l.table && l.small > max(minCompactBytes, l.compacted/10)
}

// compact rewrites the log as sorted blobs that do not overlap. The whole log
// must have been loaded.
func (l *hashLog) compact(ctx context.Context, tx bun.IDB) error {
	if l.table {
		return l.dropGone(ctx, tx)
	}
	if _, err := tx.NewDelete().Model((*hashBlob)(nil)).Where("ent = ?", l.ent).Exec(ctx); err != nil {
		return err
	}
	l.compacted, l.small, l.seen, l.ranges = 0, 0, false, nil
	var data []byte
	var first int64
	flush := func() error {
		if len(data) == 0 {
			return nil
		}
		b := &hashBlob{Ent: l.ent, Seq: l.next, Kind: "put", First: &first, Data: data}
		l.next++
		l.compacted += len(data)
		_, err := tx.NewInsert().Model(b).Exec(ctx)
		data = nil
		return err
	}
	var err error
	for key, word := range l.index.sorted {
		if len(data) == 0 {
			first = ordered(key)
			data = make([]byte, 0, compactRows*putSize)
		}
		if data = appendPut(data, key, word); len(data) == compactRows*putSize {
			if err = flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}
