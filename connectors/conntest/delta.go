package conntest

import (
	"context"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

var deltaChecks = []check{
	{"delta/OnlyChanges", deltaOnlyChanges},
	{"delta/NothingNew", deltaNothingNew},
	{"delta/Deletes", deltaDeletes},
	{"delta/Reinsert", deltaReinsert},
	{"delta/EqualVersions", deltaEqualVersions},
	{"delta/LateCommit", deltaLateCommit},
	{"delta/EditDuringDelta", deltaEditDuringDelta},
	{"delta/ResumeAtEveryPage", deltaResumeAtEveryPage},
	{"delta/Expired", deltaExpired},
	{"delta/OtherEntity", deltaOtherEntity},
	{"delta/ErrorKeepsAnchor", deltaErrorKeepsAnchor},
}

// begin is start for an entity with Delta.
func (e *env) begin(ctx context.Context, records ...kedge.Record) (*kedge.Entity, kedge.Anchor, error) {
	ent, err := e.withDelta(ctx)
	if err != nil {
		return nil, "", err
	}
	anchor, err := e.start(ctx, records...)
	return ent, anchor, err
}

// changed returns what came after anchor.
func (e *env) changed(ctx context.Context, anchor kedge.Anchor) (*history, error) {
	h, err := e.readAll(ctx, anchor)
	if err != nil {
		return nil, fmt.Errorf("incremental read: %w", err)
	}
	if h.anchor == "" {
		return nil, errors.New("an incremental read ended without an anchor")
	}
	return h, nil
}

// wantChanges checks that h has the wanted keys, and no others unless the
// system says that its anchors are approximate, so that it reads an overlap.
func wantChanges(what string, h *history, want []kedge.Key) error {
	if h.approx {
		return wantAtLeast(what, h.keys(), want)
	}
	return wantKeys(what, h.keys(), want)
}

func deltaOnlyChanges(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 50)...)
	if err != nil {
		return err
	}
	edits := []kedge.Record{widget("w0003", set("int", kedge.Int(-3))), widget("w0025", set("int", kedge.Int(-25))), widget("x1", set("int", kedge.Int(1)))}
	if err := e.put(ctx, edits...); err != nil {
		return err
	}
	h, err := e.changed(ctx, anchor)
	if err != nil {
		return err
	}
	if err := wantChanges("after 2 edits and an insert", h, keysOf(edits)); err != nil {
		return err
	}
	return wantValues("after 2 edits and an insert", h, edits, "int")
}

func deltaNothingNew(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 25)...)
	if err != nil {
		return err
	}
	for i := range 3 {
		h, err := e.changed(ctx, anchor)
		if err != nil {
			return err
		}
		if err := wantChanges("without changes", h, nil); err != nil {
			return fmt.Errorf("incremental read %d: %w", i+1, err)
		}
		anchor = h.anchor
	}
	edit := widget("w0007", set("int", kedge.Int(70)))
	if err := e.put(ctx, edit); err != nil {
		return err
	}
	h, err := e.changed(ctx, anchor)
	if err != nil {
		return err
	}
	return wantChanges("an edit after reads that found nothing", h, []kedge.Key{edit.Key})
}

func deltaDeletes(ctx context.Context, e *env) error {
	records := widgets(1, 30)
	ent, anchor, err := e.begin(ctx, records...)
	if err != nil {
		return err
	}
	if !ent.Deletes {
		return cannot("incremental reads of widgets do not report deletions")
	}
	gone := keysOf([]kedge.Record{records[0], records[14], records[29]})
	if err := e.delete(ctx, gone...); err != nil {
		return err
	}
	h, err := e.changed(ctx, anchor)
	if err != nil {
		return err
	}
	if err := wantKeys("deleted records", h.removed(), gone); err != nil {
		return err
	}
	h, err = e.changed(ctx, h.anchor)
	if err != nil || h.approx {
		return err
	}
	return wantKeys("deleted records in the read after that", h.removed(), nil)
}

