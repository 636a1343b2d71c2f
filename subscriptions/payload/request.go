package payload

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// A Form is how a subscription wants its messages.
type Form struct {
	Method string // GET sends three query parameters and no body
	Format string // standard, cloudevents-structured or cloudevents-binary
	Source string // public URL of kedge, without a slash at the end
}

// A Request is what a message adds to a request.
type Request struct {
	Body   []byte
	Header http.Header
	Query  url.Values // nil: none
}

// Request puts m into the form f.
func (f Form) Request(m *Message) Request {
	h := http.Header{}
	if f.Method == http.MethodGet {
		q := url.Values{"kedge_id": {m.ID}, "kedge_type": {m.Type}, "kedge_sequence": {strconv.FormatInt(m.Sequence, 10)}}
		return Request{Header: h, Query: q}
	}
	b := make([]byte, 0, 512+len(m.Data.Record))
	switch f.Format {
	case "cloudevents-structured":
		h["Content-Type"] = []string{"application/cloudevents+json"}
		return Request{Body: f.structured(b, m), Header: h}
	case "cloudevents-binary":
		f.binary(h, m)
		h["Content-Type"] = []string{"application/json"}
		return Request{Body: m.Data.append(b, m), Header: h}
	}
	h["Content-Type"] = []string{"application/json"}
	return Request{Body: m.appendStandard(b), Header: h}
}

// attributes are the context attributes and extensions of CloudEvents 1.0, in
// the order in which they are written.
func (f Form) attributes(m *Message, put func(name, value string)) {
	put("specversion", "1.0")
	put("id", m.ID)
	entity, _, _ := strings.Cut(m.Data.Resource, "/")
	source := f.Source + "/resources"
	if entity != "" {
		source += "/" + entity
	}
	put("source", source)
	put("type", "kedge."+strings.TrimPrefix(m.Type, "kedge."))
	if m.Data.Resource != "" {
		put("subject", m.Data.Resource)
	}
	put("time", timeText(m.At))
	put("sequence", fmt.Sprintf("%020d", m.Sequence))
	if m.Account != "" {
		put("account", m.Account)
	}
	if m.User != "" {
		put("user", m.User)
	}
	put("subscription", m.Subscription)
	if m.Gap != nil && m.Gap.Count >= 0 {
		put("gapcount", strconv.FormatInt(m.Gap.Count, 10))
	}
}

func (f Form) structured(b []byte, m *Message) []byte {
	w := open(b)
	f.attributes(m, w.text)
	w.text("datacontenttype", "application/json")
	w.name("data")
	w.b = m.Data.append(w.b, m)
	return w.close()
}

func (f Form) binary(h http.Header, m *Message) {
	f.attributes(m, func(name, value string) { h["Ce-"+strings.ToUpper(name[:1])+name[1:]] = []string{headerValue(value)} })
}

// headerValue percent-encodes what a header cannot hold (CloudEvents HTTP
// binding 1.0, 3.1.3.2).
func headerValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
