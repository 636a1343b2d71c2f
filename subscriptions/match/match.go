// Package match finds the subscriptions that want an event. It does no I/O.
//
// An [Index] is keyed so that an event costs as much as it has lookup fields
// and matches, however many subscriptions there are.
package match

import (
	"slices"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// An Op is what an event means to a subscription.
type Op string

// The ops. An update that brings a record into scope and filter is Entered,
// one that takes it out Left.
const (
	Create  Op = "c"
	Update  Op = "u"
	Delete  Op = "d"
	Entered Op = "e"
	Left    Op = "l"
)

// Event returns the operation of the event that o is about.
func (o Op) Event() kedge.Operation {
	switch o {
	case Create:
		return kedge.OpCreate
	case Delete:
		return kedge.OpDelete
	}
	return kedge.OpUpdate
}

// Wanted reports whether someone who selected ops wants o.
func (o Op) Wanted(ops []kedge.Operation) bool {
	switch o {
	case Entered:
		return slices.Contains(ops, kedge.OpUpdate) || slices.Contains(ops, kedge.OpCreate)
	case Left:
		return slices.Contains(ops, kedge.OpUpdate) || slices.Contains(ops, kedge.OpDelete)
	}
	return slices.Contains(ops, o.Event())
}

// An Event is what an index needs of a [kedge.Event].
type Event struct {
	Entity        string
	Key           kedge.Key
	Op            kedge.Operation
	Changed       []string          // nil: not known
	After, Before *kedge.Record     // of a delete, After is the last known state; nil Before: not known
	Groups        map[string]string // of pushed data: lookup field: group key that it stays within
	Scrubbed      bool              // the values were erased: filters count as passed
	At            time.Time
}

// An Index holds the scopes of all subscriptions. It is safe for concurrent
// use.
type Index struct {
	mu       sync.RWMutex
	entities map[string]*entity
	subs     map[string][]*target
}

// A target is one scope of one subscription.
type target struct {
	sub     string
	account string
	scope   spec.Scope
	filter  string // canonical text, under which equal filters share a result
}

// An entity holds the targets of an entity's events: below the account, where
// records have one, and then by what they are about.
type entity struct {
	account  string // field, or ""
	accounts map[string]*bucket
	via      map[string]int // lookup fields, and how many targets use them
	targets  int
}

type bucket struct {
	whole  []*target
	record map[kedge.Key][]*target
	parent map[[2]string][]*target // lookup field and key
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{entities: map[string]*entity{}, subs: map[string][]*target{}}
}

// Put adds a subscription of an account, or replaces it.
func (x *Index) Put(sub, account string, scopes []spec.Scope) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(sub)
	for _, s := range scopes {
		t := &target{sub: sub, account: account, scope: s}
		if s.Filter != nil {
			t.filter = s.Filter.String()
		}
		e := x.entities[s.Entity]
		if e == nil {
			e = &entity{accounts: map[string]*bucket{}, via: map[string]int{}}
			x.entities[s.Entity] = e
		}
		e.add(t)
		x.subs[sub] = append(x.subs[sub], t)
	}
}

// Remove takes a subscription out.
func (x *Index) Remove(sub string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.remove(sub)
}

func (x *Index) remove(sub string) {
	for _, t := range x.subs[sub] {
		e := x.entities[t.scope.Entity]
		e.drop(t)
		if e.targets == 0 {
			delete(x.entities, t.scope.Entity)
		}
	}
	delete(x.subs, sub)
}

func (e *entity) bucketOf(t *target) (b *bucket, account string) {
	if t.scope.Account != "" {
		e.account, account = t.scope.Account, t.account
	}
	if e.accounts[account] == nil {
		e.accounts[account] = &bucket{record: map[kedge.Key][]*target{}, parent: map[[2]string][]*target{}}
	}
	return e.accounts[account], account
}

func (e *entity) add(t *target) {
	b, _ := e.bucketOf(t)
	e.targets++
	switch s := &t.scope; {
	case s.Record != "":
		b.record[s.Record] = append(b.record[s.Record], t)
	case s.Via != "":
		e.via[s.Via]++
		key := [2]string{s.Via, s.Parent}
		b.parent[key] = append(b.parent[key], t)
	default:
		b.whole = append(b.whole, t)
	}
}

func (e *entity) drop(t *target) {
	b, account := e.bucketOf(t)
	e.targets--
	switch s := &t.scope; {
	case s.Record != "":
		cut(b.record, s.Record, t)
	case s.Via != "":
		if e.via[s.Via]--; e.via[s.Via] == 0 {
			delete(e.via, s.Via)
		}
		cut(b.parent, [2]string{s.Via, s.Parent}, t)
	default:
		b.whole = without(b.whole, t)
	}
	if len(b.whole)+len(b.record)+len(b.parent) == 0 {
		delete(e.accounts, account)
	}
}

func cut[K comparable](m map[K][]*target, key K, t *target) {
	if m[key] = without(m[key], t); len(m[key]) == 0 {
		delete(m, key)
	}
}

// without removes t from list without keeping the order, in place.
func without(list []*target, t *target) []*target {
	i := slices.Index(list, t)
	if i < 0 {
		return list
	}
	last := len(list) - 1
	list[i], list[last] = list[last], nil
	return list[:last]
}

