package syncer_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// TestModel makes random edits, faults and runs. Once they stop, the local
// rows are those of the source, and a further run has nothing to write.
func TestModel(t *testing.T) {
	t.Parallel()
	for engine, checks := range map[string]string{"sqlite": "40", "postgres": "8"} {
		t.Run(engine, func(t *testing.T) {
			var s *store.Store
			if engine == "sqlite" {
				s = storetest.SQLite(t, syncer.Migrations()...)
			} else {
				s = storetest.Postgres(t, syncer.Migrations()...)
			}
			few(t, checks)
			rapid.Check(t, func(rt *rapid.T) { newModel(t, rt, s).play() })
		})
	}
}

// few bounds the histories of a model, unless KEDGE_SOAK or a flag of rapid asks
// for another number. Models take turns: the number belongs to the process.
func few(t *testing.T, checks string) {
	modelTurn.Lock()
	f := flag.Lookup("rapid.checks")
	given := f.Value.String()
	t.Cleanup(func() {
		_ = f.Value.Set(given)
		modelTurn.Unlock()
	})
	if soak := os.Getenv("KEDGE_SOAK"); soak != "" {
		checks = soak
	} else if given != f.DefValue {
		return
	}
	if err := f.Value.Set(checks); err != nil {
		t.Fatal(err)
	}
}

var modelTurn sync.Mutex

// A model is a world and what its source holds.
type model struct {
	*world
	rt        *rapid.T
	shared    bool
	filter    bool // blocked customers are left out
	balance   bool // the balance is mapped
	maxRows   int
	customers map[string][]string // No, Name, Balance, Blocked, Contact, Parent
	contacts  map[string][]string // Id, Name, Customer
}

// A modelTB is a testing.TB whose failures rapid sees.
type modelTB struct {
	testing.TB
	rt *rapid.T
}

func (tb modelTB) Error(args ...any)                 { tb.rt.Error(args...) }
func (tb modelTB) Errorf(format string, args ...any) { tb.rt.Errorf(format, args...) }
func (tb modelTB) Fatal(args ...any)                 { tb.rt.Fatal(args...) }
func (tb modelTB) Fatalf(format string, args ...any) { tb.rt.Fatalf(format, args...) }

func newModel(t *testing.T, rt *rapid.T, s *store.Store) *model {
	for _, table := range []string{"customer", "person"} {
		if _, err := s.DB().ExecContext(t.Context(), "DROP TABLE IF EXISTS "+table); err != nil {
			t.Fatal(err)
		}
	}
	m := &model{rt: rt, shared: rapid.Bool().Draw(rt, "shared"), balance: true, maxRows: rapid.SampledFrom([]int{1000, 1}).Draw(rt, "maxRows"),
		customers: map[string][]string{}, contacts: map[string][]string{}}
	m.world = newWorld(modelTB{t, rt}, s, m.yaml())
	for _, table := range []string{"link", "hashlog", "hash", "pendingref", "quarantine", "entity", "syncanchor", "schema", "run", "log"} {
		m.exec("DELETE FROM integration_" + table)
	}
	delta := rapid.Bool().Draw(rt, "delta")
	m.source.edit = func(e *kedge.Entity) { e.Delta, e.Deletes = delta, delta }
	m.source.unfiltered = rapid.Bool().Draw(rt, "unfiltered")
	m.source.pageSize = rapid.IntRange(1, 4).Draw(rt, "pageSize")
	m.opts.Limits.CommitRows = rapid.IntRange(1, 5).Draw(rt, "commitRows")
	m.opts.Limits.HashSkipMaxRows = rapid.SampledFrom([]int{2, 1000}).Draw(rt, "hashSkipMaxRows")
	m.opts.Limits.ParallelEntities = rapid.IntRange(1, 2).Draw(rt, "parallel")
	m.syncer = syncer.New(m.opts)
	m.exec("ALTER TABLE customer ADD COLUMN memo text")
	m.exec("INSERT INTO customer ("+m.localKey()+", name, memo) VALUES (?, 'mine', 'kept')", foreignKey)
	return m
}

// foreignKey is the key of a row that is nobody's business.
const foreignKey = "00000000-0000-7000-8000-00000000000f"

