package memory_test

import (
	"encoding/json"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/conntest"
	"github.com/kedge-sync/kedge/connectors/memory"
)

func TestOpen(t *testing.T) {
	registry := connectors.NewRegistry(memory.Kind())
	env := connectors.Env{Name: "trial"}
	block := `{"entities": {"widgets": {"key": ["id"], "fields": {"id": "guid", "n": "int", "price": "decimal"}}}}`
	conn, err := registry.Open(t.Context(), "memory", json.RawMessage(block), env, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := conn.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e := s.Entity("widgets")
	if id, n := e.Field("id"), e.Field("n"); id.Format != kedge.FormatGUID || id.Nullable || n.Type != kedge.TypeInt || !n.Nullable || len(e.Fields) != 3 {
		t.Errorf("fields of the block: got %+v", e.Fields)
	}
	for block, want := range map[string]string{
		`{}`: "connections.trial.entities: missing; memory needs it",
		`{"entities": {"a": {"key": ["id"], "fields": {"id": "text"}}}}`:   "connections.trial.entities.a.fields.id: must be one of bool, int, float, decimal, string, guid, time, date, bytes, json",
		`{"entities": {"a": {"key": ["no"], "fields": {"id": "string"}}}}`: "connections.trial.entities.a.key: no is not one of the fields",
	} {
		_, err := registry.Open(t.Context(), "memory", json.RawMessage(block), env, nil)
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", block, err, want)
		}
	}
}

// TestWrite tells the story of a few records, one change at a time.
func TestWrite(t *testing.T) {
	store := memory.NewStore(conntest.Widgets, conntest.Parts)
	conn := connectors.New(memory.New(store), nil)
	fields := kedge.NewFields("string", "int")
	text, number := kedge.String("a"), kedge.Int(1)
	for i, step := range []struct {
		op      kedge.Op
		key     kedge.Key
		version string
		replay  string
		values  []kedge.Value
		state   connectors.State
		kind    kedge.Kind
	}{
		{kedge.Insert, "w1", "", "", []kedge.Value{text, number}, connectors.Inserted, 0},
		{kedge.Insert, "w1", "", "", []kedge.Value{text, number}, connectors.Rejected, kedge.Conflict},
		{kedge.Insert, "w2", "", "once", []kedge.Value{text, number}, connectors.Inserted, 0},
		{kedge.Insert, "w2", "", "once", []kedge.Value{text, number}, connectors.Unchanged, 0},
		{kedge.Insert, "", "", "made", []kedge.Value{text, number}, connectors.Inserted, 0},
		{kedge.Insert, "", "", "made", []kedge.Value{text, number}, connectors.Unchanged, 0},
		{kedge.Update, "w9", "", "", []kedge.Value{text, number}, connectors.Rejected, kedge.NotFound},
		{kedge.Update, "w1", "", "", []kedge.Value{{}, kedge.Int(2)}, connectors.Updated, 0}, // write 4
		{kedge.Update, "w1", "1", "", []kedge.Value{{}, kedge.Int(3)}, connectors.Rejected, kedge.Conflict},
		{kedge.Update, "w1", "4", "", []kedge.Value{kedge.Null(), kedge.Value{}}, connectors.Updated, 0},
		{kedge.Update, "w1", "", "", []kedge.Value{kedge.Null(), kedge.Int(2)}, connectors.Unchanged, 0},
		{kedge.Update, "w1", "", "", []kedge.Value{number, {}}, connectors.Rejected, kedge.Invalid},
		{kedge.Upsert, "w3", "", "", []kedge.Value{text, {}}, connectors.Inserted, 0},
		{kedge.Upsert, "w3", "", "", []kedge.Value{{}, number}, connectors.Updated, 0},
		{kedge.Delete, "w2", "99", "", nil, connectors.Rejected, kedge.Conflict},
		{kedge.Delete, "w2", "", "", nil, connectors.Removed, 0},
		{kedge.Delete, "w2", "", "", nil, connectors.Unchanged, 0},
		{kedge.Update, "", "", "", []kedge.Value{text, number}, connectors.Rejected, kedge.Invalid},
	} {
		change := kedge.Change{Op: step.op, Entity: "widgets", Key: step.key, Values: step.values, Version: step.version, IdempotencyKey: step.replay}
		if step.values != nil {
			change.Fields = fields
		}
		results, err := conn.Write(t.Context(), []kedge.Change{change})
		if err != nil {
			t.Fatalf("step %d: %v", i+1, err)
		}
		if r := results[0]; r.State != step.state || r.Err != nil && r.Err.Kind != step.kind {
			t.Errorf("step %d, %v of %q: got %v (%v), want %v (%v)", i+1, step.op, step.key, r.State, r.Err, step.state, step.kind)
		}
	}
	found, err := conn.ReadKeys(t.Context(), "widgets", fields.Names(), []kedge.Key{"w1", "w2", "w3"})
	if err != nil {
		t.Fatal(err)
	}
	if w1 := found[0].Record; !w1.Get("string").IsNull() || w1.Get("int").Int() != 2 || found[1].OK || found[2].Record.Get("int").Int() != 1 {
		t.Errorf("in the end: got %+v; want w1 (null, 2), no w2, w3 with 1", found)
	}
}

