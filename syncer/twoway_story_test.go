package syncer_test

import (
	"context"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/syncer"
)

// uploads returns what a run sent.
func (w *world) uploads() syncer.Counts {
	w.t.Helper()
	return w.run(syncer.Request{}).Counts(syncer.Upload)
}

// What was uploaded comes back as an echo, once.
func TestOwnUploadsAreEchoes(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Anne' WHERE erp_no = 'A'")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'C', 'Carl', '3.00')")
		res := w.run(syncer.Request{})
		if c := res.Counts(syncer.Download); c.Read != 2 || c.Echo != 2 {
			t.Errorf("counts %+v, want two echoes", c)
		}
		// Somebody else's edit of the same record is none, nor is one that comes again.
		w.put("A Anne 7.00", "C Carl 3.00")
		res = w.run(syncer.Request{})
		if c := res.Counts(syncer.Download); c.Read != 2 || c.Echo != 0 || c.Changed != 1 || c.Unchanged != 1 {
			t.Errorf("counts %+v, want one changed and one unchanged", c)
		}
		w.equalSides("A Anne 7.00", "B Bert 2.00", "C Carl 3.00")
	})
}

// A deletion here does there what the mapping says.
func TestUploadDeletes(t *testing.T) {
	for rule, want := range map[string]struct{ far, again []string }{
		"delete": {far: []string{"B Bert 2.00"}, again: []string{"B Bert 2.00"}},
		"ignore": {far: []string{"A Anna 1.00", "B Bert 2.00"}, again: []string{"B Bert 2.00"}},
		"unlink": {far: []string{"A Anna 1.00", "B Bert 2.00"}},
	} {
		t.Run(rule, func(t *testing.T) {
			each(t, strings.Replace(bothWays, "    key:", "    deletes: {upload: "+rule+"}\n    key:", 1), func(t *testing.T, w *world) {
				w.put("A Anna 1.00", "B Bert 2.00")
				w.run(syncer.Request{})
				w.exec("DELETE FROM customer WHERE erp_no = 'A'")
				w.run(syncer.Request{})
				w.same("remote rows", w.far(), want.far...)
				w.both(none, none)
				w.same("remote rows", w.far(), want.far...)
			})
		})
	}
}

// A soft deletion marks the record there.
func TestUploadDeleteMarks(t *testing.T) {
	yaml := strings.Replace(bothWays, "    key:", "    deletes: {upload: soft, soft: {field: name, value: gone}}\n    key:", 1)
	each(t, yaml, func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("DELETE FROM customer WHERE erp_no = 'A'")
		w.run(syncer.Request{})
		w.same("remote rows", w.far(), "A gone 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.both(none, none)
		w.table("B Bert 2.00")
	})
}

// A field that both sides edited goes by the policy, the others merge, and the
// log tells once.
func TestPolicies(t *testing.T) {
	for policy, want := range map[string]string{
		"remote_wins": "A There 5.00", "Server Wins": "A There 5.00",
		"local_wins": "A Here 5.00", "Device Wins": "A Here 5.00",
		"local_wins_full": "A Here 1.00", "Device Wins (Full)": "A Here 1.00",
	} {
		t.Run(policy, func(t *testing.T) {
			each(t, strings.Replace(bothWays, "    key:", "    conflict: "+policy+"\n    key:", 1), func(t *testing.T, w *world) {
				w.put("A Anna 1.00")
				w.run(syncer.Request{})
				w.exec("UPDATE customer SET name = 'Here' WHERE erp_no = 'A'")
				w.put("A There 5.00")
				w.run(syncer.Request{})
				w.equalSides(want)
				w.run(syncer.Request{})
				w.both(none, none)
				if n := w.codes()["conflict_decided"]; n != 1 {
					t.Errorf("%d log entries, want 1", n)
				}
			})
		})
	}
}

