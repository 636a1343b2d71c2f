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
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"

	codec "github.com/kedge-sync/kedge/connectors/odata/batch"
)

// opBatch is the operation of finding out whether there are batches.
const opBatch = "odata.Batch"

// maxAnswerPages is how many links of one JSON answer are followed.
const maxAnswerPages = 1000

// batchFormat settles in which form n requests about e go to the service
// together; 0 means that they do not.
func (d *Driver) batchFormat(ctx context.Context, m *metadata, e *entity, n int) (codec.Format, error) {
	switch e.opts.Batch {
	case none:
		return 0, nil
	case multipart:
		return codec.Multipart, nil
	case asJSON:
		return codec.JSON, nil
	}
	if n < 2 {
		return 0, nil
	}
	format := d.announcedFormat(m)
	known := d.findings.get(ctx, m.model.Hash, wholeService, d.env.Now())
	switch {
	case format == 0 || known.Batch == failed:
		return 0, nil
	case known.Batch == found:
		return format, nil
	}
	why, err := d.testBatch(ctx, e, format)
	if err != nil {
		return 0, err
	}
	result := found
	if why != "" {
		result, format = failed, 0
	}
	d.findings.update(ctx, m.model.Hash, wholeService, d.env.Now(), func(f *finding) { f.Batch, f.BatchWhy = result, why })
	return format, nil
}

// announcedFormat is the form of batches that the metadata speaks for.
func (d *Driver) announcedFormat(m *metadata) codec.Format {
	support := m.model.Batch
	asked := func(media string) bool {
		return slices.ContainsFunc(support.Formats, func(f string) bool { return strings.HasPrefix(strings.ToLower(f), media) })
	}
	switch {
	case support.Supported == csdl.No:
		return 0
	case asked("application/json"):
		return codec.JSON
	case asked("multipart/mixed"):
		return codec.Multipart
	case m.model.Version == "4.01" && d.cfg.MaxVersion == "4.01":
		return codec.JSON
	}
	return codec.Multipart
}

// testBatch reads one row by a batch. why tells what is wrong, "" if nothing is.
func (d *Driver) testBatch(ctx context.Context, e *entity, format codec.Format) (why string, err error) {
	company, err := d.companyPath(ctx)
	if err != nil {
		return "", err
	}
	w := &writer{d: d, e: e, company: company}
	var q query
	e.selection(&q, nil)
	q.add("$top", "1")
	r := &request{method: http.MethodGet, path: w.setPath("", &q), effect: httpclient.Read}
	answer, a := d.sendBatch(ctx, opBatch, format, []*request{r}, false, d.plainJSON.Load())
	if a != nil && a.status == 0 {
		switch kedge.KindOf(a.err) {
		case kedge.Invalid, kedge.TooLarge:
			return "the answer to a batch cannot be read", nil
		}
		return "", a.err
	}
	if a != nil {
		switch e := w.fault(r, a); e.Kind {
		case kedge.Transient, kedge.Throttled, kedge.Unauthorized:
			return "", e
		}
		return "the service has no batches", nil
	}
	one := answer.Single(1, false)[0]
	if one.State != codec.Answered || one.Part.Status != http.StatusOK {
		return "a batch with one read did not answer it", nil
	}
	return "", nil
}

// sendBatch sends requests as one batch, which has the effect of the worst of
// them. Of an answer that was cut, the whole parts are returned. A reply tells
// why there is no answer.
func (d *Driver) sendBatch(ctx context.Context, op string, format codec.Format, requests []*request, atomic, plain bool) (*codec.Answer, *reply) {
	parts := make([]codec.Request, len(requests))
	effect := httpclient.Read
	sum := sha256.New()
	for i, r := range requests {
		parts[i] = codec.Request{Method: r.method, URL: r.path, Header: d.headerOf(r, plain), Body: r.content(plain)}
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
	d.followBatch(ctx, op, answer)
	return answer, nil
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

// sendGroup sends the writes of tasks as one group.
func (w *writer) sendGroup(tasks []*task) {
	if len(tasks) < len(w.tasks) { // one was refused already
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
