package syncer

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// each runs a test on both databases, with the tables of this package.
func each(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	storetest.Each(t, test, Migrations()...)
}

func TestHashIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x hashIndex
		model := map[uint64]uint64{}
		// Few shards and colliding homes: that is where probing goes wrong.
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) uint64 {
			return rapid.Uint64Range(0, 3).Draw(t, "shard")<<56 | rapid.Uint64Range(0, 200).Draw(t, "key")<<rapid.SampledFrom([]int{0, 40}).Draw(t, "shift")
		}), 1, 2000).Draw(t, "keys")
		for _, k := range keys {
			word := rapid.SampledFrom([]uint64{0, uint64(Unchanged), rowWord(7), rowWord(9) | uint64(Changed)}).Draw(t, "word")
			x.set(k, word)
			model[k] = word
		}
		live := 0
		for k, want := range model {
			got, ok := x.get(k)
			if !ok || wordHash(got) != wordHash(want) || wordOutcome(got) != wordOutcome(want) {
				t.Fatalf("get(%x) = %x, %v, want %x", k, got, ok, want)
			}
			live += isLive(want)
		}
		if x.live != live {
			t.Errorf("live = %d, want %d", x.live, live)
		}
		var sorted []uint64
		for k := range x.sorted {
			sorted = append(sorted, k)
		}
		maps.DeleteFunc(model, func(_, w uint64) bool { return isLive(w) == 0 })
		if want := slices.Sorted(maps.Keys(model)); !slices.Equal(sorted, want) {
			t.Errorf("sorted has %d keys, want %d in order", len(sorted), len(want))
		}
	})
}

// TestHashLogRemembers writes random pages, compacts at random, and reads the
// log back in both ways: whole, and by ranges.
func TestHashLogRemembers(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		rapid.Check(t, func(rt *rapid.T) {
			if _, err := s.DB().NewDelete().Model((*hashBlob)(nil)).Where("1 = 1").Exec(ctx); err != nil {
				rt.Fatal(err)
			}
			model := map[uint64]uint64{}
			for range rapid.IntRange(1, 6).Draw(rt, "pages") {
				l := openLog(ctx, rt, s, true)
				var puts []byte
				rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
				for range rapid.SampledFrom([]int{0, 1, 500, 3 * compactRows / 2}).Draw(rt, "rows") {
					key, word := rnd.Uint64(), rowWord(rnd.Uint64())
					if rnd.IntN(10) == 0 {
						word = 0
					}
					puts = appendPut(puts, key, word)
					l.index.set(key, word)
					model[key] = word
				}
				must(rt, l.append(ctx, s.DB(), puts, nil))
				if rapid.Bool().Draw(rt, "compact") {
					must(rt, l.compact(ctx, s.DB()))
				}
			}
			whole, ranges := openLog(ctx, rt, s, true), openLog(ctx, rt, s, false)
			must(rt, ranges.load(ctx, s.DB(), slices.Collect(maps.Keys(model))))
			for key, want := range model {
				a, _ := whole.index.get(key)
				b, _ := ranges.index.get(key)
				if wordHash(a) != want || wordHash(b) != want {
					rt.Fatalf("key %x: whole %x, by ranges %x, want %x", key, a, b, want)
				}
			}
		})
	})
}

func openLog(ctx context.Context, t *rapid.T, s *store.Store, whole bool) *hashLog {
	l, err := openHashLog(ctx, s.DB(), 1, 0, whole)
	must(t, err)
	return l
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestHashLogKnowsWhatAnInterruptedReadSaw is why seen blobs exist: a sweep
// after a resumed read must not take the first half for missing.
func TestHashLogKnowsWhatAnInterruptedReadSaw(t *testing.T) {
	each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		first, err := openHashLog(ctx, s.DB(), 1, 1, true)
		must(t, err)
		puts := appendPut(appendPut(nil, 1, rowWord(100)), 2, rowWord(200))
		must(t, first.append(ctx, s.DB(), puts, nil))

		second, err := openHashLog(ctx, s.DB(), 1, 2, true)
		must(t, err)
		must(t, second.append(ctx, s.DB(), appendPut(nil, 3, rowWord(300)), appendKey(nil, 1)))

		resumed, err := openHashLog(ctx, s.DB(), 1, 2, true)
		must(t, err)
		for key, want := range map[uint64]Outcome{1: seenEarlier, 2: notSeen, 3: seenEarlier} {
			word, ok := resumed.index.get(key)
			if !ok || isLive(word) == 0 || wordOutcome(word) != want {
				t.Errorf("key %d: word %x, want a live row with outcome %d", key, word, want)
			}
		}
	})
}

func FuzzHashLog(f *testing.F) {
	f.Add(appendPut(nil, 1, 2))
	f.Add(appendKey(nil, 1))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		rows := 0
		err := decodePuts(data, func(_, word uint64) {
			rows++
			if wordOutcome(word) != notSeen {
				t.Errorf("a stored word has the outcome %v", wordOutcome(word))
			}
		})
		if whole := len(data)%putSize == 0; whole != (err == nil) || whole && rows != len(data)/putSize {
			t.Errorf("%d bytes: %d rows, error %v", len(data), rows, err)
		}
		if err := decodeSeen(data, func(uint64) {}); (err == nil) != (len(data)%seenSize == 0) {
			t.Errorf("%d bytes of seen keys: error %v", len(data), err)
		}
	})
}
