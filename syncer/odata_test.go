package syncer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// An odataWorld is a world whose remote system is an OData service, reached
// over HTTP by the real driver and client.
type odataWorld struct {
	*world
	service *odatatest.Service
	options map[string]any // of the connection
	page    int            // rows of a page
	hook    func(point string)

	mu    sync.Mutex
	clock time.Time // of the HTTP client: waiting moves it
}

const odataMapping = `kedge: mapping/v1
entities:
  - external: items
    local: item
    key: [{external: id, local: id, primary: true}]
    deletes: {maxRows: 1000}
    fields:
      - {external: name, local: name}
      - {external: price, local: price}
      - {external: big, local: big}
      - {external: at, local: at}
      - {external: ratio, local: ratio}
      - {external: data, local: data}
`

var items = kedge.Entity{Name: "items", Key: []string{"id"}, Fields: []kedge.Field{
	{Name: "id", Type: kedge.TypeString},
	{Name: "name", Type: kedge.TypeString, Nullable: true},
	{Name: "price", Type: kedge.TypeDecimal, Nullable: true, Scale: -1},
	{Name: "big", Type: kedge.TypeInt, Nullable: true},
	{Name: "at", Type: kedge.TypeTime, Nullable: true},
	{Name: "ratio", Type: kedge.TypeFloat, Nullable: true},
	{Name: "data", Type: kedge.TypeBytes, Nullable: true},
}}

var itemFields = []string{"id", "name", "price", "big", "at", "ratio", "data"}

// newODataWorld has 60 items, in small pages and commits.
func newODataWorld(t testing.TB, s *store.Store, o odatatest.Options, options map[string]any) *odataWorld {
	t.Helper()
	o.Entities = []kedge.Entity{items}
	w := openODataWorld(t, s, o, options, 10, 20)
	for i := range 60 {
		w.check(w.service.Put("items", itemRow(i, 0)))
	}
	return w
}

func openODataWorld(t testing.TB, s *store.Store, o odatatest.Options, options map[string]any, page, commit int) *odataWorld {
	t.Helper()
	return odataWorldOf(t, s, odatatest.New(o), options, page, commit, odataMapping, items)
}

