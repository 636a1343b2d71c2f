package odata

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// create inserts the record. On the ladder of an upsert, a record that turns
// out to be there is updated.
func (t *task) create(onLadder bool) {
	w := t.w
	if !w.e.info.Insert {
		t.reject(kedge.Unsupported, errors.New("the service does not insert records of this entity"), "")
		return
	}
	members, err := w.members(t.change, true)
	if err != nil {
		t.reject(kedge.Invalid, err, "")
		return
	}
	r := &request{method: http.MethodPost, path: w.setPath("", nil), effect: httpclient.Once, prefer: "return=minimal",
		body: func(plain bool) []byte { return encodeBody(members, plain) }}
	if len(w.e.made) > 0 || t.key == "" || t.wantsStored() {
		r.prefer = "return=representation"
	}
	if r.repeat = w.repeatable(t.change.IdempotencyKey); r.repeat.id != "" {
		r.effect = httpclient.Idempotent
	}
	t.send(r, func(a *reply) {
		said := wire.ReadError(a.body)
		w.d.sentFirst.settle(r, a)
		switch {
		case a.ok():
			t.created(a)
		case rejectsRepeat(r, a):
			t.rejectedRepeat(r)
		case t.key != "" && (onLadder && saysItExists(a.status) || a.status == http.StatusInternalServerError && said.OData):
			t.isThere(r, a, onLadder)
		default:
			t.refuse(r, a)
		}
	})
}

// saysItExists reports whether the status may mean that the key is taken:
// services are not of one mind about it.
func saysItExists(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// isThere asks for the record after an insert of it was refused by a.
func (t *task) isThere(r *request, a *reply, onLadder bool) {
	t.look(func(*wire.Page, string) {
		if onLadder {
			t.patch(t.anyMatch(), t.missing)
			return
		}
		e := t.w.fault(r, a)
		t.reject(kedge.Conflict, e.Err, remoteText(wire.ReadError(a.body)))
	}, func() {
		e := t.w.fault(r, a)
		if e.Kind == kedge.OutcomeUnknown { // it is not there, so nothing was done
			e.Kind = kedge.Transient
		}
		t.reject(e.Kind, e.Err, remoteText(wire.ReadError(a.body)))
	})
}

// created ends an insert that was done.
func (t *task) created(a *reply) {
	w := t.w
	result := connectors.Result{State: connectors.Inserted, Version: a.header.Get("ETag")}
	if result.Version != "" {
		w.learn(w.e.info.Name, func(f *finding) { f.ETag = found })
	}
	if strings.TrimSpace(a.body) != "" {
		t.readRow(a.body, &result)
		t.readStored(a.body, &result)
	}
	for _, name := range []string{"OData-EntityId", "Location"} {
		if id := a.header.Get(name); result.Key == "" && id != "" {
			result.Key = w.e.keyIn(id)
		}
	}
	if result.Key == "" {
		result.Key = t.key
	}
	if result.Key == "" {
		t.lose(errNoKey)
		return
	}
	t.key = result.Key
	if len(w.e.made) == 0 || result.Values != nil || t.atomic {
		t.finish(result)
		return
	}
	// The service did not send the record back.
	t.finish(result)
	t.done = true
	t.get(w.e.made, func(a *reply) {
		t.readRow(a.body, &result)
		t.finish(result)
	}, t.ended)
}

// keyIn returns the key in a link to a record of e, or "". Its host does not
// matter, but its set does: the key of another set would be a wrong one.
func (e *entity) keyIn(link string) kedge.Key {
	path, _, _ := strings.Cut(link, "?")
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, "(")
		if plain, err := url.PathUnescape(name); err == nil && plain == e.info.Name {
			key, _ := wire.ParseID(path, e.info.Name, e.key)
			return key
		}
	}
	return ""
}

// readRow takes key, version and the values that the service made out of the
// record that it sent back.
func (t *task) readRow(body string, result *connectors.Result) {
	row, err := t.w.rows.Row(body)
	if err != nil {
		return
	}
	for _, bad := range row.Rejected {
		result.Key = bad.Key
	}
	for i := range row.Records {
		r := &row.Records[i]
		result.Key = r.Key
		setDefault(&result.Version, r.Version)
		for j, name := range r.Fields.Names() {
			if v := r.Values[j]; t.wasMade(name, v) {
				result.Values = append(result.Values, connectors.Named{Name: name, Value: v})
			}
		}
	}
}

// wantsStored reports whether the answer shall tell what is stored.
func (t *task) wantsStored() bool {
	return t.change.Return && t.w.stored != nil && slices.Equal(t.w.stored.Fields().Names(), t.change.Fields.Names())
}

