package syncer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
	"github.com/kedge-sync/kedge/syncer"
)

// withValues has a value map, defaults and an expression, which all can fail
// for one record.
const withValues = `kedge: mapping/v1
entities:
  - external: customers
    local: customer
    key: [{external: "No", local: "no", primary: true}]
    fields:
      - {external: Name, local: name}
      - {external: Contact, local: kind, values: {A: 1, B: 2}}
      - {external: Parent, local: amount, type: decimal, onError: default, default: "0.5"}
      - {external: Balance, local: balance, default: "9"}
`

func (w *world) valued(fields ...string) {
	w.t.Helper()
	w.putFields("customers", fields, "No", "Name", "Contact", "Parent", "Balance")
}

func TestOneBadOfFifteen(t *testing.T) {
	each(t, withValues, func(t *testing.T, w *world) {
		for i := range 15 {
			w.valued(fmt.Sprintf("C%02d", i), "Ann", "A", "1")
		}
		w.valued("C07", "Ann", "X", "1")
		w.exec("INSERT INTO customer (no, name) VALUES ('C01', 'old'), ('C02', 'old')")
		res := w.run(syncer.Request{Op: syncer.Import})
		if line := res.Counts(syncer.Download).Line(); line != "RESULTS: ALL (15) : IMPORTED (12); UPDATED (2); FAILED (1)" || res.State != syncer.Partial {
			t.Errorf("%s, %s", res.State, line)
		}
		rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{Integration: "crm"})
		w.check(err)
		if len(rows) != 1 || rows[0].Key != "C07" || rows[0].Stage != "map" || rows[0].Code != "value_map" || rows[0].Field != "Contact" || rows[0].Entity != "customer" {
			t.Fatalf("quarantine: %+v", rows)
		}
		w.same("events", w.rows("integration_log WHERE status = 'event'", "code", "ref"), "value_map "+rows[0].ID)
		if n := len(w.rows("customer", "no")); n != 14 {
			t.Errorf("%d rows, want 14: the neighbours are stored", n)
		}
		w.line(w.run(syncer.Request{Op: syncer.Retry, Quarantine: []string{rows[0].ID}}), "all 1 new 0 updated 0 failed 1")
		w.save(strings.Replace(withValues, "A: 1", "A: 1, X: 3", 1))
		w.line(w.run(syncer.Request{Op: syncer.Retry, Quarantine: []string{rows[0].ID}}), "all 1 new 1 updated 0 failed 0")
		w.same("row", w.rows("customer WHERE no = 'C07'", "name", "kind"), "Ann 3")
		w.same("quarantine", w.quarantined())
		w.sums()
	})
}

// sums checks that the numbers of all summaries add up.
func (w *world) sums() {
	w.t.Helper()
	rows, err := w.syncer.Log(w.t.Context(), syncer.LogQuery{Limit: 10000})
	w.check(err)
	for _, r := range rows {
		if r.Code == "summary" && r.Total != r.Imported+r.Updated+r.Failed {
			w.t.Errorf("summary does not add up: %+v", r)
		}
	}
	runs, err := w.syncer.Runs(w.t.Context(), "crm", 10000)
	w.check(err)
	for _, r := range runs {
		if r.FinishedAt == nil {
			w.t.Errorf("run without end: %+v", r)
		}
	}
}

func TestDefaultsAndErrors(t *testing.T) {
	each(t, withValues, func(t *testing.T, w *world) {
		w.valued("C1", "Ann", "A", "x", "-") // onError: default; default on create
		w.valued("C2", "Bob", "-", "2", "1")
		w.sync("all 2 new 2 updated 0 failed 0")
		w.same("rows", w.rows("customer", "no", "kind", "amount", "balance"), "C1 1 0.5 9", "C2 - 2 1")
		w.valued("C1", "Anna", "B", "-", "-")
		w.valued("C2", "Bob", "A", "2", "-") // null clears what is there
		w.sync("all 2 new 0 updated 2 failed 0")
		w.same("rows", w.rows("customer", "no", "kind", "amount", "balance"), "C1 2 - -", "C2 1 2 -")
	})
}

