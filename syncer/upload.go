package syncer

import (
	"context"
	"fmt"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/mapping"
)

// An upload sends the local changes of one entity. Reading them only notes
// which records are to be sent (collect); what is sent of a record is decided
// when it is its turn (push), so that an edit made meanwhile goes along.
type upload struct {
	*entity
	position *Anchor
	first    bool // nothing was uploaded before: the download goes first, so that records are matched
	bare     bool // nothing was linked before this run
	mode     string
	reason   string
	state    RunState
	confirm  string
	deletes  int64 // that wait for a person
	again    bool  // deletes failed before, and it is time to try them again
	counts   Counts
	outcomes map[kedge.Key]Outcome  // by local key; unchanged records are not in it
	tries    map[string]int         // by transaction, in this run
	missing  map[kedge.Key]*failure // records that wait for one they refer to
	targets  map[string]string      // once somebody asked: see lookupTargets
	doubtful map[string]bool        // local keys of records that may be there already
	waiting  bool                   // records were in quarantine when it began
	opened   bool
	err      error
}

// newUpload returns the upload of an entity, nil if it has none in this run.
func (e *entity) newUpload(ctx context.Context) (*upload, error) {
	op := e.run.op()
	if !(op == Export || op == Sync && e.plan.Rules.Direction.Uploads()) {
		return nil, nil
	}
	u := &upload{entity: e, outcomes: map[kedge.Key]Outcome{}, tries: map[string]int{}, missing: map[kedge.Key]*failure{}}
	var err error
	u.position, err = loadAnchor(ctx, e.run.s.store.DB(), e.run.name, e.plan.Name, Upload)
	if u.position == nil {
		u.position = &Anchor{Integration: e.run.name, Entity: e.plan.Name, Direction: Upload, Phase: phaseSnapshot, Acked: true}
		u.first = op == Sync && e.plan.Rules.Direction.Downloads()
	}
	if err == nil && u.first {
		u.bare, err = hasLinks(ctx, e.run.s.store.DB(), e.row.ID)
		u.bare = !u.bare
	}
	return u, err
}

// note counts what became of a record; its last outcome counts.
func (u *upload) note(key kedge.Key, o Outcome) {
	prev := u.outcomes[key]
	next := prev.then(o)
	u.counts.count(prev, next)
	u.outcomes[key] = next
}

// collect reads the local changes and notes what is to be sent.
func (u *upload) collect(ctx context.Context) error {
	if err := u.open(ctx); err != nil {
		return err
	}
	if u.reason = u.whyAll(); u.reason == "" {
		u.mode = "incremental"
		err := u.read(ctx, kedge.Anchor(u.position.Anchor), nil)
		if kedge.KindOf(err) != kedge.AnchorExpired {
			return err
		}
		u.reason = "the anchor expired"
	}
	u.mode = "full"
	if u.run.op() == Export {
		u.mode = "export"
	}
	// What was linked a moment ago was there then: the next read finds what was
	// deleted since.
	sweeps := u.run.op() != Export && u.plan.Local.Full && !u.bare
	var seen map[uint64]bool
	if sweeps {
		seen = map[uint64]bool{}
	}
	slices.Sort(u.inStep)
	err := u.read(ctx, "", seen)
	u.inStep = nil
	if err != nil || !sweeps {
		return err
	}
	return u.sweepLocal(ctx, seen)
}

// open loads what is known of the entity, once.
func (u *upload) open(ctx context.Context) error {
	if u.opened {
		return nil
	}
	u.opened = true
	if err := u.loadDoubtful(ctx); err != nil {
		return err
	}
	n, err := u.run.s.store.DB().NewSelect().Model((*QuarantineRow)(nil)).Where("ent = ? AND direction = ? AND state = 'open'", u.row.ID, Upload).Count(ctx)
	if err != nil {
		return err
	}
	u.waiting = n > 0
	return u.prepareAside(ctx)
}

// whyAll tells why all local records have to be read, "" if changes are enough.
func (u *upload) whyAll() string {
	switch {
	case u.run.op() == Export:
		return "an export sends everything once"
	case !u.localDelta:
		return "local changes are not captured"
	case u.position.Anchor == "":
		return "first read"
	case u.position.Fingerprint != u.plan.UploadFingerprint:
		return "the mapping or the filter of this entity changed"
	}
	return ""
}

