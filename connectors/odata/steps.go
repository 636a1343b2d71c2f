package odata

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// start settles the first request.
func (t *task) start() {
	c, e := t.change, t.w.e
	switch {
	case !e.allows(c.Op):
		t.reject(kedge.Unsupported, errors.New("the service does not "+c.Op.String()+" records of this entity"), "")
	case !validText(c):
		t.reject(kedge.Invalid, errors.New("a text is not valid UTF-8"), "")
	case c.Op == kedge.Insert:
		t.create(false)
	case c.Op == kedge.Delete:
		t.expecting(t.delete)
	case c.Op == kedge.Update || c.Version != "":
		t.expecting(func(ifMatch string) { t.patch(ifMatch, t.missing) })
	case e.serverKey || c.Key == "":
		t.upsertByMatch()
	case e.opts.Upsert == native && !e.holdsImmutable(c):
		t.patch("", t.missingOnLadder())
	case t.atomic: // a step up the ladder would undo the whole group
		t.look(func(row *wire.Page, _ string) { t.patch(t.anyMatch(), t.missing) }, func() { t.create(false) })
	default:
		t.patch(t.anyMatch(), t.missingOnLadder())
	}
}

// missingOnLadder goes on with an upsert whose record is not there.
func (t *task) missingOnLadder() func() {
	if t.atomic {
		return t.missing
	}
	return func() { t.create(true) }
}

// holdsImmutable reports whether c has values that an insert sends and an update
// does not: one request for both cannot be right then.
func (e *entity) holdsImmutable(c *kedge.Change) bool {
	for i, name := range c.Fields.Names() {
		if f := e.info.Field(name); f != nil && f.Immutable && !c.Values[i].IsMissing() && !slices.Contains(e.info.Key, name) {
			return true
		}
	}
	return false
}

// allows reports whether op can be done with records of e.
func (e *entity) allows(op kedge.Op) bool {
	switch op {
	case kedge.Insert:
		return e.info.Insert
	case kedge.Update:
		return e.info.Update
	case kedge.Upsert:
		return e.info.Upsert
	case kedge.Delete:
		return e.info.Delete
	}
	return false
}

// anyMatch is the If-Match of a change without an expected version: any record
// will do, but there must be one, so that nothing is created.
func (t *task) anyMatch() string {
	if t.w.e.opts.IfMatch == always {
		return "*"
	}
	return ""
}

// isETag reports whether a version is an ETag, and not the value of a version
// field (RFC 9110, 8.8.3). A line end in it would be a line of its own in a batch.
func isETag(version string) bool {
	return strings.HasSuffix(version, `"`) && (strings.HasPrefix(version, `"`) || strings.HasPrefix(version, `W/"`)) &&
		!strings.ContainsFunc(version, unicode.IsControl)
}

// expecting calls next with the If-Match that makes sure of the version which
// the record must have. Where the service cannot be told, the version is read
// just before.
func (t *task) expecting(next func(ifMatch string)) {
	v := t.change.Version
	switch {
	case t.atomic && t.change.Op == kedge.Delete: // a record that is not there would undo the group
	case v == "":
		next(t.anyMatch())
		return
	case isETag(v) && t.w.e.opts.IfMatch != never:
		next(v)
		return
	}
	t.look(func(row *wire.Page, etag string) {
		switch {
		case v != "" && etag != v && row.Last.Version != v:
			t.reject(kedge.Conflict, errStale, "")
		case v != "" && isETag(etag) && t.w.e.opts.IfMatch != never:
			next(etag)
		default:
			next(t.anyMatch())
		}
	}, t.missing)
}

// look reads key and version of the record.
func (t *task) look(found func(row *wire.Page, etag string), missing func()) {
	t.get(nil, func(a *reply) {
		row, err := t.w.keys.Row(a.body)
		if err != nil || len(row.Records) != 1 {
			t.reject(kedge.Invalid, errors.New("the record that is there cannot be read"), "")
			return
		}
		etag := a.header.Get("ETag")
		if etag == "" {
			etag = row.Records[0].Version
		}
		found(row, etag)
	}, missing)
}

