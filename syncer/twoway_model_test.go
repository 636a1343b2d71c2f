package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/sqltable"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// TestTwoWayModel makes random edits on both sides, with faults, runs that are
// cancelled and processes that die in between. Whenever they stop, both sides
// become equal, no edit of one side is lost, nothing is doubled, and a further
// run writes nothing.
func TestTwoWayModel(t *testing.T) {
	t.Parallel()
	migrations := append(syncer.Migrations(), sqltable.Migrations()...)
	for _, engine := range []struct {
		name, checks string
		dsn          func(testing.TB) string
	}{{"sqlite", "25", storetest.SQLiteDSN}, {"postgres", "5", storetest.PostgresDSN}} {
		t.Run(engine.name, func(t *testing.T) {
			site := &twoWayPlace{dsn: engine.dsn(t), otherDSN: storetest.SQLiteDSN(t)}
			site.own, site.other = storetest.Open(t, site.dsn, migrations...), storetest.Open(t, site.otherDSN)
			few(t, engine.checks)
			rapid.Check(t, func(rt *rapid.T) { newTwoWay(t, rt, site).play() })
		})
	}
}

// twoWayMapping maps customers in both directions. Both sides know a record by
// its tag, whoever makes its key.
const twoWayMapping = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    direction: bidirectional
    key: [KEY]
    ALTERNATE
    conflict: {policy: POLICY, editVsDelete: GONE, merge: MERGE}
    deletes: {maxRows: 1000}
    fields:
      - {external: Contact, local: tag}
      - {external: Name, local: name}
      - {external: Balance, local: balance}
