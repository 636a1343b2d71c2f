package custom

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// errRollback rolls back what is not to be stored: dry runs, and requests that
// were refused or answered before.
var errRollback = errors.New("rolled back")

// tryBatch stores the requests of a batch in one transaction. Requests that
// are refused have err set; an error of tryBatch itself means that nothing of
// the batch is stored.
func (c *Custom) tryBatch(ctx context.Context, batch []*request) (err error) {
	defer func() {
		if p := recover(); p != nil { // the transaction is rolled back; the server goes on
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	err = c.store.InTx(ctx, func(ctx context.Context, tx *store.Tx) error {
		var tables []int64
		byTable := map[int64][]*request{}
		for _, r := range batch {
			if byTable[r.Table.No] == nil {
				tables = append(tables, r.Table.No)
			}
			byTable[r.Table.No] = append(byTable[r.Table.No], r)
		}
		for _, no := range tables {
			w := &work{c: c, ctx: ctx, tx: tx, at: c.now().UnixMilli(), table: byTable[no][0].Table}
			if err := w.run(byTable[no]); err != nil {
				return err
			}
		}
		if batch[0].DryRun || len(open(batch)) == 0 {
			return errRollback
		}
		c.opts.Hook("commit")
		return nil
	})
	if errors.Is(err, errRollback) {
		return nil
	}
	if err == nil {
		c.opts.Hook("committed")
	}
	return err
}

// work is what one transaction does in one table.
type work struct {
	c     *Custom
	ctx   context.Context
	tx    *store.Tx
	at    int64 // time of the transaction
	table *Table
	head  int64 // last seq

	interest    kedge.Interest
	localEvents []kedge.Event // of the mapping, to be published after those of the resources
	part        struct {      // of a session, the last one that was read
		n    int32
		body []byte
	}
}

func (w *work) hook(point string) { w.c.opts.Hook(point) }

func (w *work) sql(parts ...string) *statement { return w.c.sql(parts...) }

func (w *work) exec(s *statement) error {
	_, err := s.exec(w.ctx, w.tx.Tx.Tx)
	return err
}

func (w *work) each(s *statement, scan func(*sql.Rows) error) error {
	return s.each(w.ctx, w.tx.Tx.Tx, scan)
}

// run does the steps a to k of ingest requests that share a table.
func (w *work) run(all []*request) error {
	w.hook("a")
	for _, r := range all {
		if r.IdempotencyKey == "" || r.DryRun {
			continue
		}
		if err := w.c.replay(w.ctx, w.tx.Tx.Tx, r, w.at); err != nil {
			return err
		}
	}
	requests := open(all)
	if len(requests) == 0 {
		return nil
	}
	w.hook("b")
	scopes, err := w.lock(requests)
	if err != nil {
		return err
	}
	w.hook("c")
	if err := w.recheck(requests); err != nil {
		return err
	}
	w.hook("d")
	requests = open(requests)
	if err := w.suppress(requests); err != nil {
		return err
	}
	if p := w.c.opts.Publisher; p != nil && len(requests) > 0 {
		if w.interest, err = p.Interest(w.ctx, w.tx, w.table.Full); err != nil {
			return unavailable(err)
		}
	}
	if len(requests) == 1 && requests[0].Op == Bulk {
		err = w.bulk(requests[0], scopes)
	} else {
		err = w.small(requests, scopes)
	}
	if err != nil {
		return err
	}
	w.hook("k")
	if err := w.saveScopes(requests, scopes); err != nil {
		return err
	}
	return w.remember(open(requests))
}

// open returns the requests that have neither an answer nor an error.
func open(requests []*request) []*request {
	return slices.DeleteFunc(slices.Clone(requests), func(r *request) bool { return r.err != nil || r.replayed })
}

// replay answers a request whose idempotency key was seen before: from what is
// stored, or with 422 if it was another request.
func (c *Custom) replay(ctx context.Context, q querier, r *request, now int64) error {
	s := c.sql("SELECT body_hash, answer FROM ingest_idempotency WHERE key_id = ").arg(r.KeyID).add(" AND idem_key = ").arg(r.IdempotencyKey).
		add(" AND expires_at > ").arg(now)
	return s.each(ctx, q, func(rows *sql.Rows) error {
		var hash []byte
		var answer string
		if err := rows.Scan(&hash, &answer); err != nil {
			return err
		}
		if !bytes.Equal(hash, r.RequestHash) {
			r.err = problem(http.StatusUnprocessableEntity, "another request was sent with this Idempotency-Key; give each request a key of its own")
			return nil
		}
		r.result, r.replayed = new(Result), true
		return json.Unmarshal([]byte(answer), r.result)
	})
}

// idempotencyAge is how long an answer is kept for its Idempotency-Key.
const idempotencyAge = 24 * time.Hour

// remember stores the answers of requests with an idempotency key.
func (w *work) remember(requests []*request) error {
	for _, r := range requests {
		if r.IdempotencyKey == "" || r.DryRun {
			continue
		}
		answer, err := json.Marshal(r.result)
		if err != nil {
			return err
		}
		s := w.sql("INSERT INTO ingest_idempotency (key_id, idem_key, body_hash, answer, expires_at) VALUES ").
			row(r.KeyID, r.IdempotencyKey, r.RequestHash, string(answer), w.at+idempotencyAge.Milliseconds()).
			add(" ON CONFLICT (key_id, idem_key) DO UPDATE SET body_hash = excluded.body_hash, answer = excluded.answer, expires_at = excluded.expires_at")
		if err := w.exec(s); err != nil {
			return err
		}
	}
	return nil
}

// A scope is the row of one (table, groupKey).
type scope struct {
	group string
	live  int64 // before; of bulks only
	delta int64
	moved bool // something was written
}

// lock locks the scopes of the requests, in order of their keys, after making
// those that do not exist. SQLite has one writer and needs no locks, nor rows
// before something is written.
func (w *work) lock(requests []*request) (map[string]*scope, error) {
	scopes := map[string]*scope{}
	var groups []string
	for _, r := range requests {
		if scopes[r.GroupKey] == nil {
			scopes[r.GroupKey] = &scope{group: r.GroupKey}
			groups = append(groups, r.GroupKey)
		}
	}
	if !w.c.postgres() && requests[0].Op != Bulk {
		return scopes, nil
	}
	slices.Sort(groups)
	found, err := w.readScopes(groups, scopes)
	if err != nil || found == len(groups) || !w.c.postgres() {
		return scopes, err
	}
	s := w.sql("INSERT INTO ingest_scope (schema_no, group_key, live) VALUES ")
	for i, g := range groups {
		if i > 0 {
			s.add(", ")
		}
		s.row(w.table.No, g, 0)
	}
	if err := w.exec(s.add(" ON CONFLICT (schema_no, group_key) DO NOTHING")); err != nil {
		return nil, err
	}
	_, err = w.readScopes(groups, scopes)
	return scopes, err
}

func (w *work) readScopes(groups []string, scopes map[string]*scope) (found int, err error) {
	s := w.sql("SELECT group_key, live FROM ingest_scope WHERE schema_no = ").arg(w.table.No).add(" AND group_key IN ").row(anysOf(groups)...)
	if w.c.postgres() {
		s.add(" ORDER BY group_key FOR UPDATE")
	}
	err = w.each(s, func(rows *sql.Rows) error {
		var group string
		var live int64
		if err := rows.Scan(&group, &live); err != nil {
			return err
		}
		scopes[group].live = live
		found++
		return nil
	})
	return found, err
}

// recheck makes sure that the requests were checked against the active
// version, which nobody changes until this transaction ends.
func (w *work) recheck(requests []*request) error {
	s := w.sql("SELECT s.active_version, h.seq FROM ingest_schema AS s JOIN ingest_head AS h ON h.schema_no = s.no WHERE s.no = ").arg(w.table.No)
	if w.c.postgres() {
		s.add(" FOR SHARE OF s")
	}
	active := 0
	if err := w.each(s, func(rows *sql.Rows) error { return rows.Scan(&active, &w.head) }); err != nil {
		return err
	}
	for _, r := range requests {
		if r.Table.Version == active {
			continue
		}
		now, err := w.c.opts.Tables(w.ctx, r.Table.No)
		switch {
		case err != nil:
			return err
		case now == nil || active == 0:
			r.err = problem(http.StatusNotFound, "the table was deleted")
			continue
		}
		w.table = now
		r.Push.Table = now
		if r.Op != Delete {
			r.elements, r.err = w.c.prepare(w.ctx, r.Push)
		}
	}
	if active == w.table.Version || len(open(requests)) == 0 {
		return nil
	}
	return busy("the schema of the table is being changed; send it again")
}

// suppress marks the elements that must not be stored. The Suppressor is
// asked once.
func (w *work) suppress(requests []*request) error {
	if w.c.opts.Suppressor == nil {
		return nil
	}
	var subjects []kedge.Subject
	var of []*element
	for _, r := range requests {
		for i := range r.elements {
			if e := &r.elements[i]; len(e.subject.Identifiers) > 0 {
				subjects, of = append(subjects, e.subject), append(of, e)
			}
		}
	}
	if len(subjects) == 0 {
		return nil
	}
	answers, err := w.c.opts.Suppressor.Suppressed(w.ctx, w.tx, subjects)
	if err != nil || len(answers) != len(subjects) {
		return unavailable(errors.Join(err, errors.New("the list of suppressed people cannot be read")))
	}
	for i := range answers {
		of[i].suppressed = answers[i]
	}
	return nil
}

// unavailable makes an error of another module one that a sender may wait for.
func unavailable(err error) error {
	return busyKind(&busyError{text: "a part of kedge that takes part in storing failed", err: err})
}

// takeNumbers returns the number before the first of n new ones. The row stays
// locked until the end, so numbers have no gaps and are in order of commit.
func (w *work) takeNumbers(n int) (before int64, err error) {
	s := w.sql("UPDATE ingest_head SET seq = seq + ").arg(n).add(" WHERE schema_no = ").arg(w.table.No).add(" RETURNING seq")
	err = w.each(s, func(rows *sql.Rows) error { return rows.Scan(&w.head) })
	return w.head - int64(n), err
}

// saveScopes writes how many live resources the scopes have now.
func (w *work) saveScopes(requests []*request, scopes map[string]*scope) error {
	for _, g := range slices.SortedFunc(maps.Values(scopes), func(a, b *scope) int { return strings.Compare(a.group, b.group) }) {
		bulk := slices.ContainsFunc(requests, func(r *request) bool { return r.Op == Bulk && r.GroupKey == g.group && r.err == nil })
		if !g.moved && !bulk {
			continue
		}
		column := "last_event_at"
		if bulk {
			column = "last_bulk_at"
		}
		s := w.sql("INSERT INTO ingest_scope (schema_no, group_key, live, ", column, ") VALUES ").row(w.table.No, g.group, g.delta, w.at).
			add(" ON CONFLICT (schema_no, group_key) DO UPDATE SET live = ingest_scope.live + excluded.live, " + column + " = excluded." + column)
		if err := w.exec(s); err != nil {
			return err
		}
	}
	return nil
}
