package subscriptions

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// The messages of kedge itself that come only on request.
const (
	eventTest   = "kedge.test"
	eventVerify = "kedge.verify"
)

const (
	proofTime  = 5 * time.Second // for one try of a handshake
	proofTries = 3
	proofPause = 2 * time.Second // between tries; doubles
)

// A Proof is what came of a test or a handshake.
type Proof struct {
	OK       bool    `json:"ok"`
	Status   int     `json:"status"` // of the answer; 0: there was none
	Class    Class   `json:"class"`
	Took     float64 `json:"took"` // milliseconds
	Verified bool    `json:"verified"`
}

// Test sends a message kedge.test now, past the queue.
func (s *Service) Test(ctx context.Context, by Caller, id string) (*Proof, error) {
	x, hidden, err := s.reach(ctx, by, id)
	if err != nil {
		return nil, err
	}
	m := s.systemMessage(x, eventTest, nil)
	_, ans := s.ask(ctx, x, hidden, m)
	return s.proof(ctx, x, ans, x.state != StateUnverified)
}

// Verify does the handshake of a subscription now. If it succeeds, an
// unverified one gets the state that its document asks for. One without a
// handshake is asked as by [Service.Test].
func (s *Service) Verify(ctx context.Context, by Caller, id string) (*Proof, error) {
	x, hidden, err := s.reach(ctx, by, id)
	if err != nil {
		return nil, err
	}
	ans, rate, ok := s.handshake(ctx, x, hidden)
	if ok {
		if err := s.verified(ctx, x, rate); err != nil {
			return nil, err
		}
	}
	return s.proof(ctx, x, ans, ok)
}

// reach returns a subscription that by may see, as it is now.
func (s *Service) reach(ctx context.Context, by Caller, id string) (*sub, *secrets, error) {
	row, err := s.row(ctx, s.db.DB(), by, id)
	if err != nil {
		return nil, nil, err
	}
	x, _, err := s.compile(row, by.Grants)
	if err != nil {
		return nil, nil, err
	}
	hidden, err := s.open(id, row.Sealed)
	return x, hidden, err
}

func (s *Service) proof(ctx context.Context, x *sub, ans answer, verified bool) (*Proof, error) {
	_, err := exec(context.WithoutCancel(ctx), s.db.DB(),
		"INSERT INTO push_attempt (sub, event_seq, message, number, at, took_us, status, class, head) VALUES (?, 0, ?, 1, ?, ?, ?, ?, ?)",
		x.id, ans.message, ans.at, ans.took.Microseconds(), ans.status, string(ans.class), ans.head)
	took := float64(ans.took.Microseconds()) / 1000
	return &Proof{OK: ans.class == ClassOK, Status: ans.status, Class: ans.class, Took: took, Verified: verified}, err
}

// systemMessage returns a message of kedge itself.
func (s *Service) systemMessage(x *sub, event string, more []byte) *payload.Message {
	return &payload.Message{ID: "msg_" + strings.ToLower(rand.Text()), Type: event, At: s.time(), Subscription: x.id, Account: x.account, User: x.user,
		Data: payload.Data{Resource: x.doc.Resource, More: more}}
}

// ask sends m now and returns the answer's body, too.
func (s *Service) ask(ctx context.Context, x *sub, hidden *secrets, m *payload.Message) (httpclient.Reply, answer) {
	ans := answer{at: s.now(), message: m.ID, class: ClassInternal}
	opened, err := hidden.opened()
	if err != nil {
		return httpclient.Reply{}, ans
	}
	return s.exchange(ctx, s.request(x, opened, m, nil), ans)
}

func (s *Service) exchange(ctx context.Context, r httpclient.Request, ans answer) (httpclient.Reply, answer) {
	if s.forbidden(r.URL) {
		ans.class = ClassBlocked
		return httpclient.Reply{}, ans
	}
	began := time.Now()
	reply, err := s.transport(ctx, r)
	ans.took, ans.status = time.Since(began), reply.Status
	ans.class, ans.after = classify(reply, err, s.time())
	if ans.class != ClassOK {
		ans.head = redact(reply.Body)
	}
	return reply, ans
}

// handshake proves that the target wants what it gets, as the subscription
// asks for. rate is what it allows per second; 0: it does not say.
func (s *Service) handshake(ctx context.Context, x *sub, hidden *secrets) (ans answer, rate float64, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	switch x.doc.Verify {
	case "challenge":
		ans, ok = s.challenge(ctx, x, hidden)
	case "cloudevents":
		ans, rate, ok = s.options(ctx, x, hidden)
	default:
		_, ans = s.ask(ctx, x, hidden, s.systemMessage(x, eventTest, nil))
		ok = ans.class == ClassOK
	}
	return ans, rate, ok
}

