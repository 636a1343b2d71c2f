package syncer

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/sqllist"
)

// The columns of lists, by the names that JSON has.

func textColumn[T any](name, sql string, value func(*T) string) sqllist.Column[T] {
	return sqllist.Column[T]{Name: name, SQL: sql, Type: kedge.TypeString, Value: func(t *T) kedge.Value { return kedge.String(value(t)) }}
}

func intColumn[T any](name, sql string, value func(*T) int64) sqllist.Column[T] {
	return sqllist.Column[T]{Name: name, SQL: sql, Type: kedge.TypeInt, Value: func(t *T) kedge.Value { return kedge.Int(value(t)) }}
}

func timeColumn[T any](name, sql string, value func(*T) time.Time) sqllist.Column[T] {
	return sqllist.Column[T]{Name: name, SQL: sql, Type: kedge.TypeTime, Value: func(t *T) kedge.Value { return kedge.Time(value(t)) }}
}

func maybeTimeColumn[T any](name, sql string, value func(*T) *time.Time) sqllist.Column[T] {
	return sqllist.Column[T]{Name: name, SQL: sql, Type: kedge.TypeTime, Nullable: true, Value: func(t *T) kedge.Value { return sqllist.Time(value(t)) }}
}

var runList = sqllist.List[runRow]{ID: "id", OrderBy: "id desc", Columns: []sqllist.Column[runRow]{
	textColumn("id", "id", func(r *runRow) string { return r.ID }),
	textColumn("integration", "integration", func(r *runRow) string { return r.Integration }),
	textColumn("op", "op", func(r *runRow) string { return string(r.Op) }),
	textColumn("trigger", `"trigger"`, func(r *runRow) string { return r.Trigger }),
	textColumn("state", "state", func(r *runRow) string { return string(r.State) }),
	timeColumn("startedAt", "started_at", func(r *runRow) time.Time { return r.StartedAt }),
	maybeTimeColumn("finishedAt", "finished_at", func(r *runRow) *time.Time { return r.FinishedAt }),
}}

var logList = sqllist.List[LogRow]{ID: "id", OrderBy: "id desc", Columns: []sqllist.Column[LogRow]{
	textColumn("id", "id", func(r *LogRow) string { return r.ID }),
	textColumn("run", "run_id", func(r *LogRow) string { return r.RunID }),
	timeColumn("at", "at", func(r *LogRow) time.Time { return r.At }),
	textColumn("integration", "integration", func(r *LogRow) string { return r.Integration }),
	textColumn("operation", "operation", func(r *LogRow) string { return r.Operation }),
	textColumn("entity", "entity", func(r *LogRow) string { return r.Entity }),
	textColumn("direction", "direction", func(r *LogRow) string { return string(r.Direction) }),
	textColumn("status", "status", func(r *LogRow) string { return r.Status }),
	textColumn("level", "level", func(r *LogRow) string { return r.Level }),
	textColumn("code", "code", func(r *LogRow) string { return r.Code }),
	intColumn("total", "total", func(r *LogRow) int64 { return r.Total }),
	intColumn("failed", "failed", func(r *LogRow) int64 { return r.Failed }),
}}

var transactionList = sqllist.List[Transaction]{ID: "id", OrderBy: "createdAt desc", Columns: []sqllist.Column[Transaction]{
	textColumn("id", "id", func(t *Transaction) string { return t.ID }),
	textColumn("integration", "integration", func(t *Transaction) string { return t.Integration }),
	textColumn("entity", "entity", func(t *Transaction) string { return t.Entity }),
	textColumn("localKey", "local_key", func(t *Transaction) string { return string(t.LocalKey) }),
	textColumn("externalKey", "ext_key", func(t *Transaction) string { return string(t.ExtKey) }),
	textColumn("action", "action", func(t *Transaction) string { return t.Action }),
	textColumn("state", "state", func(t *Transaction) string { return string(t.State) }),
	intColumn("attempts", "attempts", func(t *Transaction) int64 { return t.Attempts }),
	textColumn("errorKind", "error_kind", func(t *Transaction) string { return t.ErrorKind }),
	textColumn("run", "run_id", func(t *Transaction) string { return t.RunID }),
	timeColumn("createdAt", "created_at", func(t *Transaction) time.Time { return t.CreatedAt }),
	maybeTimeColumn("doneAt", "done_at", func(t *Transaction) *time.Time { return t.DoneAt }),
}}