func (m *model) localKey() string {
	if m.shared {
		return "no"
	}
	return "id"
}

func (m *model) yaml() string {
	primary := ""
	if m.shared {
		primary = ", primary: true"
	}
	y := strings.Replace(withLookups, "PRIMARY", primary, 1)
	if m.balance {
		y = strings.Replace(y, "      - {external: Contact", "      - {external: Balance, local: balance}\n      - {external: Contact", 1)
	}
	rules := fmt.Sprintf("    deletes: {maxRows: %d, maxPercent: 0}\n    fields:", m.maxRows)
	if m.filter {
		rules = "    downloadFilter: Blocked ne true\n" + rules
	}
	return strings.ReplaceAll(y, "    fields:", rules)
}

func (m *model) saveMapping() {
	y := m.yaml()
	if m.filter { // which is one of customers
		i := strings.LastIndex(y, "    downloadFilter: Blocked ne true\n")
		y = y[:i] + y[i+len("    downloadFilter: Blocked ne true\n"):]
	}
	m.save(y)
}

var (
	someCustomer = rapid.SampledFrom([]string{"C0", "C1", "C2", "C3", "C4", "C5"})
	someContact  = rapid.SampledFrom([]string{"P0", "P1", "P2", "P3"})
	someName     = rapid.SampledFrom([]string{"Ann", "Bob", "Cid", "-"})
)

func (m *model) orNot(g *rapid.Generator[string], name string) string {
	if rapid.IntRange(0, 2).Draw(m.rt, name+" missing") == 0 {
		return "-"
	}
	return g.Draw(m.rt, name)
}

func (m *model) play() {
	steps := rapid.IntRange(1, 30).Draw(m.rt, "steps")
	for range steps {
		m.step()
	}
	m.quiet()
}

func (m *model) step() {
	rt := m.rt
	switch rapid.IntRange(0, 11).Draw(rt, "step") {
	case 0, 1, 2:
		no := someCustomer.Draw(rt, "customer")
		fields := []string{no, someName.Draw(rt, "name"), rapid.SampledFrom([]string{"1", "2.5", "-"}).Draw(rt, "balance"),
			rapid.SampledFrom([]string{"true", "false", "-"}).Draw(rt, "blocked"), m.orNot(someContact, "contact"), m.orNot(someCustomer, "parent")}
		m.putFields("customers", fields, "No", "Name", "Balance", "Blocked", "Contact", "Parent")
		m.customers[no] = fields
	case 3, 4:
		id := someContact.Draw(rt, "contact")
		fields := []string{id, someName.Draw(rt, "name"), m.orNot(someCustomer, "customer")}
		m.putFields("contacts", fields, "Id", "Name", "Customer")
		m.contacts[id] = fields
	case 5:
		no := someCustomer.Draw(rt, "customer")
		m.check(m.remote.Delete(m.t.Context(), "customers", kedge.Key(no)))
		delete(m.customers, no)
	case 6:
		id := someContact.Draw(rt, "contact")
		m.check(m.remote.Delete(m.t.Context(), "contacts", kedge.Key(id)))
		delete(m.contacts, id)
	case 7:
		m.trouble()
	default:
		m.someRun()
	}
}

// trouble is what happens to a source, a mapping and a process.
func (m *model) trouble() {
	rt := m.rt
	switch rapid.IntRange(0, 4).Draw(rt, "trouble") {
	case 0:
		m.check(m.remote.Expire(m.t.Context(), rapid.SampledFrom([]string{"customers", "contacts"}).Draw(rt, "expired")))
	case 1:
		m.filter = !m.filter
		m.saveMapping()
	case 2:
		m.balance = !m.balance
		m.saveMapping()
	case 3:
		err := m.syncer.ResetAnchor(m.t.Context(), "crm", rapid.SampledFrom([]string{"customer", "person"}).Draw(rt, "reset"), "test")
		if err != nil && kedge.KindOf(err) != kedge.NotFound {
			rt.Fatal(err)
		}
	case 4:
		m.syncer = syncer.New(m.opts)
	}
}