// readStored takes the record as it is stored out of an answer that has all of
// its fields.
func (t *task) readStored(body string, result *connectors.Result) {
	if !t.wantsStored() || strings.TrimSpace(body) == "" {
		return
	}
	page, err := t.w.stored.Row(body)
	if err != nil || len(page.Records) != 1 {
		return
	}
	r := &page.Records[0]
	if t.key != "" && r.Key != t.key || slices.ContainsFunc(r.Values, kedge.Value.IsMissing) {
		return
	}
	setDefault(&r.Version, result.Version)
	result.Stored = r
}

// wasMade reports whether the value of a field was made by the service.
func (t *task) wasMade(name string, v kedge.Value) bool {
	if v.IsMissing() || v.IsNull() {
		return false
	}
	i := t.change.Fields.Index(name)
	return i < 0 || t.change.Values[i].IsMissing() || slices.Contains(t.w.e.made, name)
}

// upsertByMatch inserts or updates a record whose key the service makes. It is
// found by an alternate key, or by the fields that are configured for that.
func (t *task) upsertByMatch() {
	w := t.w
	if t.key != "" { // it was written before
		t.patch(t.anyMatch(), t.missing)
		return
	}
	fields, texts, declared := w.e.match(t.change)
	switch {
	case len(fields) == 0:
		t.reject(kedge.Invalid, errors.New("the service makes the key, and no alternateKey is configured whose fields all have a value"), "")
	case declared:
		t.matchAlternate(fields, texts)
	default:
		t.matchFilter(fields, texts)
	}
}

// match returns the fields that find a record whose key is not known, with the
// texts of their values, and whether the service declares them as a key.
func (e *entity) match(c *kedge.Change) (fields []wire.Column, texts []string, declared bool) {
	keys := e.info.AlternateKeys
	if len(e.opts.AlternateKey) > 0 {
		declared = slices.ContainsFunc(keys, func(k []string) bool { return slices.Equal(k, e.opts.AlternateKey) })
		keys = [][]string{e.opts.AlternateKey}
	} else {
		declared = true
	}
	for _, key := range keys {
		fields, texts = nil, nil
		for _, name := range key {
			if i := c.Fields.Index(name); i >= 0 && !c.Values[i].IsEmpty() {
				fields, texts = append(fields, e.columns[name]), append(texts, c.Values[i].Text())
			}
		}
		if len(fields) == len(key) {
			return fields, texts, declared
		}
	}
	return nil, nil, false
}

// matchAlternate asks for the record by its alternate key, "Set(name='x')".
func (t *task) matchAlternate(fields []wire.Column, texts []string) {
	var q query
	t.w.e.selection(&q, nil)
	r := &request{method: http.MethodGet, path: t.w.setPath(namedPredicate(fields, texts), &q), effect: httpclient.Read}
	t.send(r, func(a *reply) {
		switch {
		case a.ok():
			t.matched(a, t.w.keys.Row)
		case a.gone():
			t.create(false)
		case a.status == http.StatusBadRequest || a.status == http.StatusNotImplemented || a.status == http.StatusMethodNotAllowed:
			t.matchFilter(fields, texts) // declared, but not understood
		default:
			t.refuse(r, a)
		}
	})
}

// namedPredicate writes an alternate key, which has names also if it has one part.
func namedPredicate(fields []wire.Column, texts []string) string {
	parts := make([]string, len(fields))
	for i := range fields {
		parts[i] = wire.Escape(fields[i].Path) + "=" + wire.Escape(wire.Literal(&fields[i], texts[i]))
	}
	return "(" + strings.Join(parts, ",") + ")"
}

// matchFilter looks the record up with a filter.
func (t *task) matchFilter(fields []wire.Column, texts []string) {
	condition := equals(fields, texts)
	var q query
	t.w.e.selection(&q, nil)
	q.add("$filter", condition)
	q.add("$top", "2")
	r := &request{method: http.MethodGet, path: t.w.setPath("", &q), effect: httpclient.Read}
	t.send(r, func(a *reply) {
		if !a.ok() {
			t.refuse(r, a)
			return
		}
		t.matched(a, func(body string) (*wire.Page, error) {
			page, err := t.w.keys.Decode(body, 2)
			if err == nil && page.Rows == 0 && page.NextLink != "" { // an empty page with more behind it
				read := &read{d: t.w.d, m: t.w.m, e: t.w.e, size: 2}
				return read.ask(t.w.ctx, condition, "", 2)
			}
			return page, err
		})
	})
}

// matched goes on with the records that were found: none, one, or too many.
func (t *task) matched(a *reply, decode func(string) (*wire.Page, error)) {
	page, err := decode(a.body)
	switch {
	case err != nil:
		t.takeError(err)
		t.ended()
	case page.Rows > 1 || len(page.Rejected) > 0:
		t.reject(kedge.Invalid, errors.New(strconv.Itoa(max(page.Rows, 1))+" records match the alternate key"), "")
	case len(page.Records) == 1:
		t.key = page.Records[0].Key
		t.patch(t.anyMatch(), t.missing)
	default:
		t.create(false)
	}
}