// TestRefusedByTheLocalSide breaks each kind of constraint; the neighbours of
// such a record are stored.
func TestRefusedByTheLocalSide(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.constrain()
		w.put("C1 Ann 1", "C2 Bob 99", "C3 toolonganame 3", "C4 Ann 4", "C5 - 5", "C6 Eve 6")
		res := w.sync("all 6 new 2 updated 0 failed 4")
		if n := res.Entities[0].Refused + res.Entities[0].Quarantined; n != 4 {
			t.Errorf("%d refused, want 4", n)
		}
		w.table("C1 Ann 1", "C6 Eve 6")
		for i, q := range w.quarantined() {
			key := []string{"C2", "C3", "C4", "C5"}[i]
			if !strings.HasPrefix(q, key+" write ") && !strings.HasPrefix(q, key+" map ") {
				t.Errorf("quarantine row %q, want %s at stage write or map", q, key)
			}
		}
		rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{})
		w.check(err)
		for _, r := range rows {
			if strings.Contains(r.Message, "toolonganame") || strings.Contains(r.Message, "Ann") {
				t.Errorf("message holds a value: %q", r.Message)
			}
		}
		w.put("C2 Bob 2", "C3 Cid 3", "C4 Dan 4", "C5 Flo 5")
		w.sync("all 4 new 4 updated 0 failed 0")
		w.same("quarantine", w.quarantined())
		w.sync("all 0 new 0 updated 0 failed 0")
	})
}

// constrain adds constraints to the customer table.
func (w *world) constrain() {
	w.t.Helper()
	i, err := w.syncer.Mapping(w.t.Context(), "crm")
	w.check(err)
	key, id := "no text PRIMARY KEY", ""
	if i.YAML == normal(w.t, matchedKey) {
		key, id = "erp_no text", "id integer PRIMARY KEY, "
		if w.store.Engine() == store.Postgres {
			id = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
		}
	}
	w.exec("DROP TABLE customer")
	w.exec("CREATE TABLE customer (" + id + key + ", name varchar(9) NOT NULL UNIQUE CHECK (length(name) < 10), balance decimal(10) CHECK (balance < 50))")
}

// TestTextThatPostgresRefuses has a NUL character.
func TestTextThatPostgresRefuses(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 B\x00b 2", "C3 Cid 3")
		res := w.run(syncer.Request{})
		if w.store.Engine() == store.SQLite {
			w.line(res, "all 3 new 3 updated 0 failed 0")
			return
		}
		w.line(res, "all 3 new 2 updated 0 failed 1")
		w.table("C1 Ann 1", "C3 Cid 3")
		w.same("quarantine", w.quarantined(), "C2 write invalid")
		w.put("C2 Bob 2")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.same("quarantine", w.quarantined())
	})
}

func TestBadKeys(t *testing.T) {
	const limit = 2000 // bytes of a key
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C\x002 Bob 2", "\xff3 Cid 3",
			strings.Repeat("x", limit)+" Dan 4", strings.Repeat("x", limit+1)+" Eve 5", "Ünï,'\"\\/ç日本🙂 Flo 6")
		w.sync("all 6 new 3 updated 0 failed 3")
		w.table("C1 Ann 1", strings.Repeat("x", limit)+" Dan 4", "Ünï,'\"\\/ç日本🙂 Flo 6")
		for _, q := range w.quarantined() {
			if !strings.HasPrefix(q, "(key not storable, ") || !strings.HasSuffix(q, ") match key_invalid") {
				t.Errorf("quarantine row %q", q)
			}
		}
		// A retry cannot ask for them, and must not take them for gone.
		w.line(w.run(syncer.Request{Op: syncer.Retry}), "all 0 new 0 updated 0 failed 0")
		if n := len(w.quarantined()); n != 3 {
			t.Errorf("%d rows in quarantine after a retry, want 3", n)
		}
		w.put("Ünï,'\"\\/ç日本🙂 Flora 6")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.delete("Ünï,'\"\\/ç日本🙂", kedge.Key(strings.Repeat("x", limit)), "C\x002")
		w.sync("all 3 new 0 updated 2 failed 1")
		w.table("C1 Ann 1")
	})
}

