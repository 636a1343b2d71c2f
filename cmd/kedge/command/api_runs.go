package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/internal/sqllist"
	"github.com/kedge-sync/kedge/syncer"
)

func (p *api) runRoutes() []route {
	return []route{
		{"POST", "/integrations/{name}/runs", p.startRun},
		{"GET", "/runs", p.listRuns},
		{"GET", "/runs/{id}", p.getRun},
		{"DELETE", "/runs/{id}", p.cancelRun},
		{"GET", "/runs/{id}/progress", p.followRun},
		{"GET", "/log", p.listLog},
	}
}

// A runBody asks for a run.
type runBody struct {
	Op           syncer.Op `json:"op"`
	PlanOf       syncer.Op `json:"planOf"` // plan: of an import (default), an export or a sync
	Entities     []string  `json:"entities"`
	Full         bool      `json:"full"`
	ResetLocal   bool      `json:"resetLocal"`
	ForceDeletes bool      `json:"forceDeletes"`
	IgnoreKey    bool      `json:"ignoreKey"` // plan
	Confirm      bool      `json:"confirm"`   // a reset may delete local rows
	Limit        *int      `json:"limit"`     // plan: decisions to answer with; default 100, at most 500
}

func (b *runBody) check() error {
	bad := func(pointer, format string, args ...any) error {
		return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "the run is not accepted", Errors: []httpapi.FieldError{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}}}
	}
	if b.Op == "" {
		b.Op = syncer.Sync
	}
	plan := b.Op == syncer.Plan
	ops := []syncer.Op{syncer.Sync, syncer.Import, syncer.Export}
	switch {
	case !plan && !slices.Contains(ops, b.Op):
		return bad("/op", "must be sync, import, export or plan")
	case !plan && b.PlanOf != "":
		return bad("/planOf", "goes with op plan")
	case plan && b.PlanOf != "" && !slices.Contains(ops, b.PlanOf):
		return bad("/planOf", "must be sync, import or export")
	case b.Op != syncer.Sync && b.ResetLocal:
		return bad("/resetLocal", "goes with op sync")
	case b.Op != syncer.Sync && b.Full:
		return bad("/full", "goes with op sync; imports and exports read everything anyway")
	case b.Op != syncer.Sync && b.ForceDeletes:
		return bad("/forceDeletes", "goes with op sync; nothing else deletes")
	case !plan && b.IgnoreKey:
		return bad("/ignoreKey", "goes with op plan")
	case !plan && b.Limit != nil:
		return bad("/limit", "goes with op plan")
	case b.Limit != nil && (*b.Limit < 1 || *b.Limit > httpapi.MaxLimit):
		return bad("/limit", "must be from 1 to %d", httpapi.MaxLimit)
	}
	return nil
}

func (p *api) startRun(c *call) error {
	var in runBody
	if err := c.body(&in); err != nil {
		return err
	}
	if err := in.check(); err != nil {
		return err
	}
	name := c.name("name")
	if err := c.app.knownEntities(c.ctx(), name, in.Entities); err != nil {
		return err
	}
	req := syncer.Request{
		Integration: name, Op: in.Op, Entities: in.Entities, Trigger: "api", By: c.by(),
		Full: in.Full, ForceDeletes: in.ForceDeletes, IgnoreKey: in.IgnoreKey, ResetLocal: in.ResetLocal,
	}
	if in.Op == syncer.Plan {
		return p.plan(c, req, in)
	}
	var asked syncer.Reset
	req.Confirm = func(r syncer.Reset) error {
		if asked = r; in.Confirm {
			return nil
		}
		return errors.New(confirmText(r))
	}
	id, early, err := p.begin(c, req)
	if err != nil {
		return err
	}
	if early != nil {
		return notBegun(early, asked)
	}
	c.ResponseWriter.Header().Set("Location", "/api/v1/runs/"+id)
	return c.json(http.StatusAccepted, startedRun{ID: id, Integration: name, Op: in.Op, State: syncer.Running})
}

// begin runs with the syncer of the server, which waits for systems that are
// down as long as commands do.
func (p *api) begin(c *call, req syncer.Request) (string, *outcome, error) {
	s, err := p.app.Load().sync(c.ctx())
	if err != nil {
		return "", nil, err
	}
	return p.runs.start(c.ctx(), s, req)
}

// A startedRun is a run that just began.
type startedRun struct {
	ID          string          `json:"id"`
	Integration string          `json:"integration"`
	Op          syncer.Op       `json:"op"`
	State       syncer.RunState `json:"state"`
}

func confirmText(r syncer.Reset) string {
	text := fmt.Sprintf("%d local rows would be deleted and replaced:", r.Rows())
	for _, e := range r.Entities {
		text += fmt.Sprintf(" %s (%d)", e.Table, e.Rows)
	}
	return text + "; send confirm: true to go on"
}