// get reads the record with fields beside its key and version.
func (t *task) get(fields []string, found func(*reply), missing func()) {
	var q query
	t.w.e.selection(&q, fields)
	path, err := t.w.keyPath(t.key, &q)
	if err != nil {
		t.reject(kedge.Invalid, err, "")
		return
	}
	r := &request{method: http.MethodGet, path: path, effect: httpclient.Read}
	t.send(r, func(a *reply) {
		switch {
		case a.ok():
			found(a)
		case a.gone():
			missing()
		default:
			t.refuse(r, a)
		}
	})
}

// missing ends a change whose record is not there.
func (t *task) missing() {
	if t.change.Op == kedge.Delete {
		t.finish(connectors.Result{State: connectors.Unchanged})
		return
	}
	t.reject(kedge.NotFound, errGone, "")
}

// patch updates the record. A request with an ETag is sent once: if its answer
// were lost and it were sent again, the service would call its own first try a
// conflict.
func (t *task) patch(ifMatch string, missing func()) {
	path, err := t.w.keyPath(t.key, nil)
	var members []member
	if err == nil {
		members, err = t.w.members(t.change, false)
	}
	if err != nil {
		t.reject(kedge.Invalid, err, "")
		return
	}
	r := &request{method: http.MethodPatch, path: path, effect: httpclient.Idempotent, ifMatch: ifMatch, prefer: "return=minimal",
		body: func(plain bool) []byte { return encodeBody(members, plain) }}
	if isETag(ifMatch) {
		r.effect = httpclient.Once
	}
	if t.wantsStored() {
		r.prefer = "return=representation"
	}
	t.send(r, func(a *reply) {
		switch {
		case a.status == http.StatusCreated || a.ok() && t.change.Op == kedge.Upsert && a.header.Get("Location") != "":
			t.created(a) // by a service that upserts
		case a.ok():
			result := connectors.Result{State: connectors.Updated, Version: t.version(a)}
			t.readStored(a.body, &result)
			t.finish(result)
		case a.gone() || a.status == http.StatusPreconditionFailed && ifMatch == "*": // RFC 9110, 13.1.1
			missing()
		default:
			t.refuse(r, a)
		}
	})
}

func (t *task) delete(ifMatch string) {
	path, err := t.w.keyPath(t.key, nil)
	if err != nil {
		t.reject(kedge.Invalid, err, "")
		return
	}
	r := &request{method: http.MethodDelete, path: path, effect: httpclient.Idempotent, ifMatch: ifMatch}
	if t.atomic {
		r.effect = httpclient.Once // a second time it fails, and undoes what was done the first time
	}
	t.send(r, func(a *reply) {
		switch {
		case a.ok():
			t.finish(connectors.Result{State: connectors.Removed})
		case a.gone() || a.status == http.StatusPreconditionFailed && ifMatch == "*":
			t.missing()
		case a.status == http.StatusPreconditionFailed && !t.atomic:
			// No record has no ETag either: a deletion that was repeated after a
			// lost answer must not look like a conflict.
			t.look(func(*wire.Page, string) { t.refuse(r, a) }, t.missing)
		default:
			t.refuse(r, a)
		}
	})
}

// version returns the version that the answer to a write tells, or "".
func (t *task) version(a *reply) string {
	if etag := a.header.Get("ETag"); etag != "" {
		t.w.learn(t.w.e.info.Name, func(f *finding) { f.ETag = found })
		return etag
	}
	if strings.TrimSpace(a.body) == "" {
		return ""
	}
	row, err := t.w.keys.Row(a.body)
	if err != nil || len(row.Records) != 1 {
		return ""
	}
	return row.Records[0].Version
}
