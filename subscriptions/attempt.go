package subscriptions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/subscriptions/lanes"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const (
	answerBytes = 64 << 10
	answerTime  = time.Second
)

// An attempt is one row on its way.
type attempt struct {
	q      *lanes.Queue
	row    *lanes.Row
	sub    *sub // as it was when the attempt began
	gap    *gapRow
	cancel context.CancelFunc
	ctx    context.Context
	done   chan struct{}
}

// An answer is what came of an attempt.
type answer struct {
	class   Class
	after   time.Duration
	status  int
	head    string
	at      int64
	took    time.Duration
	message string
	dropped bool // nothing was sent, for nobody wants it any more
	again   bool // it was cut off by a change: once more
}

// pump starts attempts as long as there are rows and room.
func (w *worker) pump() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		a := w.take()
		if a == nil {
			return
		}
		w.spawn(func() { w.deliver(a) })
	}
}

// take returns the next attempt, or nil. The caller holds w.mu.
func (w *worker) take() *attempt {
	if w.id == "" || w.draining || time.Since(w.beaten) > workerGrace {
		return nil
	}
	for {
		q, row := w.set.Next(w.s.now())
		if row == nil {
			return nil
		}
		st := stateOf(q)
		x := w.s.sub(q.ID)
		if x == nil || x.state != StateActive || st.stopped || x.expired(w.s.now()) {
			q.Held = true // until the change of state is noticed
			q.Retry(row, w.s.now())
			w.set.Finish(q)
			continue
		}
		if q.Wants() {
			w.want()
		}
		if x.doc.Collapse {
			w.collapse(q, row)
		}
		a := &attempt{q: q, row: row, sub: x, gap: st.gap, done: make(chan struct{})}
		a.ctx, a.cancel = context.WithCancel(w.life)
		w.flying[a] = true
		return a
	}
}

// deliver makes an attempt and then others, as long as there are any.
func (w *worker) deliver(a *attempt) {
	for a != nil {
		ans := w.s.try(a)
		w.s.hook("sent")
		a.cancel()
		w.mu.Lock()
		w.settle(a, ans)
		close(a.done)
		next := w.take()
		var more []*attempt
		for next != nil {
			b := w.take()
			if b == nil {
				break
			}
			more = append(more, b)
		}
		w.mu.Unlock()
		for _, b := range more {
			w.spawn(func() { w.deliver(b) })
		}
		a = next
	}
}

// try makes one attempt.
func (s *Service) try(a *attempt) answer {
	p := a.row.Data.(*parcel)
	ans := answer{at: s.now(), message: payload.MessageID(p.event.Seq, p.event.ID, a.sub.id)}
	scope := a.sub.scopes[p.event.Entity]
	op := match.Op(a.row.Op)
	if err := s.saveCollapse(a.ctx, a, p); err != nil {
		s.report(a.ctx, "collapse", err)
		ans.again = true
		return ans
	}
	if scope == nil || !op.Wanted(scope.Operations) || p.hidden {
		ans.dropped = true
		return ans
	}
	m, err := s.message(a, p, scope)
	if err == nil {
		ans = s.call(a.ctx, a.sub, m, a.row, ans)
	} else {
		s.log.Error("push cannot be written", "subscription", a.sub.id, "err", err)
		ans.class = ClassInternal
	}
	ans.again = ans.class != ClassOK && a.ctx.Err() != nil // cut off by a change
	return ans
}

