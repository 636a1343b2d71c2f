package subscriptions

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions/payload"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

const messageTries = 3

// send sends a message past the queue and notes the attempt.
func (s *Service) send(ctx context.Context, x *sub, m *payload.Message, number int) answer {
	ans := s.call(ctx, x, m, nil, answer{at: s.now(), message: m.ID})
	_, err := exec(ctx, s.db.DB(), "INSERT INTO push_attempt (sub, event_seq, message, number, at, took_us, status, class, head) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?)",
		x.id, m.ID, number, ans.at, ans.took.Microseconds(), ans.status, string(ans.class), ans.head)
	s.report(ctx, "attempt", err)
	return ans
}

// tellGap sends the message that something was lost, to who has selected it.
// If it does not arrive, the next event carries the gap all the same.
func (s *Service) tellGap(ctx context.Context, x *sub, g *gapRow) {
	m := s.systemMessage(x, spec.EventGap, nil)
	m.Gap = gapOf(g)
	for i := range messageTries {
		if ans := s.send(ctx, x, m, i+1); ans.class == ClassOK {
			s.report(ctx, "gap", told(ctx, s.db.DB(), g, s.now()))
			return
		}
	}
}

func (s *Service) tellExpiring(ctx context.Context, x *sub) {
	more := []byte(`"expiresAt":"` + time.UnixMilli(x.expiresAt).UTC().Format(time.RFC3339) + `"`)
	m := s.systemMessage(x, spec.EventExpiring, more)
	for i := range messageTries {
		if ans := s.send(ctx, x, m, i+1); ans.class == ClassOK {
			return
		}
	}
}

// A noticeBody is what the channels for notices get.
type noticeBody struct {
	Type         string    `json:"type"`
	Timestamp    time.Time `json:"timestamp"`
	Subscription string    `json:"subscription"`
	Account      string    `json:"account"`
	Reason       string    `json:"reason,omitempty"`
}

// notice tells operator and subscriber what happened to a subscription. It
// returns at once; what cannot be told after three tries is in the log only.
func (s *Service) notice(ctx context.Context, id, event, reason string) {
	s.log.WarnContext(ctx, "subscription notice", "subscription", id, "event", event, "reason", reason)
	row := &subRow{}
	if err := s.db.DB().NewSelect().Model(row).Where("id = ?", id).Scan(ctx); err != nil {
		s.report(ctx, "notice", store.Error("subscriptions", "", err))
		return
	}
	body, err := json.Marshal(noticeBody{event, s.time().UTC(), id, row.Account, reason})
	if err != nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	if s.cfg.Notices.URL != "" {
		var keys []signature.Key
		if k, err := signature.ParseKey(s.cfg.Notices.Secret); err == nil {
			keys = append(keys, k)
		}
		go s.tell(ctx, s.operator(), s.cfg.Notices.URL, keys, body)
	}
	hidden, err := s.open(row.ID, row.Sealed)
	if err != nil || hidden.NoticeURL == nil {
		return
	}
	if o, err := hidden.opened(); err == nil {
		go s.tell(ctx, s.http, *hidden.NoticeURL, o.signers(s.now()), body)
	}
}

func (s *Service) operator() *httpclient.Client {
	if s.opts.Operator != nil {
		return s.opts.Operator
	}
	return s.http
}

func (s *Service) tell(ctx context.Context, hc *httpclient.Client, target string, keys []signature.Key, body []byte) {
	u, err := url.Parse(target)
	if err != nil || hc == s.http && s.forbidden(u) {
		return
	}
	id := "msg_" + strings.ToLower(rand.Text())
	for range messageTries {
		h := http.Header{"Content-Type": {"application/json"}}
		at := s.time()
		put(h, signature.HeaderID, id)
		put(h, signature.HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
		if len(keys) > 0 {
			put(h, signature.HeaderSignature, signature.Sign(keys, id, at, body))
		}
		reply, err := hc.Send(ctx, httpclient.Request{Op: "subscriptions", Method: http.MethodPost, URL: u, Header: h, Body: body, Effect: httpclient.Once}, answerTime)
		if err == nil && reply.Status < 300 {
			return
		}
	}
	s.log.Warn("notice could not be told")
}
