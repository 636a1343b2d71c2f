package httpclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"

	"github.com/kedge-sync/kedge"
)

// A Phase says how far a request came that got no answer.
type Phase string

// The phases.
const (
	PhaseRequest Phase = "request" // the request itself is malformed; nothing was sent
	PhaseBlocked Phase = "blocked" // the egress guard refused the address; nothing was sent
	PhaseDNS     Phase = "dns"     // nothing was sent
	PhaseConnect Phase = "connect" // nothing was sent
	PhaseTLS     Phase = "tls"     // nothing was sent
	PhaseTimeout Phase = "timeout" // no byte in time
	PhaseAnswer  Phase = "answer"  // the connection broke, or what came was not HTTP
)

// A NetError is the cause of an error about a request that got no whole answer.
type NetError struct {
	Method string
	Origin string // scheme and host; never a path or a query
	Phase  Phase
	Err    error
}

// Error never prints what came from the other side.
func (e *NetError) Error() string {
	head := e.Method + " " + e.Origin + ": "
	if op, ok := errors.AsType[*net.OpError](e.Err); ok && op.Addr != nil && e.Phase == PhaseConnect && errors.Is(op, syscall.ECONNREFUSED) {
		return head + "connection refused: nothing listens at " + op.Addr.String()
	}
	switch e.Phase {
	case PhaseDNS, PhaseConnect, PhaseTLS, PhaseBlocked, PhaseRequest:
		return head + e.Err.Error()
	case PhaseTimeout:
		return head + "no answer in time"
	}
	if errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded) {
		return head + e.Err.Error()
	}
	return head + "the connection broke before the answer was complete"
}

// Unwrap returns the cause. Unlike e's, its text may hold what the other side
// sent.
func (e *NetError) Unwrap() error { return e.Err }

// unreachable reports whether no connection could be made.
func (e *NetError) unreachable() bool {
	return e.Phase == PhaseDNS || e.Phase == PhaseConnect || e.Phase == PhaseTLS
}

var (
	errFirstByte = errors.New("no first byte in time")
	errIdle      = errors.New("no further byte in time")
)

// phaseOf tells what went wrong with a request of which RoundTrip returned err.
// dialed: a connection was looked for; reached: there was one.
func phaseOf(err error, dialed, reached bool) Phase {
	var blocked *BlockedError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &blocked):
		return PhaseBlocked
	case errors.Is(err, errFirstByte) || errors.Is(err, errIdle):
		return PhaseTimeout
	case reached:
		return PhaseAnswer
	case errors.As(err, &dns):
		return PhaseDNS
	case !dialed:
		return PhaseRequest
	case errors.As(err, &op) && op.Op == "dial":
		return PhaseConnect
	}
	var cert *tls.CertificateVerificationError
	var alert tls.AlertError
	var rec tls.RecordHeaderError
	if errors.As(err, &cert) || errors.As(err, &alert) || errors.As(err, &rec) || errors.Is(err, http.ErrSchemeMismatch) {
		return PhaseTLS
	}
	return PhaseConnect
}

// kindOfPhase returns the kind of an error before the answer. What a repeat
// cannot mend is not Transient.
func kindOfPhase(phase Phase, err error) kedge.Kind {
	switch phase {
	case PhaseBlocked:
		return kedge.Forbidden
	case PhaseRequest:
		return kedge.Invalid
	case PhaseTLS:
		var cert *tls.CertificateVerificationError
		if errors.As(err, &cert) || errors.Is(err, http.ErrSchemeMismatch) {
			return kedge.Invalid
		}
	}
	return kedge.Transient
}