// deltaReinsert deletes and inserts again, and the other way round, between
// two reads: the last word about a record counts.
func deltaReinsert(ctx context.Context, e *env) error {
	ent, anchor, err := e.begin(ctx, widgets(1, 12)...)
	if err != nil {
		return err
	}
	again := widget("w0005", set("int", kedge.Int(500)))
	steps := []func() error{
		func() error { return e.delete(ctx, again.Key) },
		func() error { return e.put(ctx, again) },
		func() error { return e.put(ctx, widget("short-lived")) },
		func() error { return e.delete(ctx, "short-lived") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	h, err := e.changed(ctx, anchor)
	if err != nil {
		return err
	}
	if r := h.last[again.Key]; r.Removed != kedge.Live {
		return fmt.Errorf("a record that was deleted and inserted again: last word %v, want live", r.Removed)
	}
	if r, ok := h.last["short-lived"]; ok && ent.Deletes && r.Removed == kedge.Live {
		return errors.New("a record that was inserted and deleted again: last word live, want deleted or none")
	}
	return wantValues("a record that was deleted and inserted again", h, []kedge.Record{again}, "int")
}

// deltaEqualVersions changes more than three pages of records in one commit.
func deltaEqualVersions(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 3)...)
	if err != nil {
		return err
	}
	records := widgets(101, 135)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	h, err := e.changed(ctx, anchor)
	if err != nil {
		return err
	}
	return wantChanges("35 records of one commit in pages of 10", h, keysOf(records))
}

// deltaLateCommit reads while a transaction is open that took its version
// early. Its record must come once it is committed.
func deltaLateCommit(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 5)...)
	if err != nil {
		return err
	}
	holder, ok := e.sys.(Holder)
	if !ok {
		return cannot("the system cannot hold a commit back")
	}
	late := widget("late", set("int", kedge.Int(1)))
	commit, err := holder.Hold(ctx, Widgets.Name, late)
	if err := outside("Hold", err); err != nil {
		return err
	}
	if err := e.put(ctx, widget("early", set("int", kedge.Int(2)))); err != nil {
		return errors.Join(err, commit())
	}
	first, err := e.changed(ctx, anchor)
	if err := errors.Join(err, outside("commit", commit())); err != nil {
		return err
	}
	second, err := e.changed(ctx, first.anchor)
	if err != nil {
		return err
	}
	first.followedBy(second)
	return wantAtLeast("two reads around a late commit", first.keys(), []kedge.Key{"early", "late"})
}

// deltaEditDuringDelta edits what an incremental read has yet to deliver: it
// comes in this read or in the next one.
func deltaEditDuringDelta(ctx context.Context, e *env) error {
	ent, anchor, err := e.begin(ctx, widgets(1, 5)...)
	if err != nil {
		return err
	}
	m := newModel(e)
	if err := m.put(ctx, widgets(101, 150)...); err != nil {
		return err
	}
	first, err := read(ctx, e.driver(), request(10, anchor), func(pages int) error {
		if pages > 4 {
			return nil
		}
		n := set("int", kedge.Int(int64(10_000+pages)))
		if err := m.put(ctx, widget(widgetID(100+pages), n), widget(widgetID(150-pages), n)); err != nil {
			return err
		}
		return m.delete(ctx, widget(widgetID(110+pages)).Key, widget(widgetID(140-pages)).Key)
	})
	if err != nil {
		return err
	}
	second, err := e.changed(ctx, first.anchor)
	if err != nil {
		return err
	}
	first.followedBy(second)
	for i := 1; i <= 5; i++ { // an overlap may deliver those of the full read
		delete(first.last, widget(widgetID(i)).Key)
	}
	return m.check("two incremental reads around edits", first, ent)
}

func deltaResumeAtEveryPage(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 5)...)
	if err != nil {
		return err
	}
	records := widgets(101, 135)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	whole, err := e.changed(ctx, anchor)
	if err != nil {
		return err
	}
	seen := &history{last: map[kedge.Key]kedge.Record{}}
	for i, p := range whole.pages {
		if err := seen.add(p); err != nil || p.Next == "" {
			return err
		}
		req := request(10, anchor)
		req.Token = p.Next
		rest, err := read(ctx, e.another(), req, nil)
		if err != nil {
			return fmt.Errorf("resumed after page %d: %w", i+1, err)
		}
		if rest.anchor == "" {
			return fmt.Errorf("resumed after page %d: no anchor at the end", i+1)
		}
		all := append(seen.keys(), rest.keys()...)
		if err := wantAtLeast(fmt.Sprintf("resumed after page %d", i+1), all, keysOf(records)); err != nil {
			return err
		}
	}
	return nil
}