// Once an anchor is acknowledged, the log and the tombstones up to it are
// gone: an older anchor expires, and no memory is kept.
func TestAckForgets(t *testing.T) {
	store := memory.NewStore(conntest.Widgets, conntest.Parts)
	driver := memory.New(store)
	end := func(from kedge.Anchor) *connectors.Page {
		t.Helper()
		page, err := driver.ReadPage(t.Context(), connectors.ReadRequest{Entity: "parts", Anchor: from, Size: 100})
		if err != nil {
			t.Fatal(err)
		}
		return page
	}
	old := end("")
	if err := store.Put(t.Context(), "parts", kedge.Record{Fields: kedge.NewFields("No"), Values: []kedge.Value{kedge.String("a")}, Key: "a,1"}); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "parts", "a,1"); err != nil {
		t.Fatal(err)
	}
	fresh := end(old.Anchor)
	if len(fresh.Records) != 1 || fresh.Records[0].Removed != kedge.Deleted {
		t.Errorf("after an insert and a delete: got %v, want one tombstone", fresh.Records)
	}
	if err := driver.Ack(t.Context(), "parts", fresh.Anchor); err != nil {
		t.Fatal(err)
	}
	_, err := driver.ReadPage(t.Context(), connectors.ReadRequest{Entity: "parts", Anchor: old.Anchor, Size: 100})
	if kedge.KindOf(err) != kedge.AnchorExpired {
		t.Errorf("an anchor from before the acknowledged one: got %v, want kind AnchorExpired", err)
	}
	if page := end(fresh.Anchor); len(page.Records) != 0 {
		t.Errorf("after the acknowledged anchor: got %v, want nothing", page.Records)
	}
	// Anchors of another store are not mistaken for those of this one.
	other := memory.New(memory.NewStore(conntest.Parts))
	_, err = other.ReadPage(t.Context(), connectors.ReadRequest{Entity: "parts", Anchor: fresh.Anchor, Size: 100})
	if kedge.KindOf(err) != kedge.AnchorExpired {
		t.Errorf("an anchor of another store: got %v, want kind AnchorExpired", err)
	}
}

// Tokens and anchors come from outside: from a database that another program
// may have written to.
func FuzzPosition(f *testing.F) {
	store := memory.NewStore(conntest.Parts)
	for _, no := range []string{"a", "b", "c"} {
		r := kedge.Record{Fields: kedge.NewFields("No"), Values: []kedge.Value{kedge.String(no)}, Key: kedge.Key(no + ",1")}
		if err := store.Put(f.Context(), "parts", r); err != nil {
			f.Fatal(err)
		}
	}
	driver := memory.New(store)
	page, err := driver.ReadPage(f.Context(), connectors.ReadRequest{Entity: "parts", Size: 2})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(page.Next), "")
	f.Add("", string(page.Next))
	f.Add("e30", "bnVsbA")
	f.Fuzz(func(t *testing.T, token, anchor string) {
		req := connectors.ReadRequest{Entity: "parts", Size: 2, Token: connectors.Token(token), Anchor: kedge.Anchor(anchor)}
		page, err := driver.ReadPage(t.Context(), req)
		if err == nil && len(page.Records) > 2 {
			t.Errorf("got %d records, want at most 2", len(page.Records))
		}
		if kind := kedge.KindOf(err); err != nil && kind != kedge.Invalid && kind != kedge.AnchorExpired {
			t.Errorf("got kind %v (%v), want Invalid or AnchorExpired", kind, err)
		}
	})
}
