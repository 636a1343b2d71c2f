package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge/internal/nearest"
)

// OnlyParams returns the query parameters of r. One that is not in names is
// 400, and so is one that is there twice, unless its name is given as
// "name...".
func OnlyParams(r *http.Request, names ...string) (url.Values, error) {
	bad := func(format string, args ...any) (url.Values, error) {
		return nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf(format, args...)}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("the query of the URL is not valid; percent-encode the values")
	}
	var known []string
	for _, n := range names {
		known = append(known, strings.TrimSuffix(n, "..."))
	}
	for name, v := range values {
		switch {
		case !slices.Contains(known, name):
			if near := nearest.Name(name, known); near != "" {
				return bad("unknown parameter %q; did you mean %q?", shorten(name), near)
			}
			if len(known) == 0 {
				return bad("unknown parameter %q; this call takes none", shorten(name))
			}
			return bad("unknown parameter %q; this call takes %s", shorten(name), strings.Join(known, ", "))
		case len(v) > 1 && !slices.Contains(names, name+"..."):
			return bad("parameter %q is there %d times; give it once", name, len(v))
		}
		for _, s := range v {
			if !utf8.ValidString(s) {
				return bad("parameter %q is not UTF-8", name)
			}
		}
	}
	return values, nil
}

// shorten bounds a name that came from outside.
func shorten(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

// The bounds of [Page].
const (
	DefaultLimit = 100
	MaxLimit     = 500
)

// A Page is the part of a list that a client asks for.
type Page struct {
	Limit           int    // 1 to MaxLimit
	Cursor          string // the Next of the page before; empty: from the start
	Filter, OrderBy string
}

// PageParams reads limit, cursor, filter and orderby, and the parameters that
// others names, as [OnlyParams] does.
func PageParams(r *http.Request, others ...string) (Page, url.Values, error) {
	values, err := OnlyParams(r, append([]string{"limit", "cursor", "filter", "orderby"}, others...)...)
	if err != nil {
		return Page{}, nil, err
	}
	p := Page{Limit: DefaultLimit, Cursor: values.Get("cursor"), Filter: values.Get("filter"), OrderBy: values.Get("orderby")}
	if values.Has("limit") {
		if p.Limit, err = strconv.Atoi(values.Get("limit")); err != nil || p.Limit < 1 || p.Limit > MaxLimit {
			return Page{}, nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("limit must be a number from 1 to %d", MaxLimit)}
		}
	}
	return p, values, nil
}

// A List is one page of a list.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; empty on the last one
}

// MarshalJSON writes an empty list as [], not as null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	type plain List[T]
	if l.Items == nil {
		l.Items = []T{}
	}
	return json.Marshal(plain(l))
}

// ETag returns a strong entity tag of what the parts say together.
func ETag(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return `"` + hex.EncodeToString(h.Sum(nil)[:16]) + `"`
}

// IfMatch checks the If-Match header of r against the tag of what is stored
// (RFC 9110, 13.1.1): none of it is 412; no header is 428 if it is required.
// An empty etag means that nothing is stored, which nothing matches.
func IfMatch(r *http.Request, etag string, required bool) error {
	header := strings.Join(r.Header.Values("If-Match"), ",")
	if strings.TrimSpace(header) == "" {
		if required {
			return &Problem{Status: http.StatusPreconditionRequired, Detail: "send If-Match with the ETag that you read, so that nobody's change is overwritten"}
		}
		return nil
	}
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); etag != "" && (tag == "*" || tag == etag) {
			return nil
		}
	}
	return &Problem{Status: http.StatusPreconditionFailed, Detail: "it was changed since you read it; read it again, then change it"}
}