// read reads local records, a page transaction at a time. The position is
// stored with the last page: a repeat finds nothing new in what was noted.
func (u *upload) read(ctx context.Context, from kedge.Anchor, seen map[uint64]bool) error {
	req := connectors.ReadRequest{Entity: u.plan.Local.Name, Fields: u.plan.LocalRead.Names(), Anchor: from}
	for page, err := range u.run.loc.Pages(ctx, req) {
		if err != nil {
			return err
		}
		if err := u.takePage(ctx, page, seen); err != nil {
			return err
		}
		if err := u.run.heedCancel(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (u *upload) takePage(ctx context.Context, page *connectors.Page, seen map[uint64]bool) error {
	for i := range page.Records {
		if seen != nil {
			seen[mapping.KeyHash(page.Records[i].Key)] = true
		}
	}
	if u.run.planning() {
		return u.previewPage(ctx, page)
	}
	records := u.dropInStep(page.Records)
	if len(records)+len(page.Rejected) == 0 && page.Next != "" {
		return nil
	}
	err := u.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		locals, err := u.classify(ctx, tx, records)
		if err != nil {
			return err
		}
		entries := make([]outboxEntry, 0, len(locals))
		for _, l := range locals {
			if l.action != "" {
				entries = append(entries, outboxEntry{local: l.rec.Key, external: l.external(), action: l.action})
			}
		}
		if err := u.enqueue(ctx, tx, entries); err != nil {
			return err
		}
		if err := u.releaseEqual(ctx, tx, locals); err != nil {
			return err
		}
		for _, bad := range page.Rejected {
			f := &failure{stage: "decode", code: "decode", field: bad.Field, err: bad.Err, as: Quarantined}
			if err := u.quarantineLocal(ctx, tx, bad.Key, nil, f); err != nil {
				return err
			}
			u.note(bad.Key, Quarantined)
		}
		u.countUnsent(locals)
		if page.Next != "" || u.run.op() != Sync {
			return nil
		}
		return u.savePosition(ctx, tx, page)
	})
	if err != nil || page.Next != "" || page.Anchor == "" || u.run.op() != Sync {
		return err
	}
	u.run.s.hook("p7")
	return u.ackLocal(ctx)
}

// dropInStep counts the records that are as the download of this run left them,
// and returns the others.
func (u *upload) dropInStep(records []kedge.Record) []kedge.Record {
	if len(u.inStep) == 0 || u.waiting {
		return records
	}
	return slices.DeleteFunc(records, func(r kedge.Record) bool {
		_, same := slices.BinarySearch(u.inStep, rowMark(r.Key, u.localHash(&r)))
		same = same && r.Removed == kedge.Live && u.passesUpload(&r)
		if same {
			u.counts.count(notSeen, Unchanged)
		}
		return same
	})
}

func (u *upload) countUnsent(locals []*localItem) {
	for _, l := range locals {
		if l.action == "" && u.outcomes[l.rec.Key] == notSeen {
			u.counts.count(notSeen, l.outcome)
		}
	}
}

func (u *upload) savePosition(ctx context.Context, tx *store.Tx, page *connectors.Page) error {
	a, now := u.position, u.run.s.now().UTC()
	if page.Anchor != "" {
		a.Anchor, a.Acked, a.Phase = string(page.Anchor), false, phaseDelta
	}
	if u.mode == "full" {
		a.LastFullAt = &now
	}
	a.Fingerprint, a.UpdatedAt, a.RunID = u.plan.UploadFingerprint, now, u.run.id
	a.Rows += u.counts.Read
	return a.save(ctx, tx)
}

// ackLocal tells the local side which of its notes are no longer needed.
func (u *upload) ackLocal(ctx context.Context) error {
	if _, ok := u.run.loc.Driver().(connectors.Acker); !ok || u.position.Acked || u.position.Anchor == "" {
		return nil
	}
	if err := u.run.loc.Ack(ctx, u.plan.Local.Name, kedge.Anchor(u.position.Anchor)); err != nil {
		return err
	}
	u.position.Acked = true
	_, err := u.run.s.store.DB().NewUpdate().Model(u.position).Column("acked").WherePK().Exec(ctx)
	return err
}

// A localItem is one local record on its way to the outbox.
type localItem struct {
	rec     *kedge.Record
	link    *link
	base    *baseRow
	up      []bool // fields to send
	action  string // "" if nothing is to be sent
	outcome Outcome
}

func (l *localItem) external() kedge.Key {
	if l.link != nil && l.link.Status == linked {
		return l.link.ExtKey
	}
	return ""
}

// classify finds out what is to be sent of local records.
func (u *upload) classify(ctx context.Context, db connectors.Tx, records []kedge.Record) ([]*localItem, error) {
	keys := make([]kedge.Key, len(records))
	for i := range records {
		keys[i] = records[i].Key
	}
	k, err := u.knownBy(ctx, u.run.db(db), keys)
	if err != nil {
		return nil, err
	}
	items := make([]*localItem, len(records))
	for i := range records {
		l := &localItem{rec: &records[i]}
		l.link, l.base = k.of(l.rec.Key)
		items[i] = l
		u.judgeLocal(l)
	}
	return items, nil
}

func (u *upload) judgeLocal(l *localItem) {
	known := l.link != nil && l.link.Status == linked
	switch {
	case l.rec.Removed != kedge.Live && !known, l.link != nil && l.link.Status == deleting:
		l.outcome = Unchanged // the other side does not have it, or has deleted it as well
	case l.link != nil && l.link.Status == frozenLink:
		l.outcome = Kept // a person decides
	case l.rec.Removed != kedge.Live:
		l.action = actionDelete
	case !u.passesUpload(l.rec):
		l.outcome = Filtered
	case l.link != nil && !known && u.keptLocal(l.link):
		l.outcome = Kept // deleted there; what is left of it here is not sent again
	case !known:
		l.action = actionCreate
	case l.base == nil:
		l.action = actionUpdate // what the other side has is looked up first
	default:
		d := newDecision(Sides{Base: l.base.values, Local: l.rec}, u.plan, u.run.op())
		if l.outcome = Unchanged; d.any(d.up) {
			l.action, l.up = actionUpdate, d.up
		}
	}
}

// passesUpload tells whether the upload filter lets a record through. One that
// was not sent in whole counts as passing: it is looked at again when it is sent.
func (u *upload) passesUpload(r *kedge.Record) bool {
	if u.plan.UploadFilter == nil {
		return true
	}
	truth, err := u.plan.UploadFilter.Match(r)
	return err == nil && truth == filter.Yes
}

// sweepLocal notes the deletion of linked records that a full read of the
// local side did not bring.
func (u *upload) sweepLocal(ctx context.Context, seen map[uint64]bool) error {
	if len(seen) == 0 && u.row.Linked > 0 {
		return u.event(ctx, u.run.s.store.DB(), "warn", "local_empty", "the local side has no records; nothing is deleted for that", "")
	}
	after := kedge.Key("")
	for {
		var links []*link
		err := u.run.s.store.DB().NewSelect().Model(&links).Where("ent = ? AND status = ? AND ext_key > ?", u.row.ID, linked, after).
			Order("ext_key").Limit(deleteChunk).Scan(ctx)
		if err != nil || len(links) == 0 {
			return err
		}
		after = links[len(links)-1].ExtKey
		links = slices.DeleteFunc(links, func(l *link) bool { return seen[mapping.KeyHash(l.LocalKey)] })
		if len(links) == 0 {
			continue
		}
		if err := u.takeMissing(ctx, links); err != nil {
			return err
		}
	}
}

// takeMissing notes the deletion of those local records that are truly gone.
func (u *upload) takeMissing(ctx context.Context, links []*link) error {
	keys := make([]kedge.Key, len(links))
	for i, l := range links {
		keys[i] = l.LocalKey
	}
	if u.run.planning() {
		return u.previewMissing(ctx, links)
	}
	return u.run.inTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		rows, err := u.localByKey(ctx, u.ownTx(tx), keys)
		if err != nil {
			return err
		}
		var entries []outboxEntry
		for _, l := range links {
			if rows[l.LocalKey] == nil {
				entries = append(entries, outboxEntry{local: l.LocalKey, external: l.ExtKey, action: actionDelete})
			}
		}
		return u.enqueue(ctx, tx, entries)
	})
}

