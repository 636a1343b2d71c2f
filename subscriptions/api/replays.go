package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpapi"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// replayPrefix begins the ids of replays.
const replayPrefix = "rpl_"

// startReplay serves "POST /subscriptions/{id}/replay".
func (c *call) startReplay() error {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return err
	}
	var in struct {
		Messages []string   `json:"messages"`
		State    string     `json:"state"`
		Gap      int64      `json:"gap"`
		From     *time.Time `json:"from"`
		To       *time.Time `json:"to"`
		Force    bool       `json:"force"`
	}
	if err := httpapi.ReadJSON(c.w, c.r, spec.MaxBody, &in); err != nil {
		return err
	}
	if in.State != "" && in.State != "dead" {
		return &httpapi.Problem{Status: http.StatusUnprocessableEntity, Detail: "the body cannot be accepted",
			Errors: []httpapi.FieldError{{Pointer: "/state", Detail: "must be dead"}}}
	}
	id, err := c.service.StartReplay(c.r.Context(), c.by, c.id(),
		subscriptions.ReplayQuery{Messages: in.Messages, Dead: in.State == "dead", Gap: in.Gap, From: in.From, To: in.To, Force: in.Force})
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(c.w, http.StatusAccepted, map[string]string{"replay": replayPrefix + strconv.FormatInt(id, 10)})
}

// replayID returns the number of a replay.
func (c *call) replayID() (int64, error) {
	if _, err := httpapi.OnlyParams(c.r); err != nil {
		return 0, err
	}
	text, ok := strings.CutPrefix(mux.Vars(c.r)["rid"], replayPrefix)
	id, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return 0, &kedge.Error{Kind: kedge.NotFound, Err: errNoReplay}
	}
	return id, nil
}

// getReplay serves "GET /subscriptions/{id}/replays/{rid}".
func (c *call) getReplay() error {
	id, err := c.replayID()
	if err != nil {
		return err
	}
	r, err := c.service.GetReplay(c.r.Context(), c.by, c.id(), id)
	if err != nil {
		return err
	}
	return c.answerReplay(r)
}

func (c *call) answerReplay(r *subscriptions.Replay) error {
	return httpapi.WriteJSON(c.w, http.StatusOK, map[string]any{
		"replay": replayPrefix + strconv.FormatInt(r.ID, 10), "state": r.State, "matched": r.Matched, "queued": r.Queued, "done": r.Done,
	})
}

// cancelReplay serves "DELETE /subscriptions/{id}/replays/{rid}".
func (c *call) cancelReplay() error {
	id, err := c.replayID()
	if err != nil {
		return err
	}
	if err := c.service.CancelReplay(c.r.Context(), c.by, c.id(), id); err != nil {
		return err
	}
	r, err := c.service.GetReplay(c.r.Context(), c.by, c.id(), id)
	if err != nil {
		return err
	}
	return c.answerReplay(r)
}