func TestTooManyBad(t *testing.T) {
	for bad, want := range map[int]syncer.RunState{20: syncer.Partial, 21: syncer.Failed} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			each(t, withValues, func(t *testing.T, w *world) {
				for i := range 100 {
					kind := "A"
					if i < bad {
						kind = "X"
					}
					w.valued(fmt.Sprintf("C%03d", i), "Ann", kind)
				}
				res := w.run(syncer.Request{})
				if res.State != want {
					t.Errorf("%d of 100 bad: %s (%s), want %s", bad, res.State, res.Entities[0].Error, want)
				}
				if n := len(w.rows("customer", "no")); n != 100-bad {
					t.Errorf("%d rows, want %d", n, 100-bad)
				}
				w.sums()
				// Those that fail again when they are due are no reason to stop.
				w.now = w.now.Add(3 * time.Hour)
				if res = w.run(syncer.Request{}); res.State != syncer.Partial || res.Entities[0].Quarantined != int64(bad) {
					t.Errorf("when due: %s, %+v, want partial", res.State, res.Entities[0])
				}
			})
		})
	}
	t.Run("21 of 99", func(t *testing.T) {
		w := newWorld(t, storetest.SQLite(t, syncer.Migrations()...), withValues)
		for i := range 99 {
			w.valued(fmt.Sprintf("C%03d", i), "Ann", map[bool]string{true: "X", false: "A"}[i < 21])
		}
		if res := w.run(syncer.Request{}); res.State != syncer.Partial {
			t.Errorf("21 of 99 bad: %s, want partial", res.State)
		}
	})
}

// TestQuarantineIsRetriedWhenDue, an hour later and then less and less often.
func TestQuarantineIsRetriedWhenDue(t *testing.T) {
	each(t, withValues, func(t *testing.T, w *world) {
		w.valued("C1", "Ann", "A")
		w.valued("C2", "Bob", "X")
		w.sync("all 2 new 1 updated 0 failed 1")
		w.now = w.now.Add(2*time.Hour - 2*time.Minute)
		w.sync("all 0 new 0 updated 0 failed 0")
		w.now = w.now.Add(time.Minute)
		w.sync("all 1 new 0 updated 0 failed 1")
		w.exec("UPDATE integration_quarantine SET next_at = ?", w.now)
		w.save(strings.Replace(withValues, "A: 1", "A: 1, X: 3", 1))
		w.sync("all 2 new 1 updated 1 failed 0") // full, as the mapping changed
		w.same("quarantine", w.quarantined())
	})
}

func TestQuarantineOfARecordThatIsGone(t *testing.T) {
	each(t, withValues, func(t *testing.T, w *world) {
		w.valued("C1", "Ann", "X")
		w.valued("C2", "Bob", "X")
		w.valued("C3", "Cid", "A")
		w.sync("all 3 new 1 updated 0 failed 2")
		w.delete("C1")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.same("quarantine", w.quarantined(), "C2 map value_map")
		rows, err := w.syncer.Quarantine(t.Context(), syncer.QuarantineQuery{})
		w.check(err)
		if n, err := w.syncer.DropQuarantine(t.Context(), []string{rows[0].ID}, "me"); n != 1 || err != nil {
			t.Errorf("dropped %d, %v, want 1", n, err)
		}
		w.same("quarantine", w.quarantined())
		w.valued("C2", "Bo", "X")
		w.sync("all 1 new 0 updated 0 failed 1")
	})
}

// reject makes the source fail to decode records, in pages and by key.
func (w *world) reject(bad map[kedge.Key]bool) {
	w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
		good := p.Records[:0]
		for _, r := range p.Records {
			if !bad[r.Key] || r.Removed != kedge.Live {
				good = append(good, r)
				continue
			}
			p.Rejected = append(p.Rejected, connectors.BadRecord{Key: r.Key, Field: "Balance", Err: errors.New("not a number")})
		}
		p.Records = good
	}
	w.source.keys = func(keys []kedge.Key) error {
		for _, k := range keys {
			if bad[k] {
				return &kedge.Error{Kind: kedge.Invalid, Err: errors.New("not a number")}
			}
		}
		return nil
	}
}