// ownTx is the transaction for the local side: none if it is another system.
func (e *entity) ownTx(tx *store.Tx) connectors.Tx {
	if e.run.ownTables() {
		return tx
	}
	return nil
}

// quarantineLocal stores a local record that cannot be sent.
func (u *upload) quarantineLocal(ctx context.Context, tx *store.Tx, key kedge.Key, rec *kedge.Record, f *failure) error {
	now := u.run.s.now().UTC()
	row := &QuarantineRow{
		ID: newID(), Ent: u.row.ID, Direction: Upload, Key: quarantineKey(key), Payload: payloadText(rec),
		Stage: f.stage, Code: f.code, Field: f.field, Message: f.err.Error(), Attempts: 1, NextAt: now.Add(quarantineDelay(1)),
		Revision: u.run.revision, State: "open", RunID: u.run.id, At: now,
	}
	err := tx.NewInsert().Model(row).On("CONFLICT (ent, direction, key) WHERE state = 'open' DO UPDATE").
		Set("payload = EXCLUDED.payload, stage = EXCLUDED.stage, code = EXCLUDED.code, field = EXCLUDED.field").
		Set("message = EXCLUDED.message, attempts = quarantine_row.attempts + 1, next_at = EXCLUDED.next_at").
		Set("revision = EXCLUDED.revision, run_id = EXCLUDED.run_id").
		Returning("id").Scan(ctx, &row.ID)
	if err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return u.event(ctx, tx, "warn", f.code, f.stage+": "+f.err.Error(), row.ID)
}

// releaseEqual closes the quarantine rows of records that are again as both
// sides agreed, so that nothing of them has to be sent.
func (u *upload) releaseEqual(ctx context.Context, tx *store.Tx, locals []*localItem) error {
	if !u.waiting {
		return nil
	}
	var keys []kedge.Key
	for _, l := range locals {
		if l.action == "" && l.outcome == Unchanged {
			keys = append(keys, l.rec.Key)
		}
	}
	return u.releaseLocal(ctx, tx, keys)
}

// releaseLocal closes the quarantine rows and the dead transactions of records
// that were sent.
func (e *entity) releaseLocal(ctx context.Context, tx *store.Tx, keys []kedge.Key) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := tx.NewUpdate().Model((*QuarantineRow)(nil)).Set("state = 'done', payload = '{}'").
		Where("ent = ? AND direction = ? AND state = 'open'", e.row.ID, Upload).
		Where("key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = tx.NewUpdate().Model((*Transaction)(nil)).Set("state = ?", TxArchived).
		Where("integration = ? AND entity = ? AND state = ?", e.run.name, e.plan.Name, TxDead).
		Where("local_key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	return err
}