var conflictList = sqllist.List[conflictRow]{ID: "id", OrderBy: "id desc", Columns: []sqllist.Column[conflictRow]{
	textColumn("id", "conflict_row.id", func(r *conflictRow) string { return r.ID }),
	textColumn("integration", "e.integration", func(r *conflictRow) string { return r.Integration }),
	textColumn("entity", "e.name", func(r *conflictRow) string { return r.Entity }),
	textColumn("externalKey", "conflict_row.ext_key", func(r *conflictRow) string { return string(r.ExtKey) }),
	textColumn("localKey", "conflict_row.local_key", func(r *conflictRow) string { return string(r.LocalKey) }),
	textColumn("policy", "conflict_row.policy", func(r *conflictRow) string { return string(r.Policy) }),
	textColumn("state", "conflict_row.state", func(r *conflictRow) string { return r.State }),
	timeColumn("at", "conflict_row.at", func(r *conflictRow) time.Time { return r.At }),
}}

var quarantineList = sqllist.List[QuarantineRow]{ID: "id", OrderBy: "id desc", Columns: []sqllist.Column[QuarantineRow]{
	textColumn("id", "quarantine_row.id", func(r *QuarantineRow) string { return r.ID }),
	textColumn("integration", "e.integration", func(r *QuarantineRow) string { return r.Integration }),
	textColumn("entity", "e.name", func(r *QuarantineRow) string { return r.Entity }),
	textColumn("direction", "quarantine_row.direction", func(r *QuarantineRow) string { return string(r.Direction) }),
	textColumn("key", "quarantine_row.key", func(r *QuarantineRow) string { return r.Key }),
	textColumn("stage", "quarantine_row.stage", func(r *QuarantineRow) string { return r.Stage }),
	textColumn("code", "quarantine_row.code", func(r *QuarantineRow) string { return r.Code }),
	textColumn("field", "quarantine_row.field", func(r *QuarantineRow) string { return r.Field }),
	intColumn("attempts", "quarantine_row.attempts", func(r *QuarantineRow) int64 { return r.Attempts }),
	textColumn("state", "quarantine_row.state", func(r *QuarantineRow) string { return r.State }),
	textColumn("run", "quarantine_row.run_id", func(r *QuarantineRow) string { return r.RunID }),
	timeColumn("at", "quarantine_row.at", func(r *QuarantineRow) time.Time { return r.At }),
}}

var deleteList = sqllist.List[PendingDelete]{ID: "id", OrderBy: "id", Columns: []sqllist.Column[PendingDelete]{
	textColumn("id", "(e.integration || '/' || e.name || '/' || l.ext_key)", func(d *PendingDelete) string {
		return d.Integration + "/" + d.Entity + "/" + string(d.ExtKey)
	}),
	textColumn("integration", "e.integration", func(d *PendingDelete) string { return d.Integration }),
	textColumn("entity", "e.name", func(d *PendingDelete) string { return d.Entity }),
	textColumn("externalKey", "l.ext_key", func(d *PendingDelete) string { return string(d.ExtKey) }),
	textColumn("localKey", "l.local_key", func(d *PendingDelete) string { return string(d.LocalKey) }),
	textColumn("reason", "l.reason", func(d *PendingDelete) string { return d.Reason }),
}}