// notBegun is the error for a run that did not begin.
func notBegun(o *outcome, asked syncer.Reset) error {
	switch {
	case o.err != nil:
		return o.err
	case o.res.State == syncer.Skipped:
		return &httpapi.Problem{Status: http.StatusConflict, Type: "run_active", Detail: o.res.Message}
	case o.res.State == syncer.Stopped && len(asked.Entities) > 0:
		return &httpapi.Problem{Status: http.StatusConflict, Type: "confirmation_required", Detail: confirmText(asked)}
	}
	return &kedge.Error{Kind: kedge.Conflict, Err: errors.New(o.res.Message)}
}

// plan answers with what a run would do.
func (p *api) plan(c *call, req syncer.Request, in runBody) error {
	httpapi.Extend(c.ResponseWriter, remoteTime)
	limit := httpapi.DefaultLimit
	if in.Limit != nil {
		limit = *in.Limit
	}
	if req.PlanOf = in.PlanOf; req.PlanOf == "" {
		req.PlanOf = syncer.Import
	}
	planned, err := preview(c.ctx(), c.syncer, req, limit)
	return c.answer(planned, remote(err))
}

func (p *api) listRuns(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.RunInfo, string, error) {
		return c.syncer.RunPage(c.ctx(), q)
	})
}

func (p *api) getRun(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	run, err := c.syncer.RunOf(c.ctx(), c.name("id"))
	if err == nil && run.State != syncer.Running {
		p.runs.settle(c.ctx(), run.ID)
	}
	return c.answer(run, err)
}

func (p *api) cancelRun(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	id := c.name("id")
	if err := c.syncer.Cancel(c.ctx(), id); err != nil {
		if _, known := c.syncer.RunOf(c.ctx(), id); known == nil && kedge.KindOf(err) == kedge.NotFound {
			return &kedge.Error{Kind: kedge.Conflict, Err: errors.New("the run has ended")}
		}
		return err
	}
	p.runs.cancel(id)
	return c.json(http.StatusAccepted, map[string]string{"id": id})
}

func (p *api) listLog(c *call) error {
	return list(c, func(q sqllist.Query, _ url.Values) ([]syncer.LogRow, string, error) {
		return c.syncer.LogPage(c.ctx(), q)
	})
}

// lookEvery is how often the state of a run is read that is followed: it may
// run in another process.
const lookEvery = time.Second

// progressEvent is how far an entity is, as an event says.
type progressEvent struct {
	Entity string  `json:"entity"`
	Mode   string  `json:"mode"`
	Rows   int64   `json:"rows"`
	Total  int64   `json:"total,omitempty"` // 0: not known
	Rate   float64 `json:"rate"`            // rows per second
	ETA    string  `json:"eta,omitempty"`
	Done   bool    `json:"done"`
}

// followRun sends server-sent events: "progress" for each entity that got on,
// and "end" with the run when it ended. Runs of other processes have no
// progress but an end.
func (p *api) followRun(c *call) error {
	if err := c.noParams(); err != nil {
		return err
	}
	run, err := c.syncer.RunOf(c.ctx(), c.name("id"))
	if err != nil {
		return err
	}
	httpapi.Extend(c.ResponseWriter, 0)
	h := c.ResponseWriter.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	sent := map[string]syncer.Progress{}
	for {
		states, changed := p.runs.look(run.ID)
		for _, entity := range slices.Sorted(maps.Keys(states)) {
			if now := states[entity]; now != sent[entity] {
				sent[entity] = now
				if !event(c.ResponseWriter, "progress", eventOf(now)) {
					return nil
				}
			}
		}
		if run, err = c.syncer.RunOf(c.ctx(), run.ID); err != nil {
			return nil // the client reads on by itself
		}
		if run.State != syncer.Running {
			p.runs.settle(c.ctx(), run.ID)
			event(c.ResponseWriter, "end", run)
			return nil
		}
		if !event(c.ResponseWriter, "", nil) {
			return nil
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-c.ctx().Done():
			return nil
		case <-httpapi.Stopping(c.ctx()):
			return nil
		}
	}
}

func eventOf(p syncer.Progress) progressEvent {
	e := progressEvent{Entity: p.Entity, Mode: p.Mode, Rows: p.Rows, Total: p.Total, Rate: p.Rate, Done: p.Done}
	if p.ETA > 0 {
		e.ETA = p.ETA.Round(time.Second).String()
	}
	return e
}

// event sends an event, or without a name a comment that keeps the connection
// open, and tells whether somebody takes it.
func event(w http.ResponseWriter, name string, data any) bool {
	var buf bytes.Buffer
	if name == "" {
		buf.WriteString(":\n\n")
	} else {
		text, err := json.Marshal(data)
		if err != nil {
			return false
		}
		fmt.Fprintf(&buf, "event: %s\ndata: %s\n\n", name, text)
	}
	if _, err := w.Write(buf.Bytes()); err != nil {
		return false
	}
	return http.NewResponseController(w).Flush() == nil
}
