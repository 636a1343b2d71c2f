package command

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/sqllist"
	"github.com/kedge-sync/kedge/syncer"
)

func (p *api) recordRoutes() []route {
	return []route{
		{"GET", "/transactions", p.listTransactions},
		{"GET", "/transactions/{id}", p.getTransaction},
		{"POST", "/transactions/retry", p.changeTransactions((*syncer.Syncer).RetryTransactions, "retried")},
		{"POST", "/transactions/archive", p.changeTransactions((*syncer.Syncer).ArchiveTransactions, "archived")},
		{"GET", "/conflicts", p.listConflicts},
		{"GET", "/conflicts/{id}", p.getConflict},
		{"POST", "/conflicts/{id}/resolve", p.resolveConflict},
		{"GET", "/quarantine", p.listQuarantine},
		{"GET", "/quarantine/{id}", p.getQuarantine},
		{"POST", "/quarantine/retry", p.retryQuarantine},
		{"POST", "/quarantine/drop", p.dropQuarantine},
		{"GET", "/deletes", p.listDeletes},
		{"POST", "/deletes/discard", p.discardDeletes},
	}
}

func (p *api) listTransactions(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.Transaction, string, error) {
		return c.syncer.TransactionPage(c.ctx(), q)
	})
}

// missing is the error for an id in the path that there is not.
func missing(what, id string) error {
	return &kedge.Error{Kind: kedge.NotFound, Err: fmt.Errorf("there is no %s %s", what, id)}
}

func (p *api) getTransaction(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	id := c.name("id")
	rows, err := c.syncer.Transactions(c.ctx(), syncer.TransactionQuery{IDs: []string{id}})
	if err == nil && len(rows) == 0 {
		err = missing("transaction", id)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, transactionJSON(rows[0]))
}

// A choice names records by id, or all of them.
type choice struct {
	IDs         []string `json:"ids"`
	All         bool     `json:"all"`
	AllFailed   bool     `json:"allFailed"`
	Integration string   `json:"integration"`
	Entity      string   `json:"entity"`
}

// most is how many ids one call may name.
const most = 1000

// check refuses a choice of both or neither, and of too many.
func (ch *choice) check(all bool, name string) error {
	bad := func(pointer, text string) error {
		return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "the choice is not accepted", Errors: []httpapi.FieldError{{Pointer: pointer, Detail: text}}}
	}
	switch {
	case all == (len(ch.IDs) > 0):
		return bad("", "give either ids or "+name+": true")
	case len(ch.IDs) > most:
		return bad("/ids", fmt.Sprintf("at most %d", most))
	case !all && ch.Integration != "":
		return bad("/integration", "goes with "+name)
	case !all && ch.Entity != "":
		return bad("/entity", "goes with "+name)
	}
	return nil
}

func (p *api) changeTransactions(change func(*syncer.Syncer, context.Context, syncer.TransactionChoice, string) (int, error), done string) func(*call) error {
	return func(c *call) error {
		var in choice
		if err := c.body(&in); err != nil {
			return err
		}
		if err := in.check(in.AllFailed, "allFailed"); err != nil {
			return err
		}
		if err := c.app.known(c.ctx(), in.Integration); err != nil {
			return asBody(err)
		}
		n, err := change(c.syncer, c.ctx(), syncer.TransactionChoice{IDs: in.IDs, AllFailed: in.AllFailed, Integration: in.Integration, Entity: in.Entity}, c.by())
		if err == nil && n == 0 && !in.AllFailed {
			err = &kedge.Error{Kind: kedge.Conflict, Err: errNoTransaction}
		}
		return c.answer(map[string]int{done: n}, err)
	}
}

func (p *api) listConflicts(c *call) error {
	return list(c, func(q sqllist.Query, params url.Values) ([]*syncer.Conflict, string, error) {
		all, err := flag(params, "all")
		if err != nil {
			return nil, "", err
		}
		return c.syncer.ConflictPage(c.ctx(), all, q)
	}, "all")
}

func (p *api) getConflict(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	id := c.name("id")
	found, err := c.syncer.Conflicts(c.ctx(), syncer.ConflictQuery{IDs: []string{id}})
	if err == nil && len(found) == 0 {
		err = missing("conflict", id)
	}
	if err != nil {
		return err
	}
	data, err := conflictJSON(found[0])
	return c.answer(data, err)
}

