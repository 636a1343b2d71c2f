// Package batch writes and reads the requests to $batch of OData services, in
// both of their forms: multipart (OData Protocol 4.0, 11.7) and JSON (OData
// JSON Format 4.01, 19).
//
// A batch holds either single requests or one group, of which all or none is
// done. Answers are matched to requests as services really send them: by
// Content-ID or id, else by their order; nested or flat; with parts left out.
package batch

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A Format is a form of batches.
type Format uint8

// The formats.
const (
	Multipart Format = iota + 1
	JSON
)

// String returns "multipart" or "json".
func (f Format) String() string { return [...]string{"none", "multipart", "json"}[min(f, JSON)] }

// Accept returns the media type of answers in the format.
func (f Format) Accept() string {
	if f == JSON {
		return "application/json"
	}
	return "multipart/mixed"
}

// A Request is one request in a batch.
type Request struct {
	Method string
	URL    string // relative to the service root, percent-encoded
	Header http.Header
	Body   []byte // one JSON object, or nil
}

// group is the id of the one group in a batch.
const group = "g1"

// Encode writes requests as a batch; atomic makes them one group. boundary is
// for multipart only: 1 to 60 letters and digits that no body holds.
func (f Format) Encode(requests []Request, atomic bool, boundary string) (contentType string, body []byte) {
	if f == JSON {
		return "application/json", encodeJSON(requests, atomic)
	}
	return "multipart/mixed;boundary=batch_" + boundary, encodeMultipart(requests, atomic, boundary)
}

// id is the Content-ID or id of the request at i.
func id(i int) string { return strconv.Itoa(i + 1) }

// A Part is the answer to one request.
type Part struct {
	ID     string // as sent; "" if there was none
	Status int    // 100 to 599
	Header http.Header
	Body   string // JSON, or text as it was sent
}

// Failed reports whether the status is one of an error.
func (p *Part) Failed() bool { return p.Status >= 400 }

// An Answer is what was read of an answer. Its parts are whole, also if the
// answer is not.
type Answer struct {
	Parts    []Part
	NextLink string // where a JSON answer goes on; "" if it does not
	Cut      bool   // the answer ends in its middle
	// GoesOn is set by the caller if the service has said that it goes on after
	// an error; then what is left out may have been done.
	GoesOn bool
}

// Read reads an answer. Its format is told by its media type, not by that of
// the request. The error has kind Invalid: the answer is no batch at all.
func Read(contentType, body string) (*Answer, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" {
		media = strings.ToLower(strings.TrimSpace(strings.SplitN(contentType, ";", 2)[0]))
	}
	a := &Answer{}
	switch {
	case strings.HasPrefix(media, "multipart/"):
		if params["boundary"] == "" {
			return nil, invalid("the answer to the batch has no boundary")
		}
		a.Cut = !readMultipart(body, params["boundary"], 0, &a.Parts)
	case media == "application/json" || media == "" && strings.HasPrefix(strings.TrimSpace(body), "{"):
		if err := readJSON(body, a); err != nil {
			return nil, err
		}
	default:
		return nil, invalid("the answer to the batch is neither multipart nor JSON")
	}
	return a, nil
}

func invalid(text string) error { return &kedge.Error{Kind: kedge.Invalid, Err: errors.New(text)} }
