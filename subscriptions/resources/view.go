package resources

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// maxSearch bounds the text that is searched for, in bytes.
const maxSearch = 200

var errPage = &kedge.Error{Op: "resources", Kind: kedge.Invalid, Err: errors.New("the page token is not one of this list; start without it")}

// narrow adds search and filter.
func (l *look) narrow(q Query) error {
	bad := func(format string, args ...any) error {
		return &kedge.Error{Op: "resources", Kind: kedge.Invalid, Err: fmt.Errorf(format, args...)}
	}
	e := l.entry
	if len(q.Search) > maxSearch {
		return bad("search: is longer than %d bytes", maxSearch)
	}
	if q.Search != "" && len(e.Search) == 0 {
		return bad("search: %s has no search fields; see subscriptions.entities", e.Name)
	}
	l.search = strings.ToLower(q.Search)
	if q.Filter != "" {
		if len(q.Filter) > spec.MaxFilter {
			return bad("filter: is longer than %d bytes", spec.MaxFilter)
		}
		expr, err := filter.Parse(q.Filter)
		if err == nil {
			expr, err = expr.Bind(e.Schema, l.reader.now())
		}
		if err != nil {
			return bad("filter: %v", err)
		}
		granted := l.viewer.Grants.Any(e).Fields
		for _, f := range expr.Fields() {
			if !slices.Contains(granted, f) {
				return bad("filter: %q is not a field that is granted; use %s", f, strings.Join(granted, ", "))
			}
		}
		l.filter = expr
		l.fields = append(l.fields, expr.Fields()...)
		slices.Sort(l.fields)
		l.fields = slices.Compact(l.fields)
	}
	sum := sha256.Sum256([]byte(e.Name + "\x00" + l.viewer.Account + "\x00" + q.Search + "\x00" + q.Filter))
	l.tag = sum[:8]
	l.push(q)
	return nil
}

// push makes the filter that the source may apply. What cannot be said in one
// is left to passes.
func (l *look) push(q Query) {
	var parts []string
	e := l.entry
	if e.Account != "" && l.viewer.Account != "" {
		if t, ok := literal(e.Schema.Field(e.Account), l.viewer.Account); ok {
			parts = append(parts, e.Account+" eq "+t)
		}
	}
	if text, ok := l.grantFilter(); ok {
		parts = append(parts, text)
	}
	if text, ok := l.searchFilter(); ok {
		parts = append(parts, text)
	}
	if q.Filter != "" {
		parts = append(parts, "("+q.Filter+")")
	}
	for len(parts) > 0 {
		expr, err := filter.Parse(strings.Join(parts, " and "))
		if err == nil {
			expr, err = expr.Bind(e.Schema, l.reader.now())
		}
		if err == nil {
			l.pushed = expr
			return
		}
		parts = parts[1:] // too long together, for example
	}
}

// grantFilter says which records the grants are about, unless that is all.
func (l *look) grantFilter() (string, bool) {
	list, all := l.viewer.Grants.List(l.entry.Name)
	if all {
		return "", false
	}
	var parts []string
	for _, g := range list {
		condition, ok := l.grantCondition(g)
		if !ok {
			return "", false
		}
		parts = append(parts, condition)
	}
	return "(" + strings.Join(parts, " or ") + ")", true
}

func (l *look) grantCondition(g spec.Grant) (string, bool) {
	e, c := l.entry, l.reader.catalog
	var parts []string
	switch {
	case g.Record != "":
		r, err := c.GrantRecord(g)
		if err != nil || e.Pushed {
			return "", false
		}
		for i, name := range e.Schema.Key {
			t, ok := literal(e.Schema.Field(name), r.Values[i])
			if !ok {
				return "", false
			}
			parts = append(parts, name+" eq "+t)
		}
		return "(" + strings.Join(parts, " and ") + ")", true
	case g.Under != "":
		r, err := c.ResolveText(g.Under)
		if err != nil || c.Grouped(e, r.Entity) {
			return "", false
		}
		for _, via := range e.Via(r.Entity) {
			t, ok := literal(e.Schema.Field(via), string(r.Key()))
			if !ok {
				return "", false
			}
			parts = append(parts, via+" eq "+t)
		}
		return "(" + strings.Join(parts, " or ") + ")", len(parts) > 0
	}
	return "", false // all of them
}