// odataWorldOf is a world whose other side is a service that is there already.
func odataWorldOf(t testing.TB, s *store.Store, service *odatatest.Service, options map[string]any, page, commit int, yaml string, entities ...kedge.Entity) *odataWorld {
	t.Helper()
	w := &odataWorld{service: service, page: page, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.options = map[string]any{"url": w.service.Start(t), "pageSize": page}
	maps.Copy(w.options, options)
	w.world = &world{t: t, store: s, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.syncer = syncer.New(syncer.Options{
		Store: s,
		Connect: func(_ context.Context, name, integration string) (*connectors.Conn, error) {
			if name == "local" {
				return w.local(integration), nil
			}
			return w.connect()
		},
		OwnDatabase: func(name string) bool { return name == "local" },
		Limits:      syncer.Limits{CommitRows: commit},
		Now:         func() time.Time { return w.now },
		Sleep: func(ctx context.Context, d time.Duration) error {
			w.now = w.now.Add(d)
			return ctx.Err()
		},
		Hook: func(point string) {
			if w.hook != nil {
				w.hook(point)
			}
		},
	})
	w.tablesOf(yaml, &kedge.Schema{Entities: entities})
	w.save(yaml)
	return w
}

// connect opens the driver with a client that does not sleep.
func (w *odataWorld) connect() (*connectors.Conn, error) {
	block, err := json.Marshal(w.options)
	if err != nil {
		return nil, err
	}
	d, err := odata.Kind().New(block, connectors.Env{Name: "remote", Now: w.httpNow, HTTP: func(o httpclient.Options) (*httpclient.Client, error) {
		o.Now = w.httpNow
		o.Rand = func() float64 { return 0.5 }
		o.Sleep = func(ctx context.Context, d time.Duration) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.clock = w.clock.Add(d)
			return ctx.Err()
		}
		return httpclient.New(o)
	}})
	return connectors.New(d, &connectors.Options{PageSize: w.page}), err
}

func (w *odataWorld) httpNow() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

// itemRow is version v of item i, with values that are easily broken.
func itemRow(i, v int) kedge.Record {
	names := []string{"plain", "it's", "a/b?c=d&e#f", "Zoë Łukasz", `"quoted" \ back`, "  spaces  ", ""}
	price := []kedge.Value{kedge.Decimal("19.90"), kedge.Decimal("1e-7"), kedge.Null(), kedge.Decimal("12345678901234567890.123")}
	ratio := []kedge.Value{kedge.Float(0.1), kedge.Float(math.Inf(1)), kedge.Float(math.Inf(-1)), kedge.Float(5e-324), kedge.Null()}
	data := []kedge.Value{kedge.Bytes([]byte{0xfb, 0xff, byte(i)}), kedge.Bytes([]byte{}), kedge.Null()}
	return odatatest.Row(
		"id", kedge.String(fmt.Sprintf("k%03d'/%%é", i)),
		"name", kedge.String(fmt.Sprintf("%s v%d", names[i%len(names)], v)),
		"price", price[i%len(price)],
		"big", kedge.Int(9007199254740993+int64(i)),
		"at", kedge.Time(time.Date(2024, 2, 29, 12, i%60, 0, 123_456_000, time.UTC)),
		"ratio", ratio[i%len(ratio)],
		"data", data[i%len(data)],
	)
}

// edit changes, deletes and adds items.
func (w *odataWorld) edit(round int) {
	w.t.Helper()
	for i := round % 5; i < 60; i += 5 {
		w.check(w.service.Put("items", itemRow(i, round)))
	}
	for i := round % 11; i < 60; i += 11 {
		w.check(w.service.Delete("items", kedge.NewKey(itemRow(i, 0).Values[0])))
	}
	w.check(w.service.Put("items", itemRow(100+round, round)))
}

// quiet runs until a run ends well, at most so many times: faults fail runs.
func (w *odataWorld) quiet(req syncer.Request) syncer.Result {
	w.t.Helper()
	for range 30 {
		if res := w.attempt(req); res.State == syncer.Succeeded {
			return res
		} else if res.State == syncer.Stopped {
			w.t.Fatalf("stopped: %+v", res.Entities)
		}
		req.Full = false
	}
	w.t.Fatal("runs fail for ever")
	panic("unreachable")
}

// same compares the local rows with the service.
func (w *odataWorld) same() {
	w.t.Helper()
	want := map[string]string{}
	for _, r := range w.service.Records("items") {
		want[r.Get("id").Text()] = itemText(r)
	}
	got := map[string]string{}
	for page, err := range w.local("").Pages(w.t.Context(), connectors.ReadRequest{Entity: "item", Fields: itemFields}) {
		w.check(err)
		for _, r := range page.Records {
			got[r.Get("id").Text()] = itemText(r)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("local rows differ from the service (-want +got):\n%s", diff)
	}
}

// itemText is a record as text: equal values give equal texts.
func itemText(r kedge.Record) string {
	var b []byte
	for _, f := range itemFields {
		b = append(r.Get(f).AppendCanonical(b), '|')
	}
	return string(b)
}

// story syncs, with edits between pages and between runs, and reconciles.
func (w *odataWorld) story() {
	w.t.Helper()
	w.quiet(syncer.Request{})
	for round := 1; round <= 3; round++ {
		w.edit(round)
		w.quiet(syncer.Request{})
	}
	w.quiet(syncer.Request{Full: true})
	w.same()
	if res := w.quiet(syncer.Request{}); res.Counts(syncer.Download).Created+res.Counts(syncer.Download).Changed+res.Counts(syncer.Download).Deleted != 0 {
		w.t.Errorf("a further run still wrote: %+v", res.Entities)
	}
	for _, r := range w.service.Requests() {
		if r.Method != http.MethodGet && r.Path != "/$batch" { // by which records are read by key
			w.t.Errorf("a download sent %s %s", r.Method, r.Path)
		}
	}
}

// readFaults are the faults that the service can have, at rates that let runs end.
var readFaults = []string{"429=0.2", "500=0.2", "cut=0.2", "slow=1ms", "dup-next=7", "anchor-expiry=3"}

// optionsFor adds what a person would set for a service with these quirks.
func optionsFor(quirks []string, tracking string) map[string]any {
	o := map[string]any{"tracking": tracking, "overlapVersions": 3}
	if slices.Contains(quirks, odatatest.NoOr) {
		o["orFilters"] = false
	}
	return o
}

// TestQuirksAndFaults syncs with every quirk and every fault alone, and with
// random pairs of them, in each way of following changes.
func TestQuirksAndFaults(t *testing.T) {
	t.Parallel()
	var quirks []string
	for _, q := range odatatest.ReadQuirks() {
		if q.Name != odatatest.ForeignLinks { // ends in a refused run; see TestForeignLinks
			quirks = append(quirks, q.Name)
		}
	}
	cases := [][]string{{}}
	for _, name := range slices.Concat(quirks, readFaults) {
		cases = append(cases, []string{name})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	all := slices.Concat(quirks, readFaults)
	for range 25 {
		a, b := all[rnd.IntN(len(all))], all[rnd.IntN(len(all))]
		if a != b {
			cases = append(cases, []string{a, b})
		}
	}
	for n, names := range cases {
		for m, tracking := range []string{"auto", "watermark", "full"} {
			if tracking == "watermark" && slices.Contains(names, odatatest.TextTimeCompare) {
				continue // refused: its times cannot be compared
			}
			if len(names) > 1 && m != n%3 {
				continue // a pair is synced in one of the ways
			}
			// Every case on SQLite; some on PostgreSQL as well.
			engines := []func(testing.TB, ...store.Migration) *store.Store{storetest.SQLite}
			if (n+m)%6 == 0 {
				engines = append(engines, storetest.Postgres)
			}
			for i, open := range engines {
				t.Run(strings.Join(names, "+")+"/"+tracking+"/"+store.Engine(i).String(), func(t *testing.T) {
					t.Parallel()
					o := odatatest.Options{Seed: uint64(n), NoDelta: m == 1}
					for _, name := range names {
						if strings.Contains(name, "=") {
							o.Faults = append(o.Faults, name)
						} else {
							o.Quirks = append(o.Quirks, name)
						}
					}
					newODataWorld(t, open(t, syncer.Migrations()...), o, optionsFor(names, tracking)).story()
				})
			}
		}
	}
}

// eachOData runs a test on both databases.
func eachOData(t *testing.T, o odatatest.Options, options map[string]any, test func(t *testing.T, w *odataWorld)) {
	storetest.Each(t, func(t *testing.T, s *store.Store) { test(t, newODataWorld(t, s, o, options)) }, syncer.Migrations()...)
}

// TestForeignLinks is the service whose next links lead elsewhere: credentials
// must not follow them.
func TestForeignLinks(t *testing.T) {
	asked := make(chan string, 100)
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- "asked" }))
	defer other.Close()
	o := odatatest.Options{Quirks: []string{odatatest.ForeignLinks}, ForeignURL: other.URL}
	eachOData(t, o, map[string]any{"paging": "server"}, func(t *testing.T, w *odataWorld) {
		res := w.run(syncer.Request{})
		if res.State != syncer.Failed || res.Entities[0].Kind != "forbidden" {
			t.Errorf("the run ended %s: %+v, want failed, forbidden", res.State, res.Entities)
		}
		if len(asked) != 0 {
			t.Error("the other host was asked")
		}
	})
}