var anchorList = sqllist.List[Anchor]{ID: "id", OrderBy: "id", Columns: []sqllist.Column[Anchor]{
	textColumn("id", "", func(a *Anchor) string {
		return a.Integration + "/" + a.Entity + "/" + string(a.Direction) + "/" + a.Partition
	}),
	textColumn("integration", "", func(a *Anchor) string { return a.Integration }),
	textColumn("entity", "", func(a *Anchor) string { return a.Entity }),
	textColumn("direction", "", func(a *Anchor) string { return string(a.Direction) }),
	textColumn("phase", "", func(a *Anchor) string { return a.Phase }),
	intColumn("rows", "", func(a *Anchor) int64 { return a.Rows }),
	timeColumn("updatedAt", "", func(a *Anchor) time.Time { return a.UpdatedAt }),
	maybeTimeColumn("lastFullAt", "", func(a *Anchor) *time.Time { return a.LastFullAt }),
}}

var integrationList = sqllist.List[Integration]{ID: "name", OrderBy: "name", Columns: []sqllist.Column[Integration]{
	textColumn("name", "", func(i *Integration) string { return i.Name }),
	textColumn("external", "", func(i *Integration) string { return i.External }),
	textColumn("local", "", func(i *Integration) string { return i.Local }),
	textColumn("source", "", func(i *Integration) string { return i.Source }),
	textColumn("author", "", func(i *Integration) string { return i.Author }),
	intColumn("revision", "", func(i *Integration) int64 { return i.Revision }),
	timeColumn("at", "", func(i *Integration) time.Time { return i.At }),
}}

var statusList = sqllist.List[Status]{ID: "integration", OrderBy: "integration", Columns: []sqllist.Column[Status]{
	textColumn("integration", "", func(s *Status) string { return s.Integration }),
	intColumn("quarantine", "", func(s *Status) int64 { return s.Quarantine }),
	intColumn("pendingDeletes", "", func(s *Status) int64 { return s.Deletes }),
	intColumn("pendingUploads", "", func(s *Status) int64 { return s.Uploads }),
	intColumn("deadUploads", "", func(s *Status) int64 { return s.Dead }),
	intColumn("conflicts", "", func(s *Status) int64 { return s.Conflicts }),
	intColumn("records", "", func(s *Status) int64 { return s.Records }),
}}

// page reads a page of a list.
func page[T any](ctx context.Context, s *Syncer, l sqllist.List[T], sel func(rows *[]T) *bun.SelectQuery, q sqllist.Query) ([]T, string, error) {
	var rows []T
	query, cut, err := l.Rows(sel(&rows), q, s.now())
	if err != nil {
		return nil, "", err
	}
	if err := query.Scan(ctx, &rows); err != nil {
		return nil, "", err
	}
	rows, next := cut(rows)
	return rows, next, nil
}

// RunPage returns a page of the runs, newest first, and the cursor of the next.
func (s *Syncer) RunPage(ctx context.Context, q sqllist.Query) ([]RunInfo, string, error) {
	rows, next, err := page(ctx, s, runList, func(rows *[]runRow) *bun.SelectQuery { return s.store.DB().NewSelect().Model(rows) }, q)
	return runInfos(rows), next, err
}

// LogPage returns a page of the log, newest first.
func (s *Syncer) LogPage(ctx context.Context, q sqllist.Query) ([]LogRow, string, error) {
	return page(ctx, s, logList, func(rows *[]LogRow) *bun.SelectQuery { return s.store.DB().NewSelect().Model(rows) }, q)
}

// TransactionPage returns a page of the uploads, newest first.
func (s *Syncer) TransactionPage(ctx context.Context, q sqllist.Query) ([]Transaction, string, error) {
	return page(ctx, s, transactionList, func(rows *[]Transaction) *bun.SelectQuery { return s.store.DB().NewSelect().Model(rows) }, q)
}

