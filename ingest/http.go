package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/httpapi"
)

// Limits of requests.
const (
	maxGroupKey = 100 // characters
	maxEvent    = 100 // characters
	maxActor    = 1000
	maxIDs      = 1000
	maxIDLength = 255
	maxIdemKey  = 255

	maxSpace    = 4 << 10 // bytes of white space around a body that are not counted
	maxBulkBody = custom.MaxBulk
)

const keyHeader = "X-Ingest-Key"

// Routes adds the senders' routes to the root router.
func (s *Service) Routes(r *mux.Router) {
	const base = "/integration/custom-data"
	handle := func(method, path, op string, h func(*call) error) {
		r.Handle(base+path, httpapi.Handle(s.log, s.sender(op, h))).Methods(method)
	}
	handle(http.MethodPost, "/event/{table}", OpEvent, s.event)
	handle(http.MethodPost, "/bulk-event/{table}", OpBulk, s.bulk)
	handle(http.MethodDelete, "/bulk-event/{table}", OpDelete, s.delete)
	s.sessionRoutes(handle)
}

// A call is a request of a sender whose key was accepted.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	key   *key
	table *custom.Table
	op    string
	limit *bucket
}

// sender makes a handler of what a sender may do with a valid key.
func (s *Service) sender(op string, h func(*call) error) httpapi.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		c := &call{w: w, r: r, op: op}
		err := s.admit(c)
		if err == nil {
			err = h(c)
		}
		table := ""
		if c.table != nil {
			table = c.table.Full
		}
		s.metrics.request(table, op, err)
		return err
	}
}

// admit checks key, table, rights and rate, in this order.
func (s *Service) admit(c *call) error {
	ctx := c.r.Context()
	snap, err := s.catalog.snapshot(ctx, false)
	if err != nil {
		return err
	}
	if c.key = snap.key(c.r.Header.Values(keyHeader), millis(s.now())); c.key == nil {
		// It may have been made a moment ago, by the command line.
		if snap, err = s.catalog.snapshot(ctx, true); err != nil {
			return err
		}
		c.key = snap.key(c.r.Header.Values(keyHeader), millis(s.now()))
	}
	if c.key == nil {
		return s.unauthorized(c)
	}
	name := mux.Vars(c.r)["table"]
	if c.table, err = snap.table(name, c.key); err != nil {
		if snap, err = s.catalog.snapshot(ctx, true); err != nil {
			return err
		}
		if c.table, err = snap.table(name, c.key); err != nil {
			return err
		}
	}
	if !allows(c.key.rights.Operations, c.op) {
		return &kedge.Error{Kind: kedge.Forbidden, Err: fmt.Errorf("the key does not have the operation %s", c.op)}
	}
	s.used.note(c.key.id, millis(s.now()))
	c.limit = s.buckets.of(c.key.id, c.key.limit)
	return throttled(c.limit.request(s.now()))
}

func throttled(wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	return &kedge.Error{Kind: kedge.Throttled, RetryAfter: max(wait, time.Second), Err: errors.New("the rate of the key is used up; wait as Retry-After says")}
}

// unauthorized is the answer to a key that is missing, unknown, expired or
// revoked: which one is nobody's business.
func (s *Service) unauthorized(c *call) error {
	c.w.Header().Set("WWW-Authenticate", `ApiKey realm="kedge ingest"`)
	if s.failures.fail(address(c.r), s.now()) {
		return &kedge.Error{Kind: kedge.Throttled, RetryAfter: time.Minute, Err: errors.New("too many failed authentications from this address; wait a minute")}
	}
	return &kedge.Error{Kind: kedge.Unauthorized, Err: errors.New("the ingest key is missing or not valid; send it as " + keyHeader)}
}

// address is where a request comes from. Of IPv6 the network counts, which is
// one customer's.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Unmap().Is4() {
		return host
	}
	network, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return host
	}
	return network.String()
}

