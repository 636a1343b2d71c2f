package syncer

import (
	"context"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge/internal/store"
)

// TestHashTableIsALog lets a log and a table learn the same in random runs:
// what they know afterwards must be equal.
func TestHashTableIsALog(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		ent := int64(0)
		rapid.Check(t, func(rt *rapid.T) {
			ent += 2
			log := openOf(ctx, rt, s, ent, 0, 1)
			table := openOf(ctx, rt, s, ent+1, 0, 1)
			must(rt, table.saveRows(ctx, s.DB(), []hashState{{1 << 60, rowWord(1)}}))
			must(rt, log.append(ctx, s.DB(), appendPut(nil, 1<<60, rowWord(1)), nil))
			for fence := int64(2); fence < 5; fence++ {
				generation := fence * int64(rapid.IntRange(0, 1).Draw(rt, "full"))
				log, table = openOf(ctx, rt, s, ent, generation, fence), openOf(ctx, rt, s, ent+1, generation, fence)
				if log.table || !table.table {
					rt.Fatalf("table: %v and %v, want false and true", log.table, table.table)
				}
				rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
				keys := make([]uint64, rapid.IntRange(0, 40).Draw(rt, "rows"))
				for i := range keys {
					keys[i] = uint64(rnd.IntN(50)) << 58 >> uint(rnd.IntN(2)*40)
				}
				must(rt, table.load(ctx, s.DB(), keys))
				must(rt, log.load(ctx, s.DB(), keys))
				var puts, seen []byte
				var states []hashState
				for _, k := range keys {
					word := log.get(k)
					if wordHash(word) != wordHash(table.get(k)) || generation != 0 && wordOutcome(word) != wordOutcome(table.get(k)) {
						rt.Fatalf("key %x: log has %x, table %x", k, word, table.get(k))
					}
					switch rnd.IntN(3) {
					case 0: // unchanged
						if isLive(word) == 0 {
							continue
						}
						seen, word = appendKey(seen, k), wordHash(word)|uint64(seenEarlier)
					case 1:
						word = rowWord(rnd.Uint64()) | uint64(seenEarlier)
						puts = appendPut(puts, k, word)
					case 2:
						word = uint64(seenEarlier)
						puts = appendPut(puts, k, 0)
					}
					log.index.set(k, word)
					table.index.set(k, word)
					states = append(states, hashState{k, word})
				}
				must(rt, table.saveRows(ctx, s.DB(), states))
				// A log applies puts and seen keys in blobs: a key that is in both was put last.
				must(rt, log.append(ctx, s.DB(), puts, seen))
				if generation == 0 {
					continue
				}
				m1, s1, err := log.unseen(ctx, s.DB())
				must(rt, err)
				m2, s2, err := table.unseen(ctx, s.DB())
				must(rt, err)
				if m1 != m2 || s1 != s2 {
					rt.Fatalf("log: %d missing, %d seen; table: %d, %d", m1, s1, m2, s2)
				}
				n1, err := log.dropUnseen(ctx, s.DB())
				must(rt, err)
				n2, err := table.dropUnseen(ctx, s.DB())
				must(rt, err)
				if n1 != n2 {
					rt.Fatalf("dropped %d of the log, %d of the table", n1, n2)
				}
				must(rt, log.compact(ctx, s.DB()))
				must(rt, table.saveRows(ctx, s.DB(), []hashState{{1 << 60, rowWord(1)}}))
				must(rt, log.append(ctx, s.DB(), appendPut(nil, 1<<60, rowWord(1)), nil))
			}
		})
	})
}

func openOf(ctx context.Context, t *rapid.T, s *store.Store, ent, generation, fence int64) *hashLog {
	l, err := openHashLog(ctx, s.DB(), ent, generation, true)
	must(t, err)
	l.fence = fence
	return l
}

// TestOutgrown is at the limit and one past it, whether the log is loaded or
// not.
func TestOutgrown(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		l, err := openHashLog(ctx, s.DB(), 1, 0, true)
		must(t, err)
		var puts []byte
		for i := range uint64(11) {
			puts = appendPut(puts, i<<60, rowWord(i+100))
		}
		must(t, l.append(ctx, s.DB(), puts, nil))
		for _, whole := range []bool{true, false} {
			for limit, want := range map[int]bool{11: false, 10: true} {
				l, err := openHashLog(ctx, s.DB(), 1, 0, whole)
				must(t, err)
				if got, err := l.outgrown(ctx, s.DB(), limit); got != want || err != nil {
					t.Errorf("11 rows, limit %d: outgrown %v, %v, want %v", limit, got, err, want)
				}
			}
		}
		l, err = openHashLog(ctx, s.DB(), 1, 0, true)
		must(t, err)
		must(t, l.toTable(ctx, s.DB()))
		l.inTable()
		must(t, l.load(ctx, s.DB(), []uint64{3 << 60, 77}))
		if got := l.get(3 << 60); got != rowWord(103) || l.get(77) != 0 || l.get(4<<60) != 0 {
			t.Errorf("after the move: %x, want %x, and only what was loaded", got, rowWord(103))
		}
		if n, err := s.DB().NewSelect().Model((*hashBlob)(nil)).Count(ctx); n != 0 || err != nil {
			t.Errorf("%d blobs left, %v, want 0", n, err)
		}
	})
}