// TestLateDeletesDuringOffsetPaging is the server whose page tokens count
// rows: deletes between pages hide live rows from the rest of the read.
func TestLateDeletesDuringOffsetPaging(t *testing.T) {
	o := odatatest.Options{Quirks: []string{odatatest.OffsetTokens}}
	eachOData(t, o, map[string]any{"paging": "server", "tracking": "full"}, func(t *testing.T, w *odataWorld) {
		w.quiet(syncer.Request{})
		w.same()
		once := sync.OnceFunc(func() {
			for i := range 10 {
				w.check(w.service.Delete("items", kedge.NewKey(itemRow(i, 0).Values[0])))
			}
		})
		w.hook = func(point string) {
			if point == "p5" {
				once()
			}
		}
		res := w.quiet(syncer.Request{Full: true})
		if n := res.Entities[0].Deleted; n != 0 {
			t.Errorf("%d rows were deleted: the 10 that are gone had been read, and the others are there", n)
		}
		res = w.quiet(syncer.Request{})
		if n := res.Entities[0].Deleted; n != 10 {
			t.Errorf("%d rows were deleted in the next run, want the 10 that are gone", n)
		}
		w.same()
	})
}

// TestBadValue is one row of a wrong type: it waits in quarantine with its key
// and field, and the rest of its page is stored.
func TestBadValue(t *testing.T) {
	eachOData(t, odatatest.Options{}, nil, func(t *testing.T, w *odataWorld) {
		bad := itemRow(7, 0)
		bad.Values[2] = kedge.JSON(`"much"`)
		w.check(w.service.Put("items", bad))
		res := w.run(syncer.Request{})
		w.line(res, "all 60 new 59 updated 0 failed 1")
		rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{})
		w.check(err)
		if len(rows) != 1 || rows[0].Key != bad.Values[0].Text() || rows[0].Field != "price" || rows[0].Stage != "decode" {
			t.Fatalf("quarantine: %+v", rows)
		}
		w.check(w.service.Put("items", itemRow(7, 1)))
		w.line(w.run(syncer.Request{}), "all 1 new 1 updated 0 failed 0")
		w.same()
		if rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{}); err != nil || len(rows) != 0 {
			t.Errorf("still in quarantine: %+v, %v", rows, err)
		}
	})
}

