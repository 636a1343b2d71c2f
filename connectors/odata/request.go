package odata

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// The media types asked for. With IEEE754Compatible, numbers of 64 bits and
// decimals come as texts, so that nothing on the way rounds them (JSON Format
// 4.01, 3.2).
const (
	acceptExact = "application/json;odata.metadata=minimal;IEEE754Compatible=true"
	acceptPlain = "application/json;odata.metadata=minimal"
)

// A call is one GET request for JSON.
type call struct {
	op       string
	entity   string
	url      *url.URL
	pageSize int // for Prefer: odata.maxpagesize; 0 means none
	track    bool
}

func (c *call) prefer() string {
	var prefs []string
	if c.track {
		prefs = append(prefs, "odata.track-changes")
	}
	if c.pageSize > 0 {
		prefs = append(prefs, "odata.maxpagesize="+strconv.Itoa(c.pageSize))
	}
	return strings.Join(prefs, ",")
}

// get sends c and gives the answer to read. A service that refuses
// IEEE754Compatible is asked again without, now and from then on.
func (d *Driver) get(ctx context.Context, c call, read func(*httpclient.Response) error) error {
	plain := d.plainJSON.Load()
	err := d.getOnce(ctx, c, plain, read)
	if status := statusOf(err); !plain && (status == http.StatusNotAcceptable || status == http.StatusUnsupportedMediaType) {
		if err = d.getOnce(ctx, c, true, read); err == nil {
			d.plainJSON.Store(true)
		}
	}
	return err
}

func (d *Driver) getOnce(ctx context.Context, c call, plain bool, read func(*httpclient.Response) error) error {
	h := d.header.Clone()
	h.Set("Accept", acceptExact)
	if plain {
		h.Set("Accept", acceptPlain)
	}
	h.Set("OData-MaxVersion", d.cfg.MaxVersion)
	if prefer := c.prefer(); prefer != "" {
		h.Set("Prefer", prefer)
	}
	var said wire.ErrorBody // of the last try
	r := httpclient.Request{
		Op: c.op, URL: c.url, Header: h, MaxBytes: int64(d.cfg.MaxPageBytes),
		Classify: func(resp *httpclient.Response) error {
			said = wire.ReadError(resp.Body)
			return nil
		},
	}
	if err := d.client.Do(ctx, r, read); err != nil {
		return named(c, err, said)
	}
	return nil
}

// named adds to err what it is about and what the service said.
func named(c call, err error, said wire.ErrorBody) error {
	e := &kedge.Error{Op: c.op, Kind: kedge.KindOf(err), Entity: c.entity, Err: err}
	var inner *kedge.Error
	if errors.As(err, &inner) {
		e.RetryAfter, e.Key = inner.RetryAfter, inner.Key
		if inner.Err != nil {
			e.Err = inner.Err
		}
	}
	if statusOf(err) != 0 && said.OData {
		e.Err = &remoteError{err: e.Err, code: said.Code, target: said.Target}
	}
	return e
}

// A remoteError is an error that the service explained with an OData error
// body. Its message, which may hold personal data, is not kept.
type remoteError struct {
	err          error
	code, target string
}

func (e *remoteError) Error() string {
	text := e.err.Error()
	if code := printable(e.code); code != "" {
		text += ", code " + code
	}
	if target := printable(e.target); target != "" {
		text += ", target " + target
	}
	return text
}

func (e *remoteError) Unwrap() error { return e.err }

// printable returns s if it looks like a code or a name, which hold no values.
func printable(s string) string {
	const most = 80
	if len(s) > most || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/", r)
	}) {
		return ""
	}
	return s
}

// codeOf returns the service's code for err, or "".
func codeOf(err error) string {
	if e, ok := errors.AsType[*remoteError](err); ok {
		return e.code
	}
	return ""
}

// statusOf returns the HTTP status that err is about, or 0.
func statusOf(err error) int {
	if e, ok := errors.AsType[*httpclient.StatusError](err); ok {
		return e.Status
	}
	return 0
}

// query builds the query of a URL.
type query struct{ text strings.Builder }

func (q *query) add(option, value string) {
	if value == "" {
		return
	}
	if q.text.Len() > 0 {
		q.text.WriteByte('&')
	}
	q.text.WriteString(option + "=" + wire.EscapeQuery(value))
}

// entityURL returns the URL of e, with tail behind the name of the set ("('key')" or "/delta()").
func (d *Driver) entityURL(ctx context.Context, e *entity, tail string, q *query) (*url.URL, error) {
	company, err := d.companyPath(ctx)
	if err != nil {
		return nil, err
	}
	text := d.root.String() + company + wire.Escape(e.info.Name) + tail
	if e.opts.Cast != "" {
		text += "/" + wire.Escape(e.opts.Cast)
	}
	if q != nil && q.text.Len() > 0 {
		text += "?" + q.text.String()
	}
	if len(text) > d.cfg.MaxURL {
		return nil, &kedge.Error{Kind: kedge.TooLarge, Entity: e.info.Name, Err: fmt.Errorf("the URL would have %d bytes, more than %d (maxURL); map fewer fields", len(text), d.cfg.MaxURL)}
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, &kedge.Error{Kind: kedge.Internal, Entity: e.info.Name, Err: errors.New("the URL of the request cannot be parsed")}
	}
	return u, nil
}

// resolve returns the URL of a link of an answer. An absolute link is used
// byte for byte; a relative one is relative to the request.
func resolve(base *url.URL, link string) (*url.URL, error) {
	link = strings.ReplaceAll(link, " ", "%20")
	u, err := url.Parse(link)
	if err != nil {
		return nil, &kedge.Error{Kind: kedge.Invalid, Err: errors.New("a link of the service is not a URL")}
	}
	if !u.IsAbs() {
		u = base.ResolveReference(u)
	}
	return u, nil
}