`

// A who is one of the two sides.
type who int

func (w who) String() string { return [...]string{"here", "there"}[w] }

const (
	here who = iota
	there
)

// A twoWay is a world with edits on both sides.
type twoWay struct {
	*world
	rt      *rapid.T
	place   *twoWayPlace
	peer    *peer
	key     string // shared, matched, or made by the other side
	policy  string
	gone    string // editVsDelete
	merge   string
	foreign bool // the local table is in another database

	n      int
	agreed map[string]card // by tag, the last time both sides were equal
	edits  map[string]*[2]history
	log    []string
}

// A card is what a record says.
type card struct{ name, balance string }

// A history is what one side did to a record since both were equal.
type history struct {
	touched    bool
	structural bool // it was made or deleted
	live       bool
	card       card // as this side alone would have it
	names      []string
	balances   []string
}

func newTwoWay(t *testing.T, rt *rapid.T, place *twoWayPlace) *twoWay {
	m := &twoWay{rt: rt, place: place, agreed: map[string]card{}, edits: map[string]*[2]history{},
		key:     rapid.SampledFrom([]string{"matched", "shared", "made"}).Draw(rt, "key"),
		policy:  rapid.SampledFrom([]string{"remote_wins", "local_wins", "local_wins_full", "manual"}).Draw(rt, "policy"),
		gone:    rapid.SampledFrom([]string{"remote_wins", "local_wins", "manual"}).Draw(rt, "gone"),
		merge:   rapid.SampledFrom([]string{"field", "record"}).Draw(rt, "merge"),
		foreign: rapid.Bool().Draw(rt, "foreign"),
	}
	tb := modelTB{t, rt}
	empty(tb, place.own)
	if m.foreign {
		empty(tb, place.other)
		m.world = foreignWorld(tb, place.own, place.other, place.otherDSN, m.yaml())
	} else {
		m.world = newWorld(tb, place.own, m.yaml())
	}
	m.peer = &peer{source: m.source, remote: m.remote, normalises: rapid.Bool().Draw(rt, "normalises")}
	concurrency, idempotent, delta := rapid.Bool().Draw(rt, "concurrency"), rapid.Bool().Draw(rt, "idempotent"), rapid.Bool().Draw(rt, "delta")
	m.source.edit = func(e *kedge.Entity) {
		e.Concurrency, e.Idempotent, e.Delta, e.Deletes = concurrency, idempotent, delta, delta
		if e.Name == "customers" {
			e.Field("No").Computed = m.key == "made"
		}
	}
	m.source.pageSize = rapid.IntRange(1, 4).Draw(rt, "pageSize")
	local := m.opts.Connect
	m.opts.Connect = func(ctx context.Context, name, integration string) (*connectors.Conn, error) {
		if name == "remote" {
			return connectors.New(m.peer, nil), nil
		}
		return local(ctx, name, integration)
	}
	m.opts.Sleep = func(_ context.Context, d time.Duration) error {
		m.now = m.now.Add(d)
		return nil
	}
	m.opts.Limits.CommitRows = rapid.IntRange(1, 5).Draw(rt, "commitRows")
	m.syncer = syncer.New(m.opts)
	m.create(there, "Z", card{"stays", "1"}) // an empty side is taken for a broken one
	m.agreed["Z"] = card{"stays", "1"}
	return m
}

// empty empties a database that an earlier check used.
func empty(t testing.TB, s *store.Store) {
	w := &world{t: t, store: s}
	w.exec("DROP TABLE IF EXISTS customer")
	for _, table := range w.tableNames() {
		if !strings.Contains(table, "migration") {
			w.exec("DELETE FROM " + table)
		}
	}
}

func (m *twoWay) yaml() string {
	key, alternate := `{external: "No", local: erp_no}`, ""
	switch m.key {
	case "shared":
		key = `{external: "No", local: no, primary: true}`
	case "made":
		alternate = "alternateKeys: [[{external: Contact, local: tag}]]"
	}
	return strings.NewReplacer("KEY", key, "ALTERNATE", alternate, "POLICY", m.policy, "GONE", m.gone, "MERGE", m.merge).Replace(twoWayMapping)
}

func (m *twoWay) note(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

func (m *twoWay) play() {
	for range rapid.IntRange(1, 3).Draw(m.rt, "rounds") {
		for range rapid.IntRange(1, 12).Draw(m.rt, "steps") {
			m.step()
		}
		m.quiet()
	}
}

func (m *twoWay) step() {
	switch rapid.IntRange(0, 9).Draw(m.rt, "step") {
	case 0, 1, 2, 3, 4, 5:
		m.change(who(rapid.IntRange(0, 1).Draw(m.rt, "who")))
	case 6:
		m.check(m.remote.Expire(m.t.Context(), "customers"))
		m.note("the other side forgets its history")
	default:
		m.faultyRun()
	}
}

// change makes, edits or deletes a record on one side.
func (m *twoWay) change(side who) {
	tag := rapid.SampledFrom([]string{"A", "B", "C", "D"}).Draw(m.rt, "tag")
	_, live := m.cards(side)[tag]
	h := m.history(side, tag)
	if !live {
		if !h.mayCreate(m, side, tag) {
			return
		}
		now := card{m.newName(), m.newBalance()}
		m.create(side, tag, now)
		h.structural, h.live = true, true
		h.took(now.name, now.balance)
		m.note("%v creates %s %v", side, tag, now)
		return
	}
	switch rapid.IntRange(0, 4).Draw(m.rt, "change") {
	case 0:
		m.remove(side, tag)
		h.deleted()
		m.note("%v deletes %s", side, tag)
	case 1, 2:
		h.took(m.newName(), "")
		m.edit(side, tag, "name", last(h.names))
		m.note("%v edits %s name %q", side, tag, last(h.names))
	default:
		h.took("", m.newBalance())
		m.edit(side, tag, "balance", last(h.balances))
		m.note("%v edits %s balance %s", side, tag, last(h.balances))
	}
}

// mayCreate keeps two sides from making the same record in one round where
// only its tag would say that they are one: whoever sends first cannot know.
func (h *history) mayCreate(m *twoWay, side who, tag string) bool {
	return m.key != "made" || !m.history(1-side, tag).touched
}

func last(s []string) string { return s[len(s)-1] }

func (h *history) took(name, balance string) {
	h.touched = true
	if name != "" {
		h.names, h.card.name = append(h.names, name), name
	}
	if balance != "" {
		h.balances, h.card.balance = append(h.balances, balance), balance
	}
}

func (h *history) deleted() { h.touched, h.structural, h.live = true, true, false }

// unsure says that a person decided what becomes of the record.
func (h *history) unsure() { h.touched, h.structural = true, true }

func (m *twoWay) history(side who, tag string) *history {
	if m.edits[tag] == nil {
		now, live := m.agreed[tag]
		m.edits[tag] = &[2]history{{live: live, card: now}, {live: live, card: now}}
	}
	h := &m.edits[tag][side]
	return h
}

func (m *twoWay) newName() string {
	m.n++
	if rapid.IntRange(0, 3).Draw(m.rt, "blank") == 0 {
		return fmt.Sprintf("n%d ", m.n)
	}
	return fmt.Sprintf("n%d", m.n)
}

func (m *twoWay) newBalance() string {
	m.n++
	if rapid.IntRange(0, 3).Draw(m.rt, "long") == 0 {
		return fmt.Sprintf("%d.123", m.n)
	}
	return strconv.Itoa(m.n)
}

// faultyRun runs, often with something that goes wrong.
func (m *twoWay) faultyRun() {
	rt := m.rt
	trouble := rapid.IntRange(0, 9).Draw(rt, "trouble")
	if trouble > 6 {
		m.dyingRun(trouble == 9)
		return
	}
	m.peer.fault, m.peer.before, m.source.page, m.source.keys = nil, nil, nil, nil
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	nth := rapid.IntRange(1, 4).Draw(rt, "nth")
	m.note("run with trouble %d at %d", trouble, nth)
	switch trouble {
	case 1, 2, 3:
		kind := peerFault(rapid.IntRange(1, int(refuseOne)).Draw(rt, "fault"))
		m.note("fault %d", kind)
		m.peer.fault = func([]kedge.Change) peerFault {
			if nth--; nth == 0 {
				return kind
			}
			return fine
		}
	case 4:
		m.source.page = func(connectors.ReadRequest) error {
			if nth--; nth == 0 {
				return &kedge.Error{Kind: kedge.Transient, Err: errors.New("the model said so")}
			}
			return nil
		}
	case 5:
		m.peer.before = func([]kedge.Change) {
			if nth--; nth == 0 {
				m.race()
			}
		}
	case 6:
		count := func() {
			if nth--; nth == 0 {
				cancel()
			}
		}
		m.source.page = func(connectors.ReadRequest) error { count(); return nil }
		m.source.keys = func([]kedge.Key) error { count(); return nil }
		m.peer.before = func([]kedge.Change) { count() }
	}
	m.now = m.now.Add(time.Minute)
	res, err := soon(ctx, m.syncer)
	m.note("→ %s %v %v", res.State, res.Entities, err)
	m.peer.fault, m.peer.before, m.source.page, m.source.keys = nil, nil, nil, nil
	m.sumsOf(res)
}

// race edits a record there while a change is on its way.
func (m *twoWay) race() {
	for _, tag := range slices.Sorted(maps.Keys(m.cards(there))) {
		h := m.history(there, tag)
		h.took(m.newName(), "")
		m.edit(there, tag, "name", last(h.names))
		m.note("race: %v edits %s name %q", there, tag, last(h.names))
		return
	}
}

func (m *twoWay) sumsOf(res syncer.Result) {
	for _, e := range res.Entities {
		c := e.Counts
		if sum := c.Created + c.Changed + c.Unchanged + c.Deleted + c.Echo + c.Kept + c.Quarantined + c.Conflicts + c.Duplicates + c.Refused + c.Unknown + c.Filtered + c.Suppressed; sum != c.Read {
			m.fail("the counts sum to %d: %+v", sum, e)
		}
	}
}

func (m *twoWay) fail(format string, args ...any) {
	m.rt.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.log, "\n"))
}

// quiet lets the edits stop, and compares.
func (m *twoWay) quiet() {
	m.note("quiet")
	m.editRefused()
	m.settle()
	m.resolve()
	m.equal()
	writes := m.peer.writes
	before := m.state()
	m.quietRun()
	if diff := cmp.Diff(before, m.state()); diff != "" {
		m.fail("a further run wrote something:\n%s", diff)
	}
	if m.peer.writes != writes {
		m.fail("a further run wrote to the other side")
	}
	m.nothingLost()
	m.agreed, m.edits = m.cards(here), map[string]*[2]history{}
}

// settle runs until there is nothing to do, three times at most.
func (m *twoWay) settle() {
	for range 3 {
		writes := m.peer.writes
		if res := m.quietRun(); res.State == syncer.Succeeded && m.peer.writes == writes && !slices.ContainsFunc(res.Entities, func(e syncer.EntityResult) bool {
			return e.Read != e.Unchanged || e.Pending > 0
		}) {
			return
		}
	}
}

func (m *twoWay) quietRun() syncer.Result {
	storetest.Settle(m.t, m.store)
	m.now = m.now.Add(2 * time.Hour)
	res, err := soon(m.t.Context(), m.syncer)
	m.note("→ %s %v %v", res.State, res.Entities, err)
	m.sumsOf(res)
	if err != nil {
		m.fail("run: %v", err)
	}
	for _, e := range res.Entities {
		// A source may forget its history while an interrupted full read waits.
		if e.State == syncer.Stopped || e.State == syncer.Failed && e.Kind != kedge.AnchorExpired.String() {
			m.fail("%+v", e)
		}
	}
	return res
}

// editRefused edits the records here that the other side refused for good:
// until then they are not sent again.
func (m *twoWay) editRefused() {
	var keys []string
	db := m.opts.Store.DB()
	m.check(db.NewSelect().TableExpr("integration_transaction").ColumnExpr("local_key").Where("state = 'dead'").OrderExpr("local_key").Scan(m.t.Context(), &keys))
	_, err := db.NewDelete().TableExpr("integration_transaction").Where("state = 'dead'").Exec(m.t.Context())
	m.check(err)
	for _, c := range m.copies(here) {
		if slices.Contains(keys, c.id) {
			h := m.history(here, c.tag)
			h.took(m.newName(), "")
			m.edit(here, c.tag, "name", last(h.names))
			m.note("%v edits %s name %q once more", here, c.tag, last(h.names))
		}
	}
}

// resolve ends the open conflicts as a person would.
func (m *twoWay) resolve() {
	ctx := m.t.Context()
	for range 3 { // the next sync may find that there is another one
		open, err := m.syncer.Conflicts(ctx, syncer.ConflictQuery{})
		m.check(err)
		if len(open) == 0 {
			return
		}
		all, err := m.syncer.Conflicts(ctx, syncer.ConflictQuery{All: true})
		m.check(err)
		m.onceEach(all)
		for _, c := range open {
			take := rapid.SampledFrom([]syncer.Take{syncer.TakeLocal, syncer.TakeRemote}).Draw(m.rt, "take")
			m.note("resolve %s: %s", c.ExternalKey, take)
			_, err := m.syncer.ResolveConflict(ctx, c.ID, syncer.Resolution{Take: take, By: "test"})
			m.check(err)
			for _, tag := range m.tagsOf(c) {
				m.history(here, tag).unsure()
				m.history(there, tag).unsure()
			}
		}
		m.settle()
	}
	m.fail("conflicts do not end")
}

// onceEach checks that no conflict is reported twice.
func (m *twoWay) onceEach(all []*syncer.Conflict) {
	seen := map[string]bool{}
	for _, c := range all {
		if len(c.Fields) > 0 && m.policy != "manual" || len(c.Fields) == 0 && m.gone != "manual" {
			m.fail("a conflict though the policy decides: %+v", c)
		}
		sides, err := c.Sides()
		m.check(err)
		text := fmt.Sprint(c.ExternalKey, " ", c.Reason)
		for _, f := range sides {
			for _, v := range []*string{f.Base, f.Local, f.Remote} {
				if v != nil {
					text += " " + *v
				}
			}
			text += ";"
		}
		if seen[text] {
			m.fail("a conflict is reported twice: %s", text)
		}
		seen[text] = true
	}
}

// tagsOf returns the tags that the sides of a conflict have.
func (m *twoWay) tagsOf(c *syncer.Conflict) (tags []string) {
	sides, err := c.Sides()
	m.check(err)
	for _, f := range sides {
		for _, v := range []*string{f.Base, f.Local, f.Remote} {
			if f.Field == "tag" && v != nil {
				tags = append(tags, *v)
			}
		}
	}
	return tags
}

func (m *twoWay) equal() {
	if diff := cmp.Diff(m.lines(there), m.lines(here)); diff != "" {
		m.fail("the sides differ (-there +here):\n%s\n%s", diff, m.state())
	}
}

// state is everything that a run without work must leave alone.
func (m *twoWay) state() string {
	own := &world{t: m.t, store: m.opts.Store}
	volatile := strings.Fields("integration_run integration_log integration_mapping integration_schema integration_syncanchor integration_hashlog kedge_lease kedge_session kedge_capture")
	return own.dump(volatile...) + strings.Join(m.lines(here), "\n")
}