// key returns the key that the header has, or nil.
func (s *snapshot) key(header []string, now int64) *key {
	if len(header) != 1 {
		return nil
	}
	sum := sha256.Sum256([]byte(header[0]))
	k := s.keys[sum]
	if k == nil || subtle.ConstantTimeCompare(k.hash, sum[:]) != 1 || k.expires != nil && *k.expires <= now || k.integration.State != StateActive {
		return nil
	}
	return k
}

// table returns the table that a key may push into by a name.
func (s *snapshot) table(name string, k *key) (*custom.Table, error) {
	found := slices.DeleteFunc(slices.Clone(s.resolve(name, k.integration.ID)), func(t *custom.Table) bool { return !t.Active })
	switch {
	case len(found) == 0:
		return nil, unknown("there is no such table, or it is attached to no integration")
	case len(found) > 1:
		return nil, &httpapi.Problem{Status: http.StatusBadRequest, Detail: "more than one table has this name; use the full name, prefix_table"}
	case found[0].Integration != k.integration.ID || !allows(k.rights.Tables, found[0].Full):
		return nil, &kedge.Error{Kind: kedge.Forbidden, Err: errors.New("the key does not have this table")}
	}
	return found[0], nil
}

// push begins a push from the parameters that all three calls have.
func (s *Service) push(c *call, op custom.Op, more ...string) (*custom.Push, url.Values, error) {
	q, err := httpapi.OnlyParams(c.r, append([]string{"groupKey", "event", "actor", "dryRun"}, more...)...)
	if err != nil {
		return nil, nil, err
	}
	p := &custom.Push{Op: op, Table: c.table, GroupKey: q.Get("groupKey"), Event: q.Get("event"), Actor: q.Get("actor"), ConfirmRemoved: -1,
		KeyID: c.key.id, RequestID: httpapi.RequestID(c.r.Context()), IdempotencyKey: c.r.Header.Get("Idempotency-Key")}
	for _, check := range []struct {
		name, value string
		limit       int
	}{{"groupKey", p.GroupKey, maxGroupKey}, {"event", p.Event, maxEvent}, {"actor", p.Actor, maxActor}, {"Idempotency-Key", p.IdempotencyKey, maxIdemKey}} {
		if err := custom.CheckText(check.value, check.limit); err != nil {
			return nil, nil, badRequest("%s %v", check.name, err)
		}
	}
	if err := custom.CheckJSON(p.Actor); p.Actor != "" && err != nil {
		return nil, nil, badRequest(`actor is not a JSON value; quote it if it is text: "\"name\""`)
	}
	if p.DryRun, err = flag(q, "dryRun"); err != nil {
		return nil, nil, err
	}
	if !allows(c.key.rights.GroupKeys, p.GroupKey) {
		return nil, nil, &kedge.Error{Kind: kedge.Forbidden, Err: errors.New("the key does not have this groupKey")}
	}
	return p, q, nil
}

func badRequest(format string, args ...any) error {
	return &httpapi.Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...)}
}

func flag(q url.Values, name string) (bool, error) {
	switch v := q.Get(name); {
	case !q.Has(name), v == "false":
		return false, nil
	case v == "true":
		return true, nil
	}
	return false, badRequest("%s must be true or false", name)
}

// body reads a body of at most limit bytes of JSON text, not counting a little
// space around it.
func (s *Service) body(c *call, limit int) ([]byte, error) {
	body, err := httpapi.ReadBody(c.w, c.r, int64(limit+maxSpace))
	if err != nil {
		if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Status == http.StatusRequestEntityTooLarge {
			return nil, tooLarge(limit)
		}
		return nil, err
	}
	if err := throttled(c.limit.body(s.now(), len(body))); err != nil {
		return nil, err
	}
	body = bytes.Trim(body, " \t\r\n")
	switch {
	case len(body) > limit:
		return nil, tooLarge(limit)
	case len(body) == 0:
		return nil, badRequest("the body is empty; send JSON")
	}
	return body, nil
}

func tooLarge(limit int) error {
	return &httpapi.Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is over %d bytes", limit)}
}