func deltaExpired(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 20)...)
	if err != nil {
		return err
	}
	expirer, ok := e.sys.(Expirer)
	if !ok {
		return cannot("the system cannot be made to forget its history")
	}
	if err := e.put(ctx, widgets(30, 50)...); err != nil {
		return err
	}
	page, err := e.driver().ReadPage(ctx, request(10, anchor))
	if err != nil {
		return err
	}
	if err := outside("Expire", expirer.Expire(ctx, Widgets.Name)); err != nil {
		return err
	}
	if err := e.put(ctx, widget("after", set("int", kedge.Int(1)))); err != nil {
		return err
	}
	_, err = e.another().ReadPage(ctx, request(10, anchor))
	if err := wantKind("ReadPage with an anchor that was forgotten", err, kedge.AnchorExpired); err != nil {
		return err
	}
	req := request(10, anchor)
	if req.Token = page.Next; req.Token == "" {
		return errors.New("21 changes in pages of 10 came in one page")
	}
	if rest, err := read(ctx, e.another(), req, nil); err == nil { // fine if nothing is lost
		for _, r := range page.Records {
			rest.last[r.Key] = r
		}
		return wantAtLeast("ReadPage with a token from before the history was forgotten", rest.keys(), keysOf(widgets(30, 50)))
	} else if kedge.KindOf(err) != kedge.AnchorExpired {
		return fmt.Errorf("ReadPage with a token that was forgotten: got %w, want kind anchor_expired", err)
	}
	h, err := e.readAll(ctx, "")
	if err != nil {
		return fmt.Errorf("full read after the anchor expired: %w", err)
	}
	return wantAtLeast("full read after the anchor expired", h.keys(), []kedge.Key{"after", "w0001", "w0030"})
}

func deltaOtherEntity(ctx context.Context, e *env) error {
	_, anchor, err := e.begin(ctx, widgets(1, 3)...)
	if err != nil {
		return err
	}
	parts, err := e.entity(ctx, Parts.Name)
	if err != nil {
		return err
	}
	if !parts.Delta {
		return cannot("parts has no Delta")
	}
	req := connectors.ReadRequest{Entity: Parts.Name, Fields: partFields.Names(), Anchor: anchor, Size: 10}
	_, err = e.driver().ReadPage(ctx, req)
	if err := wantKind("ReadPage of parts with an anchor of widgets", err, kedge.Invalid); err != nil {
		return err
	}
	for _, text := range []kedge.Anchor{"x", "e30", "!\x00'\";", "bm9uc2Vuc2U"} {
		_, err = e.driver().ReadPage(ctx, request(10, text))
		if err := wantKind("ReadPage with an anchor that is no anchor", err, kedge.Invalid); err != nil {
			return err
		}
	}
	return nil
}

// deltaErrorKeepsAnchor breaks a read in the middle: it must end in an error,
// and go on from the same token afterwards.
func deltaErrorKeepsAnchor(ctx context.Context, e *env) error {
	failer, ok := e.sys.(Failer)
	if !ok {
		return cannot("the system cannot be made to fail")
	}
	_, anchor, err := e.begin(ctx, widgets(1, 3)...)
	if err != nil {
		return err
	}
	records := widgets(101, 135)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	for _, f := range []Fault{{Status: 500}, {Status: 403}, {Cut: true}, {Garbage: true}} {
		first, err := e.driver().ReadPage(ctx, request(10, anchor))
		if err != nil {
			return err
		}
		stop, ok := failer.Fail(f)
		if !ok {
			continue
		}
		req := request(10, anchor)
		req.Token = first.Next
		page, err := e.driver().ReadPage(ctx, req)
		stop()
		if err == nil {
			return fmt.Errorf("a page in spite of the fault %+v: %d records, last page %v; want an error", f, len(page.Records), page.Next == "")
		}
		rest, err := read(ctx, e.driver(), req, nil)
		if err != nil {
			return fmt.Errorf("resumed after the fault %+v: %w", f, err)
		}
		for _, r := range first.Records {
			rest.last[r.Key] = r
		}
		if err := wantAtLeast("resumed after a fault", rest.keys(), keysOf(records)); err != nil {
			return err
		}
	}
	return nil
}
