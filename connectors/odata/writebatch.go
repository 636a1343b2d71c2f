package odata

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

// opBatch is the operation of finding out whether there are batches.
const opBatch = "odata.Batch"

// maxAnswerPages is how many links of one JSON answer are followed.
const maxAnswerPages = 1000

// sendBatch sends requests as one batch, which has the effect of the worst of
// them. Of an answer that was cut, the whole parts are returned. A reply tells
// why there is no answer.
func (d *Driver) sendBatch(ctx context.Context, op string, format codec.Format, requests []*request, atomic, plain bool) (*codec.Answer, *reply) {
	parts := make([]codec.Request, len(requests))
	effect := httpclient.Read
	sum := sha256.New()
	for i, r := range requests {
		parts[i] = codec.Request{Method: r.method, URL: r.path, Header: d.headerOf(r, plain), Body: r.content(plain)}
		if d.preset.rootedBatch {
			parts[i].URL = "/" + r.path
		}
		effect = max(effect, r.effect)
		sum.Write(parts[i].Body)
	}
	contentType, body := format.Encode(parts, atomic, hex.EncodeToString(sum.Sum(nil)[:16])) // no body holds its own hash
	h := d.header.Clone()
	h.Set("Accept", format.Accept())
	h.Set("Content-Type", contentType)
	h.Set("OData-Version", "4.0")
	h.Set("OData-MaxVersion", d.cfg.MaxVersion)
	h.Set("Prefer", "odata.continue-on-error")
	if atomic && d.cfg.Flavor == "businesscentral" {
		h.Set("Isolation", "snapshot")
	}
	var answer *codec.Answer
	a := d.exchange(ctx, httpclient.Request{
		Op: op, Method: http.MethodPost, URL: d.root.JoinPath("$batch"), Header: h, Body: body, Effect: effect, MaxBytes: int64(d.cfg.MaxPageBytes),
	}, func(resp *httpclient.Response) (err error) {
		if answer, err = codec.Read(resp.Header.Get("Content-Type"), string(resp.Body)); err == nil && answer.Cut {
			err = &kedge.Error{Kind: kedge.Transient, Err: errors.New("the answer to the batch ends in its middle")}
		}
		return err
	})
	if answer == nil || a.status >= 400 || a.status == 0 && !answer.Cut {
		return nil, a
	}
	answer.GoesOn = goesOn(a.header)
	d.followBatch(ctx, op, answer)
	return answer, nil
}

// goesOn reports whether an answer says that the service goes on after errors.
func goesOn(h http.Header) bool {
	applied := strings.ToLower(strings.Join(h.Values("Preference-Applied"), ","))
	return strings.Contains(applied, "continue-on-error") && !strings.Contains(applied, "continue-on-error=false")
}

// followBatch gets the rest of a JSON answer that comes in pages.
func (d *Driver) followBatch(ctx context.Context, op string, answer *codec.Answer) {
	for range maxAnswerPages {
		link := answer.NextLink
		if link == "" || answer.Cut {
			return
		}
		answer.NextLink, answer.Cut = "", true // until the next page is there
		u, err := resolve(d.root.JoinPath("$batch"), link)
		if err != nil {
			return
		}
		var page *codec.Answer
		err = d.get(ctx, call{op: op, url: u}, func(resp *httpclient.Response) (err error) {
			page, err = codec.Read(resp.Header.Get("Content-Type"), string(resp.Body))
			return err
		})
		if err != nil {
			return
		}
		answer.Parts = append(answer.Parts, page.Parts...)
		answer.NextLink, answer.Cut = page.NextLink, page.Cut
	}
	answer.Cut = true
}

// sendBatches sends the requests of tasks in batches.
func (w *writer) sendBatches(tasks []*task) {
	for chunk := range slices.Chunk(tasks, w.e.opts.BatchSize) {
		if w.stopped != nil {
			return
		}
		if w.format == 0 || len(chunk) == 1 {
			w.sendSingles(chunk)
			continue
		}
		answer, a := w.d.sendBatch(w.ctx, opWrite, w.format, requestsOf(chunk), false, anyPlain(chunk))
		if a != nil {
			w.batchFailed(chunk, a)
			return
		}
		used := w.format
		for i, m := range answer.Single(len(chunk), used == codec.Multipart) {
			switch t := chunk[i]; m.State {
			case codec.Answered:
				t.take(replyOf(m.Part))
			case codec.Skipped:
				w.format = 0 // it does not go on after an error: one by one is faster than batch after batch
			default:
				t.unanswered(errNoWord)
			}
		}
	}
}

func requestsOf(tasks []*task) []*request {
	requests := make([]*request, len(tasks))
	for i, t := range tasks {
		requests[i] = t.req
	}
	return requests
}

func anyPlain(tasks []*task) bool {
	return slices.ContainsFunc(tasks, (*task).isPlain)
}

func replyOf(p codec.Part) *reply {
	return &reply{status: p.Status, header: p.Header, body: p.Body, part: true}
}

// unanswered ends a change whose request may have been executed or not. What
// can be repeated without harm is for the caller to repeat.
func (t *task) unanswered(err error) {
	if t.req.effect == httpclient.Once {
		t.lose(err)
		return
	}
	t.reject(kedge.Transient, err, "")
}

// batchFailed ends a batch that has no answer, or was refused as a whole.
func (w *writer) batchFailed(tasks []*task, a *reply) {
	whole := &request{method: http.MethodPost, effect: httpclient.Idempotent}
	for _, t := range tasks {
		whole.effect = max(whole.effect, t.req.effect)
	}
	var err error = named(call{op: opWrite, entity: w.e.info.Name}, a.err, wire.ErrorBody{})
	if a.status != 0 {
		fault := w.fault(whole, a)
		fault.Err = &explained{text: "the batch was refused as a whole", err: fault.Err}
		if a.status == http.StatusBadRequest && !tasks[0].atomic {
			// Too many requests for this service, or one that it cannot even parse:
			// smaller batches get through, or find it.
			fault.Kind = kedge.TooLarge
		}
		err = fault
	}
	if kedge.KindOf(err) == kedge.OutcomeUnknown {
		for _, t := range tasks {
			t.lose(err)
		}
	}
	w.stop(err)
}
