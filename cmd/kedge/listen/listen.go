// Package listen is a receiver of pushes for people who build one: it tells of
// each push what it is, whether its signature holds, and whether it came twice
// or out of order.
package listen

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/kedge-sync/kedge/internal/httpclient"
	"github.com/kedge-sync/kedge/internal/signature"
)

// The verdicts on the signature of a push.
const (
	Verified     = "verified"
	BadSignature = "BAD SIGNATURE"
	TooOld       = "TOO OLD"
	Unchecked    = "unchecked" // there is no key
)

// A Push is what is told of one.
type Push struct {
	At       time.Time `json:"at"`
	ID       string    `json:"id"`
	Type     string    `json:"type"`
	Resource string    `json:"resource,omitempty"`
	Sequence int64     `json:"sequence"`
	Attempt  int       `json:"attempt"`
	Verdict  string    `json:"verdict"`
	Replay   bool      `json:"replay,omitempty"`
	Notes    []string  `json:"notes,omitempty"` // duplicate, out of order, gap …
	Status   int       `json:"status"`          // that it was answered with
	Body     any       `json:"body,omitempty"`
}

// Options configure a [Receiver].
type Options struct {
	Keys    []signature.Key // none: signatures are not checked
	Path    string          // of the URL that is called; "" means any
	Respond int             // status of the answers; 0 means 204
	First   int             // only so many pushes are answered with Respond; 0 means all
	Forward *url.URL        // where pushes go on to, and whose status is answered; nil: nowhere
	Client  *httpclient.Client
	Now     func() time.Time // nil means time.Now
	Tell    func(Push)       // is called for each push, one after the other
}

// A Receiver takes pushes. Use it as an HTTP handler.
type Receiver struct {
	o Options

	mu      sync.Mutex
	count   int
	bad     bool
	arrived map[string]bool  // ids that were answered with 2xx
	last    map[string]int64 // resource: highest sequence answered with 2xx
	waiting map[string]int64 // resource: sequence that was refused and has to come again
}

// New returns a receiver.
func New(o Options) *Receiver {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Respond == 0 {
		o.Respond = http.StatusNoContent
	}
	return &Receiver{o: o, arrived: map[string]bool{}, last: map[string]int64{}, waiting: map[string]int64{}}
}

// Bad reports whether any push was not verified, or came out of order.
func (x *Receiver) Bad() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bad
}

// maxBody is the most that a push can have, and some more.
const maxBody = 16 << 20

// ServeHTTP takes a push.
func (x *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if x.o.Path != "" && r.URL.Path != x.o.Path {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodOptions { // handshake of CloudEvents
		w.Header().Set("WebHook-Allowed-Origin", r.Header.Get("WebHook-Request-Origin"))
		w.Header().Set("WebHook-Allowed-Rate", "*")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the caller will come again
	}
	p, challenge := read(r, body)
	x.mu.Lock()
	defer x.mu.Unlock()
	p.At, p.Verdict = x.o.Now(), x.verdict(r.Header, body)
	if challenge != "" {
		p.Status = http.StatusOK
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"challenge": challenge})
	} else {
		p.Status = x.answer(r, body)
		w.WriteHeader(p.Status)
		x.order(&p)
	}
	x.bad = x.bad || p.Verdict == BadSignature || p.Verdict == TooOld
	x.o.Tell(p)
}

func (x *Receiver) verdict(h http.Header, body []byte) string {
	if len(x.o.Keys) == 0 {
		return Unchecked
	}
	switch err := signature.Verify(x.o.Keys, h, body, x.o.Now()); err {
	case nil:
		return Verified
	case signature.ErrTooOld:
		return TooOld
	}
	return BadSignature
}

// answer returns the status to answer with.
func (x *Receiver) answer(r *http.Request, body []byte) int {
	x.count++
	if x.o.First == 0 && x.o.Respond != http.StatusNoContent || x.count <= x.o.First {
		return x.o.Respond
	}
	if x.o.Forward == nil {
		return http.StatusNoContent
	}
	u := *x.o.Forward
	if u.RawQuery == "" {
		u.RawQuery = r.URL.RawQuery
	}
	h := r.Header.Clone()
	for _, name := range []string{"Connection", "Content-Length", "Accept-Encoding", "Transfer-Encoding"} {
		h.Del(name)
	}
	reply, err := x.o.Client.Send(context.WithoutCancel(r.Context()), httpclient.Request{Op: "listen", Method: r.Method, URL: &u, Header: h, Body: body, Effect: httpclient.Once}, time.Second)
	if err != nil {
		return http.StatusBadGateway
	}
	return reply.Status
}

// order notes whether a push came twice, or before one that has to come first.
func (x *Receiver) order(p *Push) {
	ok := p.Status >= 200 && p.Status < 300
	gap := len(p.Notes) > 0
	if x.arrived[p.ID] {
		p.Notes = append(p.Notes, "duplicate")
	} else if p.Resource != "" && p.Sequence > 0 && !p.Replay {
		refused, missing := x.waiting[p.Resource]
		if p.Sequence <= x.last[p.Resource] || missing && p.Sequence > refused && !gap {
			p.Notes = append(p.Notes, "OUT OF ORDER")
			x.bad = true
		}
		if ok {
			x.last[p.Resource] = max(x.last[p.Resource], p.Sequence)
			delete(x.waiting, p.Resource)
		} else {
			x.waiting[p.Resource] = p.Sequence
		}
	}
	if ok {
		x.arrived[p.ID] = true
	}
}

// read tells what a push is, in whichever format it came, and the text that a
// kedge.verify wants back.
func read(r *http.Request, body []byte) (p Push, challenge string) {
	h := r.Header
	p.ID, p.Type, p.Replay = h.Get("webhook-id"), h.Get("kedge-event"), h.Get("kedge-replay") == "true"
	p.Attempt, _ = strconv.Atoi(h.Get("kedge-attempt"))
	if q := r.URL.Query(); q.Has("kedge_sequence") {
		p.Sequence, _ = strconv.ParseInt(q.Get("kedge_sequence"), 10, 64)
	}
	var b struct {
		Sequence any
		Gap      *gap
		Data     json.RawMessage
		Resource string // binary CloudEvents: the body is the data
	}
	if len(body) == 0 || json.Unmarshal(body, &b) != nil {
		return p, ""
	}
	p.Body = json.RawMessage(body)
	data := b.Data
	if h.Get("ce-id") != "" {
		data, b.Sequence = body, h.Get("ce-sequence")
	}
	switch n := b.Sequence.(type) {
	case float64:
		p.Sequence = int64(n)
	case string:
		p.Sequence, _ = strconv.ParseInt(n, 10, 64)
	}
	var d struct {
		Resource, Challenge string
		Gap                 *gap
	}
	if json.Unmarshal(data, &d) == nil {
		p.Resource = d.Resource
	}
	if b.Gap == nil {
		b.Gap = d.Gap
	}
	if b.Gap != nil {
		p.Notes = append(p.Notes, b.Gap.String())
	}
	if p.Type == "kedge.verify" {
		challenge = d.Challenge
	}
	return p, challenge
}

// A gap is what a push tells of those that were lost.
type gap struct {
	ID     int64
	From   int64
	To     *int64
	Reason string
}

func (g *gap) String() string {
	to := "now"
	if g.To != nil {
		to = strconv.FormatInt(*g.To, 10)
	}
	return "gap " + strconv.FormatInt(g.ID, 10) + " (" + g.Reason + "): " + strconv.FormatInt(g.From, 10) + " to " + to
}
