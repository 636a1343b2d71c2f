package odatatest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/kedge-sync/kedge"
)

// answers holds whole answers to reads of rows, by request. It is nil unless
// the service is for benchmarks.
type answers struct {
	mu   sync.RWMutex
	kept map[string]*answer
}

func answerKey(rq *request) string {
	return rq.Host + "\n" + rq.URL.RequestURI() + "\n" + rq.version + "\n" +
		strings.Join(rq.Header["Accept"], ",") + "\n" + strings.Join(rq.Header["Prefer"], ",") + "\n" + rq.Header.Get("If-None-Match")
}

func (a *answers) get(rq *request) *answer {
	if a == nil {
		return nil
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	kept := a.kept[answerKey(rq)]
	if kept == nil {
		return nil
	}
	return &answer{status: kept.status, header: kept.header.Clone(), body: kept.body}
}

func (a *answers) keep(rq *request, got *answer) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.kept == nil {
		a.kept = make(map[string]*answer)
	}
	a.kept[answerKey(rq)] = &answer{status: got.status, header: got.header.Clone(), body: got.body}
}

func (a *answers) drop() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = nil
}

// A Read is a read that Prerender makes ready: a first page and all that its
// next links lead to.
type Read struct {
	URL    string      // absolute, as the client will send it, or a delta link
	Header http.Header // Accept, Prefer and OData-MaxVersion, as the client will send them
}

// Prerender makes the answers to the pages of a read, so that the service only
// copies bytes when they are asked for, and returns the delta link at the end,
// or "". It needs [Options.Bench]. Edits make the answers void.
func (s *Service) Prerender(read Read) (deltaLink string, err error) {
	for url := read.URL; ; {
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return "", err
		}
		r.Header = read.Header.Clone()
		rq, err := s.newRequest(r)
		if err != nil {
			return "", err
		}
		a, _, err := s.dispatch(rq)
		if err != nil {
			return "", fmt.Errorf("odatatest: prerender: %w", err)
		}
		next, delta := links(rq, a.body)
		if next == "" {
			return delta, nil
		}
		url = next
	}
}

// links finds the next and the delta link at the end of a page.
func links(rq *request, body []byte) (next, delta string) {
	const most = 16 << 10 // bytes; longer than two links
	tail := string(body[max(0, len(body)-most):])
	find := func(name string) string {
		i := strings.LastIndex(tail, rq.control(name))
		if i < 0 || strings.LastIndex(tail, "],") > i {
			return ""
		}
		text, err := strconv.QuotedPrefix(tail[i+len(rq.control(name)):])
		if err != nil {
			return ""
		}
		text, _ = strconv.Unquote(text)
		return text
	}
	return find("nextLink"), find("deltaLink")
}

// BenchEdit changes n rows of a set, spread evenly over it, in one commit: the
// first field that is an ordinary decimal or text gets another value.
func (s *Service) BenchEdit(set string, n int) error {
	s.mu.RLock()
	t := s.table(set)
	if t == nil {
		s.mu.RUnlock()
		return noSet(set)
	}
	at := t.plainField()
	var edits []kedge.Record
	fields := kedge.NewFields(append([]string{t.props[max(at, 0)].Name}, t.ent.Key...)...)
	for i := 0; i < n && at >= 0; i++ {
		r := t.rows[i*len(t.rows)/n]
		values := t.values(r, s.seq)
		if values == nil {
			continue
		}
		edits = append(edits, kedge.Record{Fields: fields, Values: append([]kedge.Value{another(values[at], s.seq+1)}, r.keys()...)})
	}
	s.mu.RUnlock()
	return s.Patch(set, edits...)
}

// plainField returns the field that BenchEdit changes, or -1.
func (t *table) plainField() int {
	for _, kind := range []kedge.Type{kedge.TypeDecimal, kedge.TypeString} {
		for i := range t.props {
			p := &t.props[i]
			if p.Type == kind && p.Format == kedge.FormatNone && !p.Computed && len(p.Lookup) == 0 && !slices.Contains(t.key, i) {
				return i
			}
		}
	}
	return -1
}

// another returns a value other than v that depends on the commit only.
func another(v kedge.Value, seq int64) kedge.Value {
	text := strconv.FormatInt(seq, 10)
	if v.Type() == kedge.TypeDecimal {
		if v.Text() == text+".25" {
			return kedge.Decimal(text + ".75")
		}
		return kedge.Decimal(text + ".25")
	}
	return kedge.String(v.Text() + " #" + text)
}