// ConflictPage returns a page of the conflicts, newest first: the open ones, or
// all.
func (s *Syncer) ConflictPage(ctx context.Context, all bool, q sqllist.Query) ([]*Conflict, string, error) {
	rows, next, err := page(ctx, s, conflictList, func(rows *[]conflictRow) *bun.SelectQuery {
		sel := s.store.DB().NewSelect().Model(rows).ColumnExpr("conflict_row.*").ColumnExpr("e.integration, e.name AS entity").
			Join("JOIN integration_entity AS e ON e.id = conflict_row.ent")
		if !all {
			sel = sel.Where("conflict_row.state = ?", conflictOpen)
		}
		return sel
	}, q)
	conflicts := make([]*Conflict, len(rows))
	for i := range rows {
		conflicts[i] = rows[i].conflict()
	}
	return conflicts, next, err
}

// QuarantinePage returns a page of the quarantined records, newest first: the
// open ones, or all.
func (s *Syncer) QuarantinePage(ctx context.Context, all bool, q sqllist.Query) ([]QuarantineRow, string, error) {
	return page(ctx, s, quarantineList, func(rows *[]QuarantineRow) *bun.SelectQuery {
		sel := s.store.DB().NewSelect().Model(rows).ColumnExpr("quarantine_row.*").ColumnExpr("e.integration, e.name AS entity").
			Join("JOIN integration_entity AS e ON e.id = quarantine_row.ent")
		if !all {
			sel = sel.Where("quarantine_row.state = 'open'")
		}
		return sel
	}, q)
}

// DeletePage returns a page of the deletes that wait for a person, of all
// integrations.
func (s *Syncer) DeletePage(ctx context.Context, q sqllist.Query) ([]PendingDelete, string, error) {
	return page(ctx, s, deleteList, func(rows *[]PendingDelete) *bun.SelectQuery {
		return s.store.DB().NewSelect().TableExpr("integration_link AS l").Join("JOIN integration_entity AS e ON e.id = l.ent").
			ColumnExpr("e.integration, e.name AS entity, l.ext_key, l.local_key, l.reason").Where("l.status = ?", deleting)
	}, q)
}

// AnchorPage returns a page of the anchors of an integration, "" for all.
func (s *Syncer) AnchorPage(ctx context.Context, integration string, q sqllist.Query) ([]Anchor, string, error) {
	rows, err := s.Anchors(ctx, integration)
	if err != nil {
		return nil, "", err
	}
	return anchorList.Slice(values(rows), q, s.now())
}

// IntegrationPage returns a page of the integrations, by name.
func (s *Syncer) IntegrationPage(ctx context.Context, q sqllist.Query) ([]Integration, string, error) {
	all, err := s.Integrations(ctx)
	if err != nil {
		return nil, "", err
	}
	return integrationList.Slice(values(all), q, s.now())
}

// StatusPage returns a page of what [Syncer.Status] does.
func (s *Syncer) StatusPage(ctx context.Context, q sqllist.Query) ([]Status, string, error) {
	all, err := s.Status(ctx)
	if err != nil {
		return nil, "", err
	}
	return statusList.Slice(all, q, s.now())
}

func values[T any](pointers []*T) []T {
	out := make([]T, len(pointers))
	for i, p := range pointers {
		out[i] = *p
	}
	return out
}

// OpenQuarantine counts the open quarantine rows of each integration.
func (s *Syncer) OpenQuarantine(ctx context.Context) (map[string]int64, error) {
	all, err := s.Integrations(ctx)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for _, i := range all {
		counts[i.Name] = 0
	}
	var rows []struct {
		Integration string
		N           int64
	}
	err = s.store.DB().NewSelect().TableExpr("integration_quarantine AS q").Join("JOIN integration_entity AS e ON e.id = q.ent").
		ColumnExpr("e.integration, count(*) AS n").Where("q.state = 'open'").GroupExpr("e.integration").Scan(ctx, &rows)
	for _, r := range rows {
		counts[r.Integration] = r.N
	}
	return counts, err
}