// A peer that trims, rounds and bumps versions settles.
func TestNormalisingPeerSettles(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		p := w.talkTo(&peer{normalises: true})
		w.put("A Anna 1.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Anne ', balance = '7.129' WHERE erp_no = 'A'")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'B', ' Bert', '2.555')")
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.equalSides("A Anne 7.12", "B Bert 2.55")
		writes, before := p.writes, w.dump(volatile...)
		w.both(none, none)
		if p.writes != writes || w.dump(volatile...) != before {
			t.Errorf("the third run wrote: %d changes there", p.writes-writes)
		}
	})
}

// volatile are the tables that every run writes.
var volatile = strings.Fields("integration_run integration_log integration_mapping integration_schema integration_syncanchor integration_hashlog kedge_lease kedge_session kedge_capture")

// talkTo puts a peer in the place of the source.
func (w *world) talkTo(p *peer) *peer {
	p.source, p.remote = w.source, w.remote
	local := w.opts.Connect
	w.opts.Connect = func(ctx context.Context, name, integration string) (*connectors.Conn, error) {
		if name == "remote" {
			return connectors.New(p, nil), nil
		}
		return local(ctx, name, integration)
	}
	w.syncer = syncer.New(w.opts)
	return p
}

// The key that the other side makes is stored here, and the next sync creates
// nothing.
func TestKeyMadeThere(t *testing.T) {
	each(t, bothWays, func(t *testing.T, w *world) {
		w.source.edit = func(e *kedge.Entity) {
			if e.Name == "customers" {
				e.Field("No").Computed = true
			}
		}
		p := w.talkTo(&peer{})
		w.run(syncer.Request{})
		w.exec("INSERT INTO customer (id, name, balance) VALUES ('x1', 'Anna', '1.00')")
		w.both("all 1 new 1 updated 0 failed 0", "all 1 new 0 updated 1 failed 0")
		w.equalSides(w.far()...)
		if len(w.far()) != 1 || strings.HasPrefix(w.rows("customer", "erp_no")[0], "-") {
			t.Errorf("remote rows %q, local keys %q", w.far(), w.rows("customer", "erp_no"))
		}
		w.both(none, none)
		if p.writes != 1 {
			t.Errorf("%d writes there, want 1", p.writes)
		}
	})
}

// A download alone writes nothing there, an upload alone nothing here but what
// the other side made.
func TestOneDirectionWritesOneSide(t *testing.T) {
	each(t, strings.Replace(bothWays, "bidirectional", "download", 1), func(t *testing.T, w *world) {
		p := w.talkTo(&peer{})
		w.put("A Anna 1.00", "B Bert 2.00")
		w.run(syncer.Request{})
		w.exec("UPDATE customer SET name = 'Mine' WHERE erp_no = 'A'")
		w.exec("DELETE FROM customer WHERE erp_no = 'B'")
		w.run(syncer.Request{})
		w.same("remote rows", w.far(), "A Anna 1.00", "B Bert 2.00")
		if p.writes != 0 {
			t.Errorf("%d writes there", p.writes)
		}
	})
	each(t, strings.Replace(bothWays, "bidirectional", "upload", 1), func(t *testing.T, w *world) {
		w.put("A Anna 1.00", "B Bert 2.00")
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'A', 'Anne', '1.00'), ('x3', 'C', 'Carl', '3.00')")
		before := w.rows("customer", "id", "erp_no", "name", "balance")
		w.run(syncer.Request{})
		w.put("C There 9.00")
		w.delete("B")
		w.run(syncer.Request{})
		w.same("local rows", w.rows("customer", "id", "erp_no", "name", "balance"), before...)
	})
}