func (p *api) resolveConflict(c *call) error {
	var in struct {
		Take syncer.Take       `json:"take"`
		Set  map[string]string `json:"set"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	how := syncer.Resolution{Take: in.Take, Set: in.Set, By: c.by()}
	if err := checkResolution(how, "take", "set"); err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, remoteTime)
	sends, err := c.syncer.ResolveConflict(c.ctx(), c.name("id"), how)
	return c.answer(map[string]bool{"sends": sends}, err)
}

func (p *api) listQuarantine(c *call) error {
	return list(c, func(q sqllist.Query, params url.Values) ([]syncer.QuarantineRow, string, error) {
		all, err := flag(params, "all")
		if err != nil {
			return nil, "", err
		}
		return c.syncer.QuarantinePage(c.ctx(), all, q)
	}, "all")
}

func (p *api) getQuarantine(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	id := c.name("id")
	rows, err := c.syncer.Quarantine(c.ctx(), syncer.QuarantineQuery{IDs: []string{id}})
	if err == nil && len(rows) == 0 {
		err = missing("quarantined record", id)
	}
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, quarantineJSON(rows[0]))
}

// retryQuarantine begins a run for each integration that has chosen records.
func (p *api) retryQuarantine(c *call) error {
	var in choice
	if err := c.body(&in); err != nil {
		return err
	}
	if err := in.check(in.All, "all"); err != nil {
		return err
	}
	if err := c.app.known(c.ctx(), in.Integration); err != nil {
		return asBody(err)
	}
	chosen, err := c.syncer.QuarantinedIn(c.ctx(), in.IDs, in.Integration)
	if err == nil && len(chosen) == 0 {
		err = &kedge.Error{Kind: kedge.Conflict, Err: errNotOpen}
	}
	if err != nil {
		return err
	}
	runs, uploads := []startedRun{}, 0
	for _, integration := range slices.Sorted(maps.Keys(chosen)) {
		if err := c.app.unread[integration]; err != nil {
			return err
		}
		n, ids, err := c.syncer.RetryUploads(c.ctx(), integration, chosen[integration], c.by())
		if err != nil {
			return err
		}
		if uploads += n; len(ids) == 0 {
			continue
		}
		req := syncer.Request{Integration: integration, Op: syncer.Retry, Trigger: "api", By: c.by(), Quarantine: ids}
		if in.Entity != "" {
			req.Entities = []string{in.Entity}
		}
		id, early, err := p.begin(c, req)
		if err != nil {
			return err
		}
		if early != nil {
			return notBegun(early, syncer.Reset{})
		}
		runs = append(runs, startedRun{ID: id, Integration: integration, Op: syncer.Retry, State: syncer.Running})
	}
	return c.json(http.StatusAccepted, map[string]any{"runs": runs, "uploads": uploads})
}

func (p *api) dropQuarantine(c *call) error {
	var in struct {
		IDs []string `json:"ids"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if err := (&choice{IDs: in.IDs}).check(false, "ids"); err != nil {
		return err
	}
	n, err := c.syncer.DropQuarantine(c.ctx(), in.IDs, c.by())
	if err == nil && n == 0 {
		err = &kedge.Error{Kind: kedge.Conflict, Err: errNotOpen}
	}
	return c.answer(map[string]int64{"dropped": n}, err)
}

func (p *api) listDeletes(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.PendingDelete, string, error) {
		return c.syncer.DeletePage(c.ctx(), q)
	})
}

func (p *api) discardDeletes(c *call) error {
	var in struct {
		Integration string `json:"integration"`
	}
	if err := c.body(&in); err != nil {
		return err
	}
	if in.Integration == "" {
		return usagef("integration: missing; name the one whose waiting deletes are taken back")
	}
	if err := c.app.known(c.ctx(), in.Integration); err != nil {
		return asBody(err)
	}
	n, err := c.syncer.DiscardDeletes(c.ctx(), in.Integration, c.by())
	return c.answer(map[string]int64{"discarded": n}, err)
}
