package odatatest

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// A request is what the headers of a request ask for.
type request struct {
	*http.Request
	version  string // of the answer: V40 or V401
	base     string // absolute URL of the service root, with slash
	prefix   string // of the company: "companies(…)/", or ""
	ieee754  bool
	metadata string // none, minimal or full
	xml      bool   // of $metadata
	pageSize int    // odata.maxpagesize, or 0
	track    bool   // odata.track-changes
	returns  string // minimal, representation or ""
	goOn     string // odata.continue-on-error: true, false or ""

	body []byte            // of a write
	part bool              // of a batch
	refs map[string]string // URLs by the ids of the requests before it in a batch
}

// newRequest reads the headers (Protocol 4.01, 8.2).
func (s *Service) newRequest(r *http.Request) (*request, error) {
	rq := &request{Request: r, version: s.opts.Version, metadata: "minimal"}
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	rq.base = scheme + r.Host + s.root
	if v := r.Header.Get("OData-MaxVersion"); v != "" {
		switch {
		case v == V40:
			rq.version = V40
		case v == V401:
		default:
			n, err := strconv.ParseFloat(v, 64)
			if err != nil || n < 4 {
				return rq, badRequest("OData-MaxVersion %s is not supported.", V40)
			}
		}
	}
	if v := r.Header.Get("OData-Version"); v != "" && v != V40 && (v != V401 || s.opts.Version == V40) {
		return rq, badRequest("OData-Version is not supported.")
	}
	rq.preferences(r.Header.Values("Prefer"))
	return rq, nil
}

// preferences reads Prefer (RFC 7240); names may have the prefix "odata." in
// 4.01 and must have it in 4.0.
func (rq *request) preferences(headers []string) {
	for _, p := range strings.Split(strings.Join(headers, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if rq.version == V401 {
			name = "odata." + strings.TrimPrefix(name, "odata.")
		}
		switch name {
		case "odata.maxpagesize":
			if n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`)); err == nil && n > 0 && rq.pageSize == 0 {
				rq.pageSize = n
			}
		case "odata.track-changes":
			rq.track = true
		case "return", "odata.return":
			if value = strings.TrimSpace(value); rq.returns == "" && (value == "minimal" || value == "representation") {
				rq.returns = value
			}
		case "odata.continue-on-error":
			if rq.goOn == "" {
				rq.goOn = "true"
				if strings.EqualFold(strings.TrimSpace(value), "false") {
					rq.goOn = "false"
				}
			}
		}
	}
}

// negotiate reads Accept, which $format overrides (URL Conventions 4.01,
// 5.1.2.11). Only $metadata is offered as XML.
func (s *Service) negotiate(rq *request, format string, xmlToo bool) error {
	accept := strings.Join(rq.Header.Values("Accept"), ",")
	if format != "" {
		accept = map[string]string{"json": "application/json", "xml": "application/xml"}[format]
		if accept == "" {
			accept = format
		}
	}
	if strings.TrimSpace(accept) == "" {
		accept = "*/*"
	}
	ok := false
	for _, part := range strings.Split(accept, ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		switch kind {
		case "*/*", "application/*":
			ok, rq.xml = true, xmlToo
		case "application/xml":
			ok, rq.xml = ok || xmlToo, xmlToo
		case "application/json":
			ok, rq.xml = true, false
			if err := s.parameters(rq, params); err != nil {
				return err
			}
		default:
			continue
		}
		if ok {
			return nil
		}
	}
	return fail(http.StatusNotAcceptable, "NotAcceptable", "The answer cannot be had in an accepted format.")
}

// parameters reads the format parameters (JSON Format 4.01, 3).
func (s *Service) parameters(rq *request, params map[string]string) error {
	for name, value := range params { // mime has made the names lower-case
		switch strings.TrimPrefix(name, "odata.") {
		case "ieee754compatible":
			if s.quirk(NoIEEE754) {
				return fail(http.StatusNotAcceptable, "NotAcceptable", "The format parameter is not supported.")
			}
			rq.ieee754 = strings.EqualFold(value, "true")
		case "metadata":
			switch value {
			case "none", "minimal", "full":
				rq.metadata = value
			default:
				return badRequest("The metadata parameter must be none, minimal or full.")
			}
		}
	}
	return nil
}

// contentType returns the type of a JSON answer.
func (rq *request) contentType() string {
	t := "application/json;odata.metadata=" + rq.metadata
	if rq.version == V401 {
		t = "application/json;metadata=" + rq.metadata
	}
	if rq.ieee754 {
		t += ";IEEE754Compatible=true"
	}
	return t
}

// control returns the name of a piece of control information as a JSON name
// with colon: 4.01 leaves out the prefix (JSON Format 4.01, 4.6).
func (rq *request) control(name string) string {
	if rq.version == V401 {
		return `"@` + name + `":`
	}
	return `"@odata.` + name + `":`
}

// preferenceApplied returns the header that tells which preferences counted.
func (rq *request) preferenceApplied(sized, tracked bool) string {
	prefix := "odata."
	if rq.version == V401 {
		prefix = ""
	}
	var applied []string
	if sized {
		applied = append(applied, prefix+"maxpagesize="+strconv.Itoa(rq.pageSize))
	}
	if tracked {
		applied = append(applied, prefix+"track-changes")
	}
	return strings.Join(applied, ",")
}

// expandReference replaces "$id" at the begin of a URL by the URL of the
// request with that id (Protocol 4.01, 11.7.3.1).
func (rq *request) expandReference(link string) (string, bool) {
	id, rest, nested := strings.Cut(strings.TrimPrefix(link, "$"), "/")
	url, ok := rq.refs[id]
	if nested {
		url += "/" + rest
	}
	return url, ok
}

// readBody reads the body of a write.
func (rq *request) readBody() (err error) {
	if rq.Body == nil {
		return nil
	}
	if e := rq.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The body must not be compressed.")
	}
	if rq.body, err = io.ReadAll(io.LimitReader(rq.Body, maxBody+1)); err != nil {
		return badRequest("The body cannot be read.")
	}
	if len(rq.body) > maxBody {
		return fail(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The body is too large.")
	}
	return nil
}

// isolation returns the isolation that is asked for (Protocol 4.01, 8.2.6).
func (rq *request) isolation() string {
	if i := rq.Header.Get("Isolation"); i != "" {
		return i
	}
	return rq.Header.Get("OData-Isolation")
}