// TestLostTrackingHeals is the server that forgot what changed and does not
// say so: the reconcile finds what the delta never told.
func TestLostTrackingHeals(t *testing.T) {
	eachOData(t, odatatest.Options{Quirks: []string{odatatest.DeltaForgets}}, nil, func(t *testing.T, w *odataWorld) {
		w.quiet(syncer.Request{})
		w.edit(1)
		w.quiet(syncer.Request{})
		w.now = w.now.Add(169 * time.Hour)
		res := w.quiet(syncer.Request{})
		if e := res.Entities[0]; e.Mode != "full" {
			t.Errorf("a week later the read is %s, want full", e.Mode)
		}
		w.same()
	})
}

// TestNoTrackingAtAll reads all in each run where there are neither delta links
// nor versions, also in the run that finds this out.
func TestNoTrackingAtAll(t *testing.T) {
	eachOData(t, odatatest.Options{NoDelta: true, NoVersion: true}, nil, func(t *testing.T, w *odataWorld) {
		for round := range 3 {
			if res := w.quiet(syncer.Request{}); res.Entities[0].Mode != "full" {
				t.Errorf("run %d is %s, want full", round, res.Entities[0].Mode)
			}
			w.same()
			w.edit(round)
		}
	})
}

// TestExpiredAnchorOverHTTP reads everything once when the delta link is gone.
func TestExpiredAnchorOverHTTP(t *testing.T) {
	eachOData(t, odatatest.Options{}, nil, func(t *testing.T, w *odataWorld) {
		w.quiet(syncer.Request{})
		w.edit(1)
		w.service.Expire()
		if res := w.quiet(syncer.Request{}); res.Entities[0].Mode != "full" {
			t.Errorf("after the link expired the read is %s, want full", res.Entities[0].Mode)
		}
		w.same()
		w.edit(2)
		if res := w.quiet(syncer.Request{}); res.Entities[0].Mode != "incremental" {
			t.Errorf("then the read is %s, want incremental", res.Entities[0].Mode)
		}
		w.same()
	})
}

// TestExactlyTheChanges transfers k rows for k edits.
func TestExactlyTheChanges(t *testing.T) {
	for _, noOr := range []bool{false, true} {
		o := odatatest.Options{NoDelta: true}
		options := map[string]any{"tracking": "watermark", "overlapVersions": 0, "overlap": "0s"}
		if noOr {
			o.Quirks, options["orFilters"] = []string{odatatest.NoOr}, false
		}
		t.Run(fmt.Sprint("noOr=", noOr), func(t *testing.T) {
			eachOData(t, o, options, func(t *testing.T, w *odataWorld) {
				w.quiet(syncer.Request{})
				for i := range 23 {
					w.check(w.service.Put("items", itemRow(i, 1)))
				}
				res := w.quiet(syncer.Request{})
				if e := res.Entities[0]; e.Read != 23 || e.Changed != 23 {
					t.Errorf("%d read, %d of them changed, want 23", e.Read, e.Changed)
				}
				w.same()
			})
		})
	}
}

// TestEveryRequestIsComplete looks at what was asked: Prefer and Accept on
// every page, $select on every query of rows.
func TestEveryRequestIsComplete(t *testing.T) {
	eachOData(t, odatatest.Options{}, map[string]any{"paging": "server"}, func(t *testing.T, w *odataWorld) {
		w.quiet(syncer.Request{})
		pages := 0
		for _, r := range w.service.Requests() {
			if !strings.HasPrefix(r.Path, "/items") || !strings.Contains(r.Prefer, "odata.maxpagesize") {
				continue
			}
			pages++
			if !strings.Contains(r.Accept, "IEEE754Compatible=true") {
				t.Errorf("page without Accept: %+v", r)
			}
		}
		if pages < 6 {
			t.Errorf("%d pages asked for with Prefer, want at least 6", pages)
		}
		w.same()
	})
}

// TestLastVersion is the greatest row version that was read, not a tag that
// only the service understands.
func TestLastVersion(t *testing.T) {
	for _, tracking := range []string{"delta", "watermark", "full"} {
		t.Run(tracking, func(t *testing.T) {
			eachOData(t, odatatest.Options{}, map[string]any{"tracking": tracking}, func(t *testing.T, w *odataWorld) {
				last := func() (n int64) {
					t.Helper()
					anchors, err := w.syncer.Anchors(t.Context(), "crm")
					w.check(err)
					n, err = strconv.ParseInt(anchors[0].LastVersion, 10, 64)
					w.check(err)
					return n
				}
				w.quiet(syncer.Request{})
				first := last()
				w.check(w.service.Put("items", itemRow(3, 1)))
				w.quiet(syncer.Request{})
				if second := last(); second <= first {
					t.Errorf("last version %d after %d, want a greater one", second, first)
				}
			})
		})
	}
}