func (m *model) someRun() {
	rt := m.rt
	fails := rapid.IntRange(0, 6).Draw(rt, "failing request") // 0: none
	if kind := rapid.SampledFrom([]kedge.Kind{kedge.Transient, kedge.AnchorExpired}).Draw(rt, "kind"); fails > 0 {
		left := fails
		m.source.page = func(req connectors.ReadRequest) error {
			// A source can forget what it gave out, but not the beginning.
			if left--; left == 0 && (kind != kedge.AnchorExpired || req.Anchor != "" || req.Token != "") {
				return &kedge.Error{Kind: kind, Err: errors.New("the model said so")}
			}
			return nil
		}
	}
	defer func() { m.source.page = nil }()
	var entities []string
	if rapid.IntRange(0, 3).Draw(rt, "all or one") == 0 {
		entities = []string{rapid.SampledFrom([]string{"customer", "person"}).Draw(rt, "entity")}
	}
	switch rapid.IntRange(0, 6).Draw(rt, "run") {
	case 0, 1, 2:
		m.run(syncer.Request{Entities: entities})
	case 3:
		m.run(syncer.Request{Entities: entities, Full: true})
	case 4:
		m.run(syncer.Request{Entities: entities, ForceDeletes: true})
	case 5:
		m.run(syncer.Request{Op: syncer.Retry})
	case 6:
		// Of two entities that refer to each other, a plan takes one after the other.
		if fails > 0 || m.opts.Limits.ParallelEntities > 1 {
			m.run(syncer.Request{Op: syncer.Import, Entities: entities})
			return
		}
		m.foretold(syncer.Import)
	}
}

// quiet lets the edits stop, and compares.
func (m *model) quiet() {
	m.run(syncer.Request{ForceDeletes: true}) // what was held back is confirmed
	res := m.run(syncer.Request{ForceDeletes: true})
	if res.State != syncer.Succeeded {
		m.rt.Fatalf("state %s: %+v", res.State, res)
	}
	var customers, contacts []string
	for _, c := range m.customers {
		if !m.passes(c) {
			continue
		}
		parent := "-"
		if p := m.customers[c[5]]; p != nil && m.passes(p) {
			parent = p[1]
		}
		contact := "-"
		if p := m.contacts[c[4]]; p != nil {
			contact = p[1]
		}
		balance := c[2]
		if !m.balance {
			balance = ""
		}
		customers = append(customers, strings.Join([]string{c[0], c[1], balance, contact, parent}, " "))
	}
	for _, p := range m.contacts {
		customer := "-"
		if c := m.customers[p[2]]; c != nil && m.passes(c) {
			customer = c[1]
		}
		contacts = append(contacts, strings.Join([]string{p[0], p[1], customer}, " "))
	}
	slices.Sort(customers)
	slices.Sort(contacts)
	balance, key := "c.balance", m.localKey()
	if !m.balance {
		balance = "''"
	}
	m.same("customers", m.rows("customer AS c LEFT JOIN person AS p ON CAST(p.id AS text) = CAST(c.contact AS text) LEFT JOIN customer AS q ON CAST(q."+key+" AS text) = CAST(c.parent AS text) WHERE c.memo IS NULL",
		"c.no", "c.name", balance, "p.name", "q.name"), customers...)
	m.same("contacts", m.rows("person AS p LEFT JOIN customer AS c ON CAST(c."+key+" AS text) = CAST(p.customer AS text)", "p.id_no", "p.name", "c.name"), contacts...)
	m.same("the row of somebody else", m.rows("customer WHERE memo = 'kept'", key, "name"), foreignKey+" mine")
	m.same("quarantine", m.quarantined())
	m.sums()
	const volatile = "integration_run integration_log integration_syncanchor integration_hashlog integration_hash kedge_lease kedge_session"
	before := m.dump(strings.Fields(volatile)...)
	m.run(syncer.Request{})
	if after := m.dump(strings.Fields(volatile)...); after != before {
		m.rt.Fatalf("a further run wrote something:\n%s\nbefore:\n%s", after, before)
	}
	if n := m.rows("integration_entity", "name", "linked"); !slices.Equal(n, []string{fmt.Sprint("customer ", len(customers)), fmt.Sprint("person ", len(contacts))}) {
		m.rt.Errorf("linked: %q, want %d and %d", n, len(customers), len(contacts))
	}
}

func (m *model) passes(c []string) bool { return !m.filter || c[3] != "true" }
