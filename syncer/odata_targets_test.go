package syncer_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// Orders are for an account or a contact, as in Dataverse: one property that is
// only read, and a navigation for each.
var orderEntities = []kedge.Entity{
	{Name: "accounts", Key: []string{"id"}, Fields: []kedge.Field{{Name: "id", Type: kedge.TypeString}, {Name: "name", Type: kedge.TypeString, Nullable: true}}},
	{Name: "contacts", Key: []string{"id"}, Fields: []kedge.Field{{Name: "id", Type: kedge.TypeString}, {Name: "name", Type: kedge.TypeString, Nullable: true}}},
	{Name: "orders", Key: []string{"id"}, Fields: []kedge.Field{
		{Name: "id", Type: kedge.TypeString},
		{Name: "text", Type: kedge.TypeString, Nullable: true},
		{Name: "_customerid_value", Type: kedge.TypeString, Nullable: true, ReadOnly: true, Lookup: []kedge.LookupTarget{
			{Entity: "accounts", Field: "id", Navigation: "customerid_account"}, {Entity: "contacts", Field: "id", Navigation: "customerid_contact"}}},
	}},
}

const orderMapping = `kedge: mapping/v1
entities:
  - external: accounts
    local: account
    direction: bidirectional
    key: [{external: id, local: no}]
    fields: [{external: name, local: name}]
  - external: contacts
    local: contact
    direction: bidirectional
    key: [{external: id, local: no}]
    fields: [{external: name, local: name}]
  - external: orders
    local: orders
    direction: bidirectional
    key: [{external: id, local: no}]
    fields:
      - {external: text, local: text}
      - {external: _customerid_value, local: customer, lookup: {entity: contact}}
`

// TestLookupOfSeveralTargets writes lookups that the other side has for several
// entities: the mapping says which it means.
func TestLookupOfSeveralTargets(t *testing.T) {
	for _, batch := range []string{"none", "json"} {
		t.Run(batch, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, s *store.Store) {
				start, ticks := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), atomic.Int64{}
				o := odatatest.Options{Entities: orderEntities, Now: func() time.Time { return start.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }}
				w := odataWorldOf(t, s, odatatest.New(o), map[string]any{"batch": batch}, 100, 1000, orderMapping, orderEntities...)
				w.check(w.service.Put("contacts", odatatest.Row("id", kedge.String("C1"), "name", kedge.String("Ann"))))
				w.check(w.service.Put("accounts", odatatest.Row("id", kedge.String("A1"), "name", kedge.String("Adatum"))))
				w.run(syncer.Request{})
				w.exec("INSERT INTO contact (id, no, name) VALUES ('00000000-0000-7000-8000-000000000001', 'C2', 'Bob')")
				const bob = "00000000-0000-7000-8000-000000000001"
				ann := strings.Fields(w.rows("contact WHERE no = 'C1'", "no", "id")[0])[1]
				w.exec("INSERT INTO orders (id, no, text, customer) VALUES ('00000000-0000-7000-8000-000000000002', 'O1', 'one', ?)", ann)
				w.exec("INSERT INTO orders (id, no, text, customer) VALUES ('00000000-0000-7000-8000-000000000003', 'O2', 'two', ?)", bob)
				far := func(want ...string) {
					t.Helper()
					for range 3 {
						if res := w.run(syncer.Request{}); res.State != syncer.Succeeded {
							t.Errorf("%s: %+v", res.State, res.Entities)
						}
					}
					got := []string{}
					for _, r := range w.service.Records("orders") {
						got = append(got, r.Get("id").Text()+" "+r.Get("_customerid_value").Text())
					}
					slices.Sort(got)
					if !slices.Equal(got, want) {
						t.Errorf("orders there: %q, want %q", got, want)
					}
				}
				far("O1 C1", "O2 C2")
				w.exec("UPDATE orders SET customer = ? WHERE no = 'O1'", bob)
				w.exec("UPDATE orders SET customer = NULL WHERE no = 'O2'")
				far("O1 C2", "O2 ")
			}, twoWayMigrations()...)
		})
	}
}
