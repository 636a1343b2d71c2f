package conntest

import (
	"context"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

var keyChecks = []check{
	{"keys/Quotes", keyTexts("'", "''", "it's", `"`, `a"b`, "`", "[x]", "' or '1'='1", "'; drop table widgets; --", "{{ x }}", "${X}")},
	{"keys/Slashes", keyTexts("/", "a/b", "//", "../x", `\`, `a\b`, `\'`, "a,b", `a\,b`, "(a)", "a=b", "a;b", "a:b", "#", "a?b=c&d", "a+b", "a b")},
	{"keys/Percent", keyTexts("%", "%20", "%2F", "%25", "100%", "%zz", "a_b", "axb", "*")},
	{"keys/Unicode", keyTexts("ë", "e\u0308", "日本", "👩‍👧", "ß", "ss", "İ", "\u2028", "\U0010ffff", "0", "00", "0.0", "true", "null")},
	{"keys/Spaces", keyTexts("a", " a", "a ", "  ", "a  b", "a b")},
	{"keys/Case", keyTexts("abc", "ABC", "Abc", "é", "É")},
	{"keys/Composite", keysComposite},
	{"keys/ReadByKey", keysReadByKey},
}

// keyTexts checks that records with these keys stay apart: in pages that end
// at each of them, in reads by key and in deletions.
func keyTexts(ids ...string) func(context.Context, *env) error {
	return func(ctx context.Context, e *env) error {
		var records []kedge.Record
		for i, id := range ids {
			records = append(records, widget(id, set("int", kedge.Int(int64(i)))))
		}
		return e.keysStayApart(ctx, Widgets.Name, records, "id", "int")
	}
}

func keysComposite(ctx context.Context, e *env) error {
	var records []kedge.Record
	for _, no := range []string{"a", "a,b", `a\`, `a\,b`, "'", "a/b", "a b", "ë", "1"} {
		for _, line := range []int64{-1, 0, 1, 1<<53 + 1} {
			records = append(records, part(no, line))
		}
	}
	return e.keysStayApart(ctx, Parts.Name, records, "No", "Line")
}

func (e *env) keysStayApart(ctx context.Context, entity string, records []kedge.Record, fields ...string) error {
	ent, err := e.entity(ctx, entity)
	if err != nil {
		return err
	}
	if err := e.putTo(ctx, entity, records...); err != nil {
		return err
	}
	req := connectors.ReadRequest{Entity: entity, Fields: fields, Size: 2}
	h, err := read(ctx, e.driver(), req, nil)
	if err != nil {
		return err
	}
	if err := wantKeys("full read", h.keys(), keysOf(records)); err != nil {
		return err
	}
	if err := wantValues("full read", h, records, fields...); err != nil {
		return err
	}
	if _, ok := e.driver().(connectors.KeyReader); ok || ent.Filter {
		if err := e.findEach(ctx, entity, records, fields); err != nil {
			return err
		}
	}
	if !ent.Delta || !ent.Deletes || h.anchor == "" {
		return nil
	}
	half := keysOf(records)[:len(records)/2]
	if err := outside("Delete", e.sys.Delete(ctx, entity, half...)); err != nil {
		return err
	}
	req.Anchor = h.anchor
	later, err := read(ctx, e.driver(), req, nil)
	if err != nil {
		return err
	}
	return wantKeys("deleted records", later.removed(), half)
}

// findEach reads records by key in another order than they were put.
func (e *env) findEach(ctx context.Context, entity string, records []kedge.Record, fields []string) error {
	records = slices.Clone(records)
	slices.Reverse(records)
	found, err := connectors.New(e.driver(), nil).ReadKeys(ctx, entity, fields, keysOf(records))
	if err != nil {
		return fmt.Errorf("ReadKeys: %w", err)
	}
	for i, want := range records {
		if !found[i].OK {
			return fmt.Errorf("ReadKeys did not find %q", want.Key)
		}
		for _, name := range fields {
			if got := found[i].Record.Get(name); !kedge.Equal(got, want.Get(name)) {
				return fmt.Errorf("ReadKeys found %s %q for key %q", name, got.Text(), want.Key)
			}
		}
	}
	return nil
}

// keysReadByKey reads present, absent and repeated keys, and none.
func keysReadByKey(ctx context.Context, e *env) error {
	ent, err := e.entity(ctx, Widgets.Name)
	if err != nil {
		return err
	}
	if _, ok := e.driver().(connectors.KeyReader); !ok && !ent.Filter {
		return cannot("records cannot be read by key")
	}
	if err := e.put(ctx, widgets(1, 120)...); err != nil {
		return err
	}
	conn := connectors.New(e.driver(), nil)
	var keys []kedge.Key
	for _, i := range []int{120, 3, 999, 3, 1, 60} {
		keys = append(keys, kedge.Key(widgetID(i)))
	}
	for _, r := range widgets(1, 120) {
		keys = append(keys, r.Key)
	}
	found, err := conn.ReadKeys(ctx, Widgets.Name, []string{"int"}, keys)
	if err != nil {
		return err
	}
	for i, f := range found {
		if want := keys[i] != "w0999"; f.OK != want {
			return fmt.Errorf("ReadKeys of %q: found %v, want %v", keys[i], f.OK, want)
		}
		if f.OK && widgetID(int(f.Record.Get("int").Int())) != string(keys[i]) {
			return fmt.Errorf("ReadKeys of %q: got the record with int %d", keys[i], f.Record.Get("int").Int())
		}
	}
	found, err = conn.ReadKeys(ctx, Widgets.Name, nil, nil)
	if err != nil || len(found) > 0 {
		return fmt.Errorf("ReadKeys of no keys: got %d answers and error %w, want none", len(found), err)
	}
	_, err = conn.ReadKeys(ctx, "noSuchEntity", nil, keys[:1])
	return wantKind("ReadKeys of an unknown entity", err, kedge.NotFound)
}