// Interest returns the fields that the subscriptions of an entity need.
func (x *Index) Interest(name string) kedge.Interest {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.entities[name]
	if e == nil {
		return kedge.Interest{}
	}
	after, before := map[string]bool{}, map[string]bool{}
	for _, b := range e.accounts {
		b.each(func(t *target) {
			for _, f := range t.scope.Needs() {
				after[f] = true
			}
			for _, f := range t.scope.Tests() {
				before[f] = true
			}
		})
	}
	return kedge.Interest{Any: true, After: sortedKeys(after), Before: sortedKeys(before)}
}

func (b *bucket) each(f func(*target)) {
	for _, t := range b.whole {
		f(t)
	}
	for _, list := range b.record {
		for _, t := range list {
			f(t)
		}
	}
	for _, list := range b.parent {
		for _, t := range list {
			f(t)
		}
	}
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Tests reports whether matching events of the entity needs values of records.
func (x *Index) Tests(name string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.entities[name]
	if e == nil {
		return false
	}
	if e.account != "" || len(e.via) > 0 {
		return true
	}
	for _, b := range e.accounts {
		found := false
		b.each(func(t *target) { found = found || t.scope.Filter != nil })
		if found {
			return true
		}
	}
	return false
}

// Match calls hit for each subscription that wants ev.
func (x *Index) Match(ev *Event, hit func(sub string, op Op)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	e := x.entities[ev.Entity]
	if e == nil {
		return
	}
	m := matching{ev: ev, entity: e, hit: hit}
	m.run()
}

// A matching is one event on its way through an entity's targets.
type matching struct {
	ev     *Event
	entity *entity
	hit    func(string, Op)
	after  map[string]bool // results of filters
	before map[string]bool
}

func (m *matching) run() {
	after := m.places(m.ev.After)
	for _, p := range after {
		m.visit(p, true)
	}
	if m.ev.Op != kedge.OpUpdate || m.ev.Before == nil {
		return
	}
	// Where the record was before and is no more, it has left.
	for _, p := range m.places(m.ev.Before) {
		if !slices.Contains(after, p) {
			m.visit(p, false)
		}
	}
}

// A place is where targets of a record are: all of an account, or those below
// a parent.
type place struct {
	account string
	field   string // lookup field; "" means whole and record
	parent  string
}

func (m *matching) places(r *kedge.Record) []place {
	account := ""
	if m.entity.account != "" {
		if r == nil {
			return nil
		}
		account = keyText(r.Get(m.entity.account))
		if account == "" {
			return nil
		}
	}
	out := []place{{account: account}}
	if r == nil {
		return out
	}
	for field := range m.entity.via {
		v := r.Get(field)
		parent := keyText(v)
		if group := m.ev.Groups[field]; group != "" && parent != "" {
			parent = string(kedge.NewKey(kedge.String(group), v))
		}
		if parent != "" {
			out = append(out, place{account, field, parent})
		}
	}
	return out
}

// keyText is the text of a lookup's value, as it is in a key.
func keyText(v kedge.Value) string { return string(kedge.NewKey(v)) }

// visit tests the targets of a place. now: the record is there after the
// event.
func (m *matching) visit(p place, now bool) {
	b := m.entity.accounts[p.account]
	if b == nil {
		return
	}
	if p.field != "" {
		m.each(b.parent[[2]string{p.field, p.parent}], p, now)
		return
	}
	m.each(b.whole, p, now)
	m.each(b.record[m.ev.Key], p, now)
}

func (m *matching) each(list []*target, p place, now bool) {
	for _, t := range list {
		op := m.meaning(t, p, now)
		if op != "" && op.Wanted(t.scope.Operations) {
			m.hit(t.sub, op)
		}
	}
}

// meaning returns what the event means to t, or "".
func (m *matching) meaning(t *target, p place, now bool) Op {
	ev := m.ev
	is := now && m.passes(t, ev.After, &m.after)
	switch {
	case ev.Op == kedge.OpCreate && is:
		return Create
	case ev.Op == kedge.OpDelete && is:
		return Delete
	case ev.Op != kedge.OpUpdate:
		return ""
	}
	was := is // not known: as now
	if ev.Before != nil {
		was = (!now || slices.Contains(m.places(ev.Before), p)) && m.passes(t, ev.Before, &m.before)
	}
	switch {
	case is && !was:
		return Entered
	case was && !is:
		return Left
	case is && touches(ev.Changed, t.scope.Fields):
		return Update
	}
	return ""
}

// touches reports whether a change is about one of fields.
func touches(changed, fields []string) bool {
	return changed == nil || slices.ContainsFunc(changed, func(f string) bool { return slices.Contains(fields, f) })
}

// passes reports whether r passes the filter of t. Equal filters are evaluated
// once for each record.
func (m *matching) passes(t *target, r *kedge.Record, seen *map[string]bool) bool {
	if t.scope.Filter == nil || m.ev.Scrubbed {
		return true
	}
	if ok, known := (*seen)[t.filter]; known {
		return ok
	}
	if *seen == nil {
		*seen = map[string]bool{}
	}
	ok := evaluate(t, r, m.ev.At)
	(*seen)[t.filter] = ok
	return ok
}

func evaluate(t *target, r *kedge.Record, at time.Time) bool {
	if r == nil {
		return false
	}
	expr := t.scope.Filter
	if expr.Volatile() {
		source, err := filter.Parse(t.scope.FilterText)
		if err != nil {
			return false
		}
		if expr, err = source.Bind(t.scope.Schema, at); err != nil {
			return false
		}
	}
	truth, err := expr.Match(r)
	return err == nil && truth == filter.Yes
}