// TestRecordsThatCannotBeDecoded: one of them keeps neither a retry nor a
// sweep from the others, and is not taken for deleted.
func TestRecordsThatCannotBeDecoded(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3", "C4 Dan 4")
		w.sync("all 4 new 4 updated 0 failed 0")
		w.reject(map[kedge.Key]bool{"C2": true, "C3": true})
		w.put("C2 Bo 2", "C3 Cy 3")
		w.sync("all 2 new 0 updated 0 failed 2")
		w.reject(map[kedge.Key]bool{"C2": true})
		w.line(w.run(syncer.Request{Op: syncer.Retry}), "all 2 new 0 updated 1 failed 1")
		w.table("C1 Ann 1", "C2 Bob 2", "C3 Cy 3", "C4 Dan 4")

		w.delete("C4")
		hidden := w.source.after
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			hidden(req, p)
			p.Rejected = nil // the full read brings C2 in no way
		}
		w.run(syncer.Request{Full: true})
		w.table("C1 Ann 1", "C2 Bob 2", "C3 Cy 3")

		w.source.after, w.source.keys = nil, nil
		w.delete("C2")
		w.sync("all 1 new 0 updated 1 failed 0")
		w.table("C1 Ann 1", "C3 Cy 3")
		w.same("quarantine", w.quarantined())
	})
}

func TestKeyThatCannotBeRead(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		w.put("C1 Ann 1")
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			if req.Anchor == "" {
				p.Rejected = append(p.Rejected, connectors.BadRecord{Err: errors.New("no key")})
			}
		}
		w.sync("all 2 new 1 updated 0 failed 1")
		w.source.after = nil
		w.line(w.run(syncer.Request{Op: syncer.Retry}), "all 0 new 0 updated 0 failed 0")
		w.same("quarantine", w.quarantined(), "(key not readable, 1) decode key_unreadable")
	})
}

func TestOldLogsExpire(t *testing.T) {
	each(t, withValues, func(t *testing.T, w *world) {
		w.valued("C1", "Ann", "X")
		w.sync("all 1 new 0 updated 0 failed 1")
		w.valued("C1", "Ann", "A")
		w.sync("all 1 new 1 updated 0 failed 0")
		w.now = w.now.AddDate(0, 0, 30)
		w.sync("all 0 new 0 updated 0 failed 0")
		if n := len(w.rows("integration_quarantine", "id")); n != 0 {
			t.Errorf("%d closed quarantine rows after 30 days, want 0", n)
		}
		if n := len(w.rows("integration_run", "id")); n != 3 {
			t.Errorf("%d runs after 30 days, want 3", n)
		}
		w.now = w.now.AddDate(0, 0, 61)
		w.sync("all 0 new 0 updated 0 failed 0")
		if runs, logs := len(w.rows("integration_run", "id")), len(w.rows("integration_log", "id")); runs != 2 || logs != 2 {
			t.Errorf("%d runs and %d log rows after 90 days, want 2 and 2", runs, logs)
		}
	})
}

// TestRawPayload: what was read of a record that could not be decoded is kept,
// in any language and cut anywhere, and a retry that knows less keeps it.
func TestRawPayload(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		raw := map[kedge.Key]string{"C1": `{"No": "C1", "Balance": "much"}`, "C2": `{"No": "C2", "Bal`, "C3": "<a>\x00\xff</a>", "C4": ""}
		w.reject(map[kedge.Key]bool{"C1": true, "C2": true, "C3": true, "C4": true})
		hidden := w.source.after
		w.source.after = func(req connectors.ReadRequest, p *connectors.Page) {
			hidden(req, p)
			for i := range p.Rejected {
				p.Rejected[i].Raw = raw[p.Rejected[i].Key]
			}
		}
		w.put("C1 Ann 1", "C2 Bob 2", "C3 Cid 3", "C4 Dan 4")
		w.sync("all 4 new 0 updated 0 failed 4")
		want := []string{`C1 {"No": "C1", "Balance": "much"}`, `C2 {"raw":"{\"No\": \"C2\", \"Bal"}`, `C3 {"raw":"\u003ca\u003e\u0000�\u003c/a\u003e"}`, "C4 {}"}
		w.same("payloads", w.rows("integration_quarantine", "key", "payload"), want...)
		w.line(w.run(syncer.Request{Op: syncer.Retry}), "all 4 new 0 updated 0 failed 4")
		w.same("payloads after a retry", w.rows("integration_quarantine", "key", "payload"), want...)
	})
}
