package odatatest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/kedge-sync/kedge"
)

// A token is what a next or delta link remembers besides the query options
// that the link repeats.
type token struct {
	Set   string    `json:"s"`
	Of    uint32    `json:"of"`          // the service's history; another process has another
	Size  int       `json:"n,omitempty"` // of pages
	Page  int       `json:"p,omitempty"` // number of the page, from 0
	Left  *int      `json:"l,omitempty"` // rows that $top still allows
	After []*string `json:"a,omitempty"` // values of the order of the last row; nil is null
	Seen  int       `json:"o,omitempty"` // rows sent so far, for the quirk offset-tokens

	Track bool  `json:"t,omitempty"`
	From  int64 `json:"f,omitempty"` // commit from which changes count
	Live  bool  `json:"v,omitempty"` // the pages before were of rows as they were when they were read
	Upto  int64 `json:"u,omitempty"` // commit up to which changes count, on later pages of a delta
	At    int   `json:"i,omitempty"` // edits done, on later pages of a delta
}

func (t *token) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic(err) // a struct of scalars
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseToken reads an option that holds a token, or returns nil.
func (s *Service) parseToken(opts map[string]string, name string, t *table) (*token, error) {
	text, ok := opts[name]
	if !ok {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	tok := &token{}
	if err == nil {
		err = json.Unmarshal(b, tok)
	}
	if err != nil || tok.Set != t.ent.Name {
		return nil, badRequest("%s is malformed.", name)
	}
	if tok.Of != s.history && (tok.Track || name == "$deltatoken") && !s.quirk(DeltaForgets) {
		return nil, gone()
	}
	if len(tok.After) > 0 && name == "$deltatoken" {
		return nil, badRequest("%s is malformed.", name)
	}
	return tok, nil
}

// gone is the answer to a delta link that is no longer known (Protocol 4.01, 11.3.2).
func gone() *failure {
	return fail(http.StatusGone, "syncStateNotFound", "The delta link is no longer known; read the collection again.")
}

// link returns the URL of the query with tok in the option of the given name.
func (s *Service) link(rq *request, q *query, t *table, name string, tok *token) string {
	var b strings.Builder
	switch {
	case s.quirk(RelativeLinks): // to the URL of the request (RFC 3986, 5.2)
	case s.quirk(ForeignLinks) && name == "$skiptoken":
		b.WriteString(strings.TrimSuffix(s.opts.ForeignURL, "/") + s.root + rq.prefix)
	default:
		b.WriteString(rq.base + rq.prefix)
	}
	b.WriteString(t.ent.Name)
	sep := byte('?')
	for _, o := range q.options {
		switch {
		case o.name == name, o.name == "$skiptoken", o.name == "$skip":
			continue
		case o.name == "$top" && !s.quirk(NextAfterTop), name == "$deltatoken" && (o.name == "$orderby" || o.name == "$count"):
			continue
		}
		b.WriteByte(sep)
		b.WriteString(strings.ReplaceAll(escape(o.name), "%24", "$") + "=" + escape(o.value))
		sep = '&'
	}
	b.WriteByte(sep)
	tok.Of = s.history
	b.WriteString(name + "=" + tok.String())
	return b.String()
}

// cursor returns the values of the order of a row, for a token.
func cursor(values []kedge.Value) []*string {
	out := make([]*string, len(values))
	for i, v := range values {
		if !v.IsEmpty() {
			text := v.Text()
			out[i] = &text
		}
	}
	return out
}

// position reads back what cursor has written.
func (t *table) position(o *ordering, after []*string) ([]kedge.Value, error) {
	if len(after) != len(o.props) {
		return nil, badRequest("$skiptoken does not fit the query.")
	}
	values := make([]kedge.Value, len(after))
	for i, text := range after {
		values[i] = kedge.Null()
		if text == nil {
			continue
		}
		v, err := kedge.ParseText(t.props[o.props[i]].Type, *text)
		if err != nil {
			return nil, badRequest("$skiptoken does not fit the query.")
		}
		values[i] = v
	}
	return values, nil
}