func (l *look) searchFilter() (string, bool) {
	if l.search == "" {
		return "", false
	}
	var parts []string
	for _, f := range l.entry.Search {
		if l.entry.Schema.Field(f).Type != kedge.TypeString || strings.ContainsFunc(l.search, func(r rune) bool { return r > 0x7e || r < ' ' }) {
			return "", false // how a database compares those in lower case differs
		}
		parts = append(parts, "contains(tolower("+f+"),'"+strings.ReplaceAll(l.search, "'", "''")+"')")
	}
	return "(" + strings.Join(parts, " or ") + ")", true
}

// literal writes the text of a value in the filter language.
func literal(f *kedge.Field, text string) (string, bool) {
	v, err := kedge.ParseText(f.Type, text)
	if err != nil {
		return "", false
	}
	switch f.Type {
	case kedge.TypeString:
		if f.Format == kedge.FormatGUID {
			return v.Str(), true
		}
		return "'" + strings.ReplaceAll(v.Str(), "'", "''") + "'", true
	case kedge.TypeBool, kedge.TypeInt, kedge.TypeDecimal, kedge.TypeTime, kedge.TypeDate:
		return v.Text(), true
	}
	return "", false
}

// passes reports whether a record is to be listed.
func (l *look) passes(r *kedge.Record) bool {
	e := l.entry
	if r.Removed != 0 {
		return false
	}
	if e.Account != "" && l.viewer.Account != "" && r.Get(e.Account).Text() != l.viewer.Account {
		return false
	}
	a := l.access(r)
	if a.None() {
		return false
	}
	if l.search != "" && !slices.ContainsFunc(e.Search, func(f string) bool {
		return slices.Contains(a.Fields, f) && strings.Contains(strings.ToLower(r.Get(f).Text()), l.search)
	}) {
		return false
	}
	if l.filter == nil {
		return true
	}
	for _, f := range l.filter.Fields() {
		if !slices.Contains(a.Fields, f) {
			return false
		}
	}
	truth, err := l.filter.Match(r)
	return err == nil && truth == filter.Yes
}

// access returns what the viewer may see of a record.
func (l *look) access(r *kedge.Record) spec.Access {
	c, e := l.reader.catalog, l.entry
	own := e.Resource(r.Key)
	return l.viewer.Grants.Where(e, func(g spec.Grant) bool {
		switch {
		case g.Record != "":
			granted, err := c.GrantRecord(g)
			return err == nil && granted.String() == own.String()
		case g.Under != "":
			parent, err := c.ResolveText(g.Under)
			return err == nil && slices.ContainsFunc(e.Via(parent.Entity), func(via string) bool {
				v := r.Get(via)
				return !v.IsEmpty() && c.ParentKey(e, via, r.Key, v) == parent.Key()
			})
		}
		return true
	})
}

// resource returns a record as it is listed.
func (l *look) resource(r *kedge.Record) Resource {
	e := l.entry
	own := e.Resource(r.Key)
	out := Resource{Resource: own.String(), Key: map[string]json.RawMessage{}}
	for _, name := range e.Schema.Key {
		out.Key[name] = plain(r.Get(name))
	}
	for i, v := range own.Values {
		switch {
		case !e.Pushed:
		case own.Names != nil:
			out.Key[own.Names[i]] = plain(kedge.String(v))
		default:
			out.Key["id"] = plain(kedge.String(v))
		}
	}
	out.Title = out.Resource[strings.IndexByte(out.Resource, '/')+1:]
	if e.Title != "" && slices.Contains(l.access(r).Fields, e.Title) {
		if t := r.Get(e.Title).Text(); t != "" {
			out.Title = t
		}
	}
	return out
}

// seal returns the token of a page for clients. It fits this query only.
func (l *look) seal(t connectors.Token) string {
	return base64.RawURLEncoding.EncodeToString(append(slices.Clone(l.tag), t...))
}

func (l *look) open(text string) (connectors.Token, error) {
	if text == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || !bytes.HasPrefix(raw, l.tag) {
		return "", errPage
	}
	return connectors.Token(raw[len(l.tag):]), nil
}
