package odata

import (
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/internal/httpclient"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

// sendGroup sends the writes of tasks as one group.
func (w *writer) sendGroup(tasks []*task) {
	if slices.ContainsFunc(w.results, func(r connectors.Result) bool { return r.State == connectors.Rejected }) {
		w.undo(tasks, -1)
		return
	}
	answer, a := w.d.sendBatch(w.ctx, opWrite, w.format, requestsOf(tasks), true, anyPlain(tasks))
	if a != nil {
		w.batchFailed(tasks, a)
		return
	}
	verdict, all, culprit, part := answer.Group(len(tasks))
	switch verdict {
	case codec.Done:
		for i, t := range tasks {
			t.take(replyOf(all[i].Part))
		}
	case codec.RolledBack:
		cause := replyOf(part)
		if cause.refusesFormat() && !anyPlain(tasks) {
			for _, t := range tasks {
				t.plain = true
			}
			return
		}
		w.rollBack(tasks, culprit, cause)
	default:
		for _, t := range tasks {
			t.lose(errNoWord)
		}
	}
}

// rollBack rejects the changes of a group that was undone. If nobody says which
// one failed, the cause is the error of all.
func (w *writer) rollBack(tasks []*task, culprit int, cause *reply) {
	for i, t := range tasks {
		if culprit < 0 || i == culprit {
			undone := *t.req
			undone.effect = httpclient.Idempotent // nothing was done, so nothing is unknown
			t.refuse(&undone, cause)
		}
	}
	w.undo(tasks, culprit)
}

// undo rejects the changes of a group but for the culprit.
func (w *writer) undo(tasks []*task, culprit int) {
	for i, t := range tasks {
		if i != culprit && t.req != nil {
			t.reject(kedge.Transient, errUndone, "")
		}
	}
}