// asJSON turns the refusal of a body that is no JSON into 415 if it does not
// claim to be: curl's default is a form.
func asJSON(r *http.Request, err error) error {
	p, ok := errors.AsType[*httpapi.Problem](err)
	if !ok || p.Type != custom.NotJSON {
		return err
	}
	q := *p
	q.Type = ""
	if ct := r.Header.Get("Content-Type"); ct != "" {
		media, _, err := mime.ParseMediaType(ct)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			q.Status = http.StatusUnsupportedMediaType
		}
	}
	return &q
}

// sign sets what tells a repeated request from another one with the same
// idempotency key.
func sign(p *custom.Push, r *http.Request, q url.Values) {
	if p.IdempotencyKey == "" {
		return
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n", r.Method, r.URL.Path, q.Encode())
	h.Write(p.Body)
	p.RequestHash = h.Sum(nil)
}

func (s *Service) event(c *call) error {
	p, q, err := s.push(c, custom.Event)
	if err != nil {
		return err
	}
	if p.Body, err = s.body(c, custom.MaxResource); err != nil {
		return err
	}
	sign(p, c.r, q)
	return s.answer(c, p)
}

func (s *Service) bulk(c *call) error {
	p, q, err := s.push(c, custom.Bulk, "allowEmpty", "confirmRemoved")
	if err != nil {
		return err
	}
	if err := bulkParams(p, q); err != nil {
		return err
	}
	done, err := s.custom.StartBulk()
	if err != nil {
		return err
	}
	defer done()
	if p.Body, err = s.body(c, custom.MaxBulk); err != nil {
		return err
	}
	sign(p, c.r, q)
	return s.answer(c, p)
}

func bulkParams(p *custom.Push, q url.Values) (err error) {
	if p.AllowEmpty, err = flag(q, "allowEmpty"); err != nil {
		return err
	}
	if v := q.Get("confirmRemoved"); q.Has("confirmRemoved") {
		if p.ConfirmRemoved, err = strconv.Atoi(v); err != nil || p.ConfirmRemoved < 0 {
			return badRequest("confirmRemoved must be a number that is not negative")
		}
	}
	return nil
}

func (s *Service) delete(c *call) error {
	p, q, err := s.push(c, custom.Delete, "resourceIds...")
	if err != nil {
		return err
	}
	if p.IDs, err = resourceIDs(q["resourceIds"]); err != nil {
		return err
	}
	sign(p, c.r, q)
	return s.answer(c, p)
}

// resourceIDs reads the ids of a delete: repeated, with commas between, or one
// JSON array. Nothing means all.
func resourceIDs(values []string) ([]string, error) {
	var ids []string
	switch {
	case len(values) == 1 && strings.HasPrefix(values[0], "["):
		if err := json.Unmarshal([]byte(values[0]), &ids); err != nil {
			return nil, badRequest("resourceIds begins like a JSON array, but is no array of strings")
		}
	default:
		for _, v := range values {
			ids = append(ids, strings.Split(v, ",")...)
		}
	}
	if len(ids) == 0 {
		return nil, badRequest("resourceIds is missing; name 1 to %d ids", maxIDs)
	}
	if len(ids) > maxIDs {
		return nil, badRequest("resourceIds has more than %d ids", maxIDs)
	}
	for _, id := range ids {
		if id == "" {
			return nil, badRequest("resourceIds has an empty id")
		}
		if err := custom.CheckText(id, maxIDLength); err != nil {
			return nil, badRequest("an id in resourceIds %v", err)
		}
	}
	return ids, nil
}

// answer stores a push and answers with its result.
func (s *Service) answer(c *call, p *custom.Push) error {
	res, err := s.Push(c.r.Context(), p)
	return s.answerWith(c, res, err)
}

func (s *Service) answerWith(c *call, res *custom.Result, err error) error {
	if err != nil {
		return asJSON(c.r, err)
	}
	return httpapi.WriteJSON(c.w, http.StatusOK, res.Answer())
}

// Push checks and stores what a sender sent. The parameters of p must be valid.
func (s *Service) Push(ctx context.Context, p *custom.Push) (*custom.Result, error) {
	res, err := s.custom.Push(ctx, p)
	if err == nil && !p.DryRun {
		s.metrics.rows(p.Table.Full, res)
	}
	return res, err
}
