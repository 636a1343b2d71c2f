package syncer

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// A LogRow is one line of the log: the summary of an entity in a run, or
// something that happened in it.
type LogRow struct {
	bun.BaseModel `bun:"table:integration_log" json:"-"`

	ID          string    `bun:",pk" json:"id"`
	RunID       string    `json:"run,omitempty"`
	At          time.Time `json:"at"`
	Integration string    `json:"integration"`
	Operation   string    `json:"operation"`
	Entity      string    `json:"entity,omitempty"`
	Direction   Direction `json:"direction,omitempty"`
	Mode        string    `json:"mode,omitempty"`
	Status      string    `json:"status"`
	Level       string    `json:"level"`
	Code        string    `json:"code"`
	Total       int64     `json:"total"`
	Imported    int64     `json:"imported"`
	Updated     int64     `json:"updated"`
	Deleted     int64     `json:"deleted"`
	Failed      int64     `json:"failed"`
	Conflicts   int64     `json:"conflicts"`
	ResultLine  string    `json:"resultLine,omitempty"`
	Message     string    `json:"message,omitempty"`
	Ref         string    `json:"ref,omitempty"`
}

// summary writes the log row that sums up an entity.
func (r *run) summary(ctx context.Context, db bun.IDB, e EntityResult, now time.Time) error {
	level := "info"
	switch e.State {
	case Failed, Stopped:
		level = "error"
	case Partial, Cancelled:
		level = "warn"
	}
	message := e.Error
	if message == "" {
		message = e.Reason
	}
	_, err := db.NewInsert().Model(&LogRow{
		ID: newID(), RunID: r.id, At: now, Integration: r.name, Operation: string(r.req.Op), Entity: e.Entity, Direction: e.Direction,
		Mode: e.Mode, Status: string(e.State), Level: level, Code: "summary",
		Total: e.Imported() + e.Updated() + e.Counts.Failed(), Imported: e.Imported(), Updated: e.Updated(), Deleted: e.Deleted,
		Failed: e.Counts.Failed(), Conflicts: e.Conflicts, ResultLine: e.Line(), Message: message,
	}).Exec(ctx)
	return err
}

// event writes a log row about something that happened in the run.
func (r *run) event(ctx context.Context, entity, level, code, message, ref string) error {
	return r.eventIn(ctx, r.s.store.DB(), entity, level, code, message, ref)
}

func (r *run) eventIn(ctx context.Context, db bun.IDB, entity, level, code, message, ref string) error {
	if r.planning() {
		return nil
	}
	_, err := db.NewInsert().Model(&LogRow{
		ID: newID(), RunID: r.id, At: r.s.now().UTC(), Integration: r.name, Operation: string(r.req.Op), Entity: entity,
		Direction: Download, Status: "event", Level: level, Code: code, Message: message, Ref: ref,
	}).Exec(ctx)
	return err
}

// event writes a log row about the entity, in the caller's transaction.
func (e *entity) event(ctx context.Context, db bun.IDB, level, code, message, ref string) error {
	return e.run.eventIn(ctx, db, e.plan.Name, level, code, message, ref)
}

// LogConnection writes to the connection log: sign-in prompts and tests.
func (s *Syncer) LogConnection(ctx context.Context, connection, code, message string) error {
	_, err := s.store.DB().NewInsert().Model(&LogRow{
		ID: newID(), At: s.now().UTC(), Operation: "connection", Entity: connection, Status: "event", Level: "info", Code: code, Message: message,
	}).Exec(ctx)
	return err
}

// LogJob writes to the log what became of a job where no run of the syncer
// does: it was skipped or missed, say. The integration may be "".
func (s *Syncer) LogJob(ctx context.Context, job, integration, level, code, message string) error {
	_, err := s.store.DB().NewInsert().Model(&LogRow{
		ID: newID(), At: s.now().UTC(), Integration: integration, Operation: "job", Entity: job, Status: "event", Level: level, Code: code, Message: message,
	}).Exec(ctx)
	return err
}

// A LogQuery selects log rows; empty fields select all.
type LogQuery struct {
	Run         string
	Integration string
	After       string // rows after this id, for following
	Limit       int    // 0 means 100
}

// Log returns log rows, oldest first: the newest Limit rows, or the first
// Limit rows after q.After.
func (s *Syncer) Log(ctx context.Context, q LogQuery) ([]LogRow, error) {
	setDefault(&q.Limit, 100)
	var rows []LogRow
	sel := s.store.DB().NewSelect().Model(&rows).Limit(int64(q.Limit))
	if q.Run != "" {
		sel = sel.Where("run_id = ?", q.Run)
	}
	if q.Integration != "" {
		sel = sel.Where("integration = ?", q.Integration)
	}
	if q.After != "" {
		return rows, sel.Where("id > ?", q.After).Order("id").Scan(ctx)
	}
	err := sel.Order("id DESC").Scan(ctx)
	for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
		rows[i], rows[j] = rows[j], rows[i]
	}
	return rows, err
}

// expire removes what is older than its limit. Where tombstones are forgotten,
// anchors from before that moment are too old to be trusted.
func (r *run) expire(ctx context.Context) error {
	if r.planning() {
		return nil
	}
	db, now, keep := r.s.store.DB(), r.start, r.s.limits
	if _, err := db.NewDelete().Model((*LogRow)(nil)).Where("at < ?", now.Add(-keep.KeepLog)).Exec(ctx); err != nil {
		return err
	}
	if err := r.expireUploads(ctx); err != nil {
		return err
	}
	_, err := db.NewDelete().Model((*runRow)(nil)).Where("started_at < ? AND state <> ?", now.Add(-keep.KeepLog), Running).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = db.NewDelete().Model((*QuarantineRow)(nil)).Where("state <> 'open' AND at < ?", now.Add(-keep.KeepQuarantine)).Exec(ctx)
	if err != nil {
		return err
	}
	for _, e := range r.ordered() {
		if err := e.dropStage(ctx, db); err != nil { // of a reset that was killed
			return err
		}
		res, err := db.NewDelete().Model((*link)(nil)).
			Where("ent = ? AND status = ? AND at < ?", e.row.ID, tombstone, now.Add(-keep.KeepTombstones)).Exec(ctx)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			continue
		}
		_, err = db.NewUpdate().Model((*Anchor)(nil)).Set("forgotten_at = ?", now.Add(-keep.KeepTombstones)).
			Where("integration = ? AND entity = ?", r.name, e.plan.Name).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// expireUploads removes what is left of uploads that came to an end, and of
// conflicts that did.
func (r *run) expireUploads(ctx context.Context) error {
	db, old := r.s.store.DB(), r.start.Add(-r.s.limits.KeepLog)
	_, err := db.NewDelete().Model((*Transaction)(nil)).Where("done_at < ? AND state IN (?, ?)", old, TxApplied, TxArchived).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = db.NewDelete().Model((*conflictRow)(nil)).Where("at < ? AND state IN (?, ?)", old, conflictResolved, conflictSuperseded).Exec(ctx)
	if err != nil {
		return err
	}
	_, err = db.NewDelete().Model((*writeRow)(nil)).Where("expires_at < ?", r.start).Exec(ctx)
	return err
}
