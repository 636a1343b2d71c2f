package conntest

import (
	"context"
	"fmt"

	"github.com/kedge-sync/kedge"
)

var fullChecks = []check{
	{"full/AllSeen", fullAllSeen},
	{"full/EditDuringRead", fullEditDuringRead},
	{"full/InsertDuringRead", fullInsertDuringRead},
	{"full/DeleteDuringRead", fullDeleteDuringRead},
	{"full/Handoff", fullHandoff},
}

func fullAllSeen(ctx context.Context, e *env) error {
	records := widgets(1, 60)
	h, err := e.startAnywhere(ctx, records...)
	if err != nil {
		return err
	}
	if err := wantKeys("full read", h.keys(), keysOf(records)); err != nil {
		return err
	}
	return wantValues("full read", h, records, "int", "string")
}

// wantValues checks that the last word about each record has its values.
func wantValues(what string, h *history, records []kedge.Record, fields ...string) error {
	for _, want := range records {
		got := h.last[want.Key]
		if got.Key != want.Key {
			return fmt.Errorf("%s: record %q was not delivered", what, want.Key)
		}
		for _, name := range fields {
			if !kedge.Equal(got.Get(name), want.Get(name)) {
				return fmt.Errorf("%s: record %q has the %s %v, want %v", what, want.Key, name, got.Get(name).Text(), want.Get(name).Text())
			}
		}
	}
	return nil
}

// fullEditDuringRead edits records on both sides of the reader between pages.
// A read in the order of versions, or by page numbers, loses some.
func fullEditDuringRead(ctx context.Context, e *env) error {
	records := widgets(1, 60)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	h, err := read(ctx, e.driver(), request(10, ""), func(pages int) error {
		if pages > 8 { // a read in the order of versions follows the edits
			return nil
		}
		var edits []kedge.Record
		for i := pages; i <= 60; i += 6 {
			edits = append(edits, widget(widgetID(i), set("int", kedge.Int(int64(1000*pages+i)))))
		}
		return e.put(ctx, edits...)
	})
	if err != nil {
		return err
	}
	return wantKeys("full read during edits", h.keys(), keysOf(records))
}

func fullInsertDuringRead(ctx context.Context, e *env) error {
	records := widgets(1, 60)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	h, err := read(ctx, e.driver(), request(10, ""), func(pages int) error {
		if pages > 4 {
			return nil
		}
		n := set("int", kedge.Int(int64(pages)))
		return e.put(ctx, widget(fmt.Sprintf("a%d", pages), n), widget(fmt.Sprintf("w0030-%d", pages), n), widget(fmt.Sprintf("z%d", pages), n))
	})
	if err != nil {
		return err
	}
	return wantAtLeast("full read during inserts", h.keys(), keysOf(records))
}

// fullDeleteDuringRead deletes on both sides of the reader. A read by page
// numbers or offsets skips those that move up.
func fullDeleteDuringRead(ctx context.Context, e *env) error {
	records := widgets(1, 60)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	gone := map[kedge.Key]bool{}
	h, err := read(ctx, e.driver(), request(10, ""), func(pages int) error {
		if pages > 4 {
			return nil
		}
		var keys []kedge.Key
		for _, i := range []int{2 * pages, 2*pages + 1, 60 - pages} {
			keys = append(keys, records[i-1].Key)
			gone[records[i-1].Key] = true
		}
		return e.delete(ctx, keys...)
	})
	if err != nil {
		return err
	}
	var stay []kedge.Key
	for _, r := range records {
		if !gone[r.Key] {
			stay = append(stay, r.Key)
		}
	}
	return wantAtLeast("full read during deletes", h.keys(), stay)
}

// fullHandoff edits, inserts and deletes during a full read and then reads
// from its anchor: both together must give what the system holds.
func fullHandoff(ctx context.Context, e *env) error {
	ent, err := e.withDelta(ctx)
	if err != nil {
		return err
	}
	m := newModel(e)
	if err := m.put(ctx, widgets(1, 60)...); err != nil {
		return err
	}
	h, err := read(ctx, e.driver(), request(10, ""), func(pages int) error {
		if pages > 5 {
			return nil
		}
		n := set("int", kedge.Int(int64(1000*pages)))
		if err := m.put(ctx, widget(widgetID(pages), n), widget(widgetID(60-pages), n), widget(fmt.Sprintf("a%d", pages), n)); err != nil {
			return err
		}
		return m.delete(ctx, widget(widgetID(10+pages)).Key, widget(widgetID(50-pages)).Key)
	})
	if err != nil {
		return err
	}
	if h.anchor == "" {
		return fmt.Errorf("the full read of an entity with Delta ended without an anchor")
	}
	delta, err := e.readAll(ctx, h.anchor)
	if err != nil {
		return err
	}
	h.followedBy(delta)
	return m.check("full read and the first incremental one", h, ent)
}