// A record that leaves the upload filter is not deleted there.
func TestUploadFilter(t *testing.T) {
	yaml := strings.Replace(bothWays, "    key:", "    uploadFilter: name ne 'Draft'\n    key:", 1)
	each(t, yaml, func(t *testing.T, w *world) {
		w.run(syncer.Request{})
		w.exec("INSERT INTO customer (id, erp_no, name, balance) VALUES ('x1', 'A', 'Anna', '1.00'), ('x2', 'B', 'Draft', '2.00')")
		if c := w.uploads(); c.Created != 1 || c.Filtered != 1 {
			t.Errorf("counts %+v", c)
		}
		w.same("remote rows", w.far(), "A Anna 1.00")
		w.exec("UPDATE customer SET name = 'Draft' WHERE erp_no = 'A'")
		w.exec("UPDATE customer SET name = 'Bert' WHERE erp_no = 'B'")
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.same("remote rows", w.far(), "A Anna 1.00", "B Bert 2.00")
		w.table("A Draft 1.00", "B Bert 2.00")
	})
}

// Lookups go up as they come down: parents first, cycles and self-references
// in a second step, also between records that are all new.
func TestLookupsGoUp(t *testing.T) {
	yaml := strings.ReplaceAll(strings.Replace(withLookups, "PRIMARY", "", 1), "    key:", "    direction: bidirectional\n    key:")
	each(t, yaml, func(t *testing.T, w *world) {
		w.run(syncer.Request{})
		const c1, c2, p1 = "00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002", "00000000-0000-7000-8000-000000000003"
		w.exec("INSERT INTO customer (id, no, name, contact, parent) VALUES (?, 'C1', 'Ann', ?, ?), (?, 'C2', 'Bob', NULL, ?)", c1, p1, c2, c2, c2)
		w.exec("INSERT INTO person (id, id_no, name, customer) VALUES (?, 'P1', 'Pia', ?)", p1, c1)
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.same("customers there", w.fields("customers", "No", "Name", "Contact", "Parent"), "C1 Ann P1 C2", "C2 Bob - C2")
		w.same("contacts there", w.fields("contacts", "Id", "Name", "Customer"), "P1 Pia C1")
		w.both(none, none)

		w.exec("UPDATE customer SET parent = ?, contact = NULL WHERE no = 'C1'", c1)
		w.customer("C2", "Bob", "P1", "-")
		w.run(syncer.Request{})
		w.run(syncer.Request{})
		w.same("customers there", w.fields("customers", "No", "Name", "Contact", "Parent"), "C1 Ann - C1", "C2 Bob P1 -")
		w.same("customers here", w.rows("customer", "no", "contact", "parent"), "C1 - "+c1, "C2 "+p1+" -")
		w.both(none, none)
	})
}

// Of records that refer to each other, children are deleted first, also there.
func TestChildrenAreDeletedFirstThere(t *testing.T) {
	yaml := strings.ReplaceAll(strings.Replace(withLookups, "PRIMARY", "", 1), "    key:", "    direction: bidirectional\n    key:")
	yaml = strings.Replace(yaml, "      - {external: Contact, local: contact, lookup: {entity: person}}\n", "", 1)
	each(t, yaml, func(t *testing.T, w *world) {
		var order []string
		w.talkTo(&peer{before: func(changes []kedge.Change) {
			for _, c := range changes {
				if c.Op == kedge.Delete {
					order = append(order, c.Entity)
				}
			}
		}})
		w.putFields("customers", []string{"C1", "Ann"}, "No", "Name")
		w.contact("P1", "Pia", "C1")
		w.run(syncer.Request{})
		w.exec("DELETE FROM customer")
		w.exec("DELETE FROM person")
		w.run(syncer.Request{ForceDeletes: true})
		w.same("order", order, "contacts", "customers")
	})
}

// fields returns the records of an entity there, values in one text.
func (w *world) fields(entity string, names ...string) []string {
	w.t.Helper()
	page, err := w.source.Driver.ReadPage(w.t.Context(), connectors.ReadRequest{Entity: entity, Fields: names, Size: 1000})
	w.check(err)
	list := make([]string, len(page.Records))
	for i, r := range page.Records {
		texts := make([]string, len(r.Values))
		for j, v := range r.Values {
			if texts[j] = v.Text(); v.IsEmpty() {
				texts[j] = "-"
			}
		}
		list[i] = strings.Join(texts, " ")
	}
	return list
}