// message returns what is told of a row's event.
func (s *Service) message(a *attempt, p *parcel, scope *spec.Scope) (*payload.Message, error) {
	e, x := &p.event, a.sub
	m := &payload.Message{ID: payload.MessageID(e.Seq, e.ID, x.id), Type: e.Entity + "." + e.Op, At: time.UnixMilli(e.At),
		Sequence: e.Seq, Subscription: x.id, Account: x.account, User: x.user, Collapsed: int(p.collapsed)}
	m.Data = payload.Data{Event: e.ID, Resource: e.Resource, Key: []byte(e.KeyJSON), Operation: kedge.Operation(e.Op), Origin: e.Origin}
	if a.gap != nil {
		m.Gap = gapOf(a.gap)
	}
	switch match.Op(a.row.Op) {
	case match.Entered:
		m.Data.Transition = "entered"
	case match.Left:
		m.Data.Transition = "left"
	}
	if scope.Via != "" {
		m.Data.Parent = x.doc.Resource
	}
	changed := e.Changed
	if p.changed != "" {
		changed = p.changed
	}
	if changed != "" {
		var names []string
		if err := json.Unmarshal([]byte(changed), &names); err != nil {
			return nil, err
		}
		m.Data.Changed = slices.DeleteFunc(names, func(f string) bool { return !slices.Contains(scope.Fields, f) })
	}
	if x.doc.Payload == "thin" {
		m.Data.Link = s.link(m)
		return m, nil
	}
	if e.Image != "" && m.Data.Transition != "left" {
		view := payload.View{Fields: scope.Fields, StringNumbers: x.doc.Numbers == "string"}
		record, err := view.Record(nil, []byte(e.Image))
		if err != nil {
			return nil, err
		}
		m.Data.Record = record
	}
	if len(m.Data.Record)+1024 > s.cfg.Limits.Payload {
		if req := x.form.Request(m); len(req.Body) > s.cfg.Limits.Payload {
			m.Data.Record, m.Data.Truncated, m.Data.Link = nil, true, s.link(m)
		}
	}
	return m, nil
}

// link is where the whole payload of a message can be read.
func (s *Service) link(m *payload.Message) string {
	return s.cfg.PublicURL + "/subscriptions/" + m.Subscription + "/events/" + m.ID
}

// call sends m to x and fills in the answer. row is nil for messages that have
// none.
func (s *Service) call(ctx context.Context, x *sub, m *payload.Message, row *lanes.Row, ans answer) answer {
	ans.class = ClassInternal
	hidden, err := s.secretsOf(x)
	if err != nil {
		s.log.Error("secrets of a subscription cannot be opened", "subscription", x.id, "err", err)
		return ans
	}
	r := s.request(x, hidden, m, row)
	_, ans = s.exchange(ctx, r, ans)
	return ans
}

// forbidden reports whether the config, which may have changed since the
// subscription was made, does not allow the target.
func (s *Service) forbidden(u *url.URL) bool {
	return u.Scheme == "http" && !s.cfg.Targets.HTTP || !spec.PortAllowed(u, s.cfg.Targets.Ports)
}

// request returns the signed request that carries m.
func (s *Service) request(x *sub, hidden *openSecrets, m *payload.Message, row *lanes.Row) httpclient.Request {
	target := *hidden.url
	u := &target
	form := x.form.Request(m)
	h := form.Header
	authenticate(hidden.auth, h, u, form.Query)
	at := s.time()
	keys := hidden.signers(at.UnixMilli())
	put(h, signature.HeaderID, m.ID)
	put(h, signature.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	put(h, signature.HeaderSignature, signature.Sign(keys, m.ID, at, form.Body))
	put(h, "Kedge-Event", m.Type)
	put(h, "Kedge-Subscription", x.id)
	number := 1
	if row != nil {
		number = row.Attempt + 1
		if row.Replay != 0 {
			put(h, "Kedge-Replay", "true")
		}
	}
	put(h, "Kedge-Attempt", strconv.Itoa(number))
	return httpclient.Request{Op: "subscriptions", Method: x.doc.Method, URL: u, Header: h, Body: form.Body, Effect: httpclient.Once, MaxBytes: answerBytes}
}

func put(h http.Header, name, value string) { h[http.CanonicalHeaderKey(name)] = []string{value} }

// authenticate adds what shows the receiver who calls.
func authenticate(auth spec.Auth, h http.Header, u *url.URL, query url.Values) {
	switch auth.Type {
	case "bearer":
		put(h, "Authorization", "Bearer "+auth.Token)
	case "basic":
		put(h, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(auth.Username+":"+auth.Password)))
	case "header":
		for name, value := range auth.Headers {
			put(h, name, value)
		}
	case "query":
		addQuery(u, auth.Name, auth.Value)
	}
	for _, name := range []string{"kedge_id", "kedge_type", "kedge_sequence"} {
		if query.Has(name) {
			addQuery(u, name, query.Get(name))
		}
	}
}

// addQuery adds a parameter and leaves the others as they were written.
func addQuery(u *url.URL, name, value string) {
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += url.QueryEscape(name) + "=" + url.QueryEscape(value)
}