// challenge sends a random text, which the answer must repeat.
func (s *Service) challenge(ctx context.Context, x *sub, hidden *secrets) (answer, bool) {
	text := rand.Text()
	reply, ans := s.ask(ctx, x, hidden, s.systemMessage(x, eventVerify, []byte(`"challenge":"`+text+`"`)))
	if ans.class != ClassOK {
		return ans, false
	}
	got := strings.TrimSpace(string(reply.Body))
	var body struct{ Challenge string }
	if json.Unmarshal(reply.Body, &body) == nil && body.Challenge != "" {
		got = body.Challenge
	}
	return ans, subtle.ConstantTimeCompare([]byte(got), []byte(text)) == 1
}

// options does the handshake of CloudEvents (HTTP 1.1 Web Hooks, 4).
func (s *Service) options(ctx context.Context, x *sub, hidden *secrets) (ans answer, rate float64, ok bool) {
	ans = answer{at: s.now(), message: s.systemMessage(x, eventVerify, nil).ID, class: ClassInternal}
	u, err := url.Parse(hidden.URL)
	if err != nil {
		return ans, 0, false
	}
	h, origin := http.Header{}, host(s.cfg.PublicURL)
	authenticate(hidden.Auth, h, u, nil)
	put(h, "WebHook-Request-Origin", origin)
	if x.doc.RatePerSecond > 0 {
		put(h, "WebHook-Request-Rate", strconv.Itoa(max(1, int(x.doc.RatePerSecond*60))))
	}
	reply, ans := s.exchange(ctx, httpclient.Request{Op: "subscriptions", Method: http.MethodOptions, URL: u, Header: h, Effect: httpclient.Once, MaxBytes: answerBytes}, ans)
	allowed := reply.Header.Get("WebHook-Allowed-Origin")
	if ans.class != ClassOK || allowed != "*" && !strings.EqualFold(allowed, origin) {
		return ans, 0, false
	}
	if perMinute, err := strconv.Atoi(reply.Header.Get("WebHook-Allowed-Rate")); err == nil && perMinute > 0 {
		rate = float64(perMinute) / 60
	}
	return ans, rate, true
}

func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// verified notes that a handshake with the target of x succeeded, unless x has
// changed since.
func (s *Service) verified(ctx context.Context, x *sub, rate float64) error {
	doc := *x.doc
	slower := rate > 0 && (doc.RatePerSecond == 0 || rate < doc.RatePerSecond)
	if x.state != StateUnverified && !slower {
		return nil
	}
	if slower {
		doc.RatePerSecond = rate
	}
	state := x.state
	if state == StateUnverified {
		state = doc.State
	}
	text, err := json.Marshal(&doc)
	if err != nil {
		return err
	}
	return s.change(ctx, func(ctx context.Context, tx *store.Tx, g int64) error {
		last, err := lastSeq(ctx, tx)
		if err != nil {
			return err
		}
		start := x.startSeq
		if x.state == StateUnverified {
			start = last
		}
		n, err := exec(ctx, tx, "UPDATE push_subscription SET state = ?, reason = '', spec = ?, start_seq = ?, generation = ?, changed_at = ? WHERE id = ? AND generation = ?",
			state, string(text), start, g, s.now(), x.id, x.generation)
		if err == nil && n == 0 {
			return &kedge.Error{Op: "subscriptions", Kind: kedge.Conflict, Err: errors.New("the subscription was changed during the handshake; verify it again")}
		}
		return err
	})
}

// proveSoon has the handshake of a new subscription done by [Service.Run]. One
// that does not get its turn, because the process ends, stays unverified until
// verify is called.
func (s *Service) proveSoon(id, state string) {
	if state != StateUnverified {
		return
	}
	select {
	case s.unproven <- id:
	default:
	}
}

// proveLoop does handshakes until ctx ends.
func (s *Service) proveLoop(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	room := make(chan struct{}, 8)
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-s.unproven:
			select {
			case <-ctx.Done():
				return
			case room <- struct{}{}:
			}
			running.Go(func() {
				s.report(ctx, "handshake", s.prove(ctx, id))
				<-room
			})
		}
	}
}

// prove tries the handshake of an unverified subscription a few times.
func (s *Service) prove(ctx context.Context, id string) error {
	for i, pause := 0, proofPause; i < proofTries; i, pause = i+1, 2*pause {
		if i > 0 {
			sleep(ctx, pause)
		}
		row, err := s.row(ctx, s.db.DB(), Caller{Admin: true, Grants: spec.Everything()}, id)
		if err != nil || row.State != StateUnverified {
			if kedge.KindOf(err) == kedge.NotFound {
				return nil
			}
			return err
		}
		p, err := s.Verify(ctx, Caller{Admin: true, Grants: spec.Everything()}, id)
		if err != nil || p.Verified {
			return err
		}
	}
	return nil
}
