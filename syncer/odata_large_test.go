package syncer_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// TestLargeFullSync syncs 100,000 rows over HTTP and compares what is stored
// with the service by count, exact sums and a hash of all values, and looks at
// every request that was sent for it.
func TestLargeFullSync(t *testing.T) {
	t.Parallel()
	const rows, page = 100_000, 5000
	set := odatatest.Set{Entity: items, Rows: rows, Row: func(i int) []kedge.Value {
		return []kedge.Value{
			kedge.String(fmt.Sprintf("k%06d", i)), kedge.String(fmt.Sprintf("Łukasz \"%d\"", i)), kedge.Decimal(fmt.Sprintf("%d.%02d", i, i%100)),
			kedge.Int(9007199254740993 + int64(i)), kedge.Time(time.Date(2024, 2, 29, 12, 0, i, 123_456_000, time.UTC)), kedge.Float(float64(i) / 3), kedge.Null(),
		}
	}}
	s := storetest.Postgres(t, syncer.Migrations()...) // SQLite takes thrice the time under the race detector
	w := openODataWorld(t, s, odatatest.Options{Sets: []odatatest.Set{set}}, map[string]any{"paging": "server"}, page, 0)
	w.line(w.run(syncer.Request{}), fmt.Sprintf("all %d new %[1]d updated 0 failed 0", rows))
	want, err := w.service.Stats("items", itemFields...)
	w.check(err)
	if diff := cmp.Diff(want, w.stats()); diff != "" {
		t.Errorf("the local rows differ from the service (-want +got):\n%s", diff)
	}
	w.checkRequests(rows/page, "odata.track-changes,odata.maxpagesize=5000")
}

// stats are the figures of the local rows that the service tells of its own.
func (w *odataWorld) stats() odatatest.Stats {
	w.t.Helper()
	hash, price, large := sha256.New(), new(big.Rat), new(big.Int)
	count := 0
	var b []byte
	for p, err := range w.local("").Pages(w.t.Context(), connectors.ReadRequest{Entity: "item", Fields: itemFields}) {
		w.check(err)
		for _, r := range p.Records {
			count++
			b = b[:0]
			for _, f := range itemFields {
				b = r.Get(f).AppendCanonical(b)
			}
			hash.Write(b)
			n, _ := new(big.Rat).SetString(r.Get("price").Text())
			price.Add(price, n)
			large.Add(large, big.NewInt(r.Get("big").Int()))
		}
	}
	return odatatest.Stats{Count: count, Hash: hex.EncodeToString(hash.Sum(nil)), Sums: map[string]string{
		"price": kedge.CanonicalDecimal(price.FloatString(2)), "big": large.String(),
	}}
}

// checkRequests tells what is wrong with the requests of a full read: one for
// each page and at most two more, and Accept, Prefer and $select with each.
func (w *odataWorld) checkRequests(pages int, prefer string) {
	w.t.Helper()
	asked := 0
	for _, r := range w.service.Requests() {
		if strings.HasSuffix(r.Path, "/$metadata") {
			continue
		}
		asked++
		if want := "application/json;odata.metadata=minimal;IEEE754Compatible=true"; r.Accept != want {
			w.t.Errorf("%s?%s: Accept %q, want %q", r.Path, r.Query, r.Accept, want)
		}
		if !strings.Contains(r.Query, "$select=") {
			w.t.Errorf("%s?%s: no $select", r.Path, r.Query)
		}
		if r.Prefer != prefer {
			w.t.Errorf("%s?%s: Prefer %q, want %q", r.Path, r.Query, r.Prefer, prefer)
		}
	}
	if asked < pages || asked > pages+2 {
		w.t.Errorf("%d requests for %d pages, want at most 2 more", asked, pages)
	}
}
