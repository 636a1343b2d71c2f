package wire

import (
	"errors"
	"slices"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A decoder reads one answer.
type decoder struct {
	scanner
	plan *Plan
	page Page
	slab []kedge.Value // free values
	// follow is, by node and by the entry met (the first one stands for the
	// begin), the entry that came behind it in the row before.
	follow [][]*entry
	first  int // place of the first row
	size   int // rows that are expected, or 0

	unescaped textSpace

	// The row that is read.
	values   []kedge.Value
	raws     []string            // by mark
	sent     uint16              // controls that the row has
	controls [numControls]string // of those
	flags    rowFlag
	bad      []badValue
	exact    []int // columns that have their exact value
}

type rowFlag uint8

const (
	isRemoved rowFlag = 1 << iota
	linksChanged
)

// A badValue is a value that does not fit its column; -1 if it belongs to none.
type badValue struct {
	col   int
	field string
	err   error
}

func newDecoder(p *Plan, body string) *decoder {
	d := &decoder{scanner: scanner{s: body}, plan: p, unescaped: textSpace{size: 8 << 10}}
	d.page.Count = -1
	n := 0
	for _, node := range p.nodes {
		n += len(node.entries) + 1
	}
	all := make([]*entry, n)
	d.follow = make([][]*entry, len(p.nodes))
	for i, node := range p.nodes {
		n := len(node.entries) + 1
		d.follow[i], all = all[:n], all[n:]
		for j := range n {
			d.follow[i][j] = &node.entries[min(j, n-2)] // as good as any
		}
	}
	raws := make([]string, 2*len(p.key)+1)
	d.page.Last.Key, d.raws = raws[:len(p.key):len(p.key)], raws[len(p.key):]
	return d
}

// row reads the row at i and adds what it gives to the page.
func (d *decoder) row(i, depth int) int {
	width, start, rejected := len(d.plan.cols), i, len(d.page.Rejected)
	if len(d.slab) < width {
		d.grow(i)
	}
	d.values = d.slab[:width:width]
	d.bad, d.exact = d.bad[:0], d.exact[:0]
	clear(d.raws)
	d.sent, d.flags = 0, 0
	if i = d.object(0, i, depth); i < 0 {
		return -1
	}
	d.page.Rows++
	if d.plan.spec.Delta {
		d.endDelta()
	} else {
		d.endRow()
	}
	if len(d.page.Rejected) > rejected { // its text must not keep the whole page
		d.page.Rejected[rejected].Raw = strings.Clone(d.s[start:min(i, start+connectors.MaxRaw)])
	}
	return i
}

// grow makes the slab for the rows that are probably still to come, guessed
// from the length of those before, or of the next one, and from how many are
// expected.
func (d *decoder) grow(i int) {
	rows := 1
	if d.page.Rows > 0 {
		rows += (len(d.s) - i) * d.page.Rows / (i - d.first)
		rows += rows / 16
	} else if _, _, next := (&scanner{s: d.s}).skip(i, 0); next > i {
		rows += (len(d.s) - i) / (next - i)
	}
	if d.size > d.page.Rows {
		rows = min(rows, d.size-d.page.Rows)
	}
	d.slab = make([]kedge.Value, rows*len(d.plan.cols))
}

// object reads the object at i along node at.
func (d *decoder) object(at, i, depth int) int {
	s := d.s
	if i >= len(s) || s[i] != '{' {
		return d.fail(i, "an object")
	}
	if depth >= MaxDepth {
		return d.tooDeep()
	}
	n, follow := d.plan.nodes[at], d.follow[at]
	if i = d.space(i + 1); i < len(s) && s[i] == '}' {
		return i + 1
	}
	for last := 0; ; {
		e := follow[last]
		if strings.HasPrefix(s[i:], e.quoted) {
			i += len(e.quoted)
			last = e.self + 1
		} else if e, i = d.name(n, i); i < 0 {
			return -1
		} else if e != nil {
			follow[last] = e
			last = e.self + 1
		}
		if i < len(s) && isSpace(s[i]) {
			i = d.space(i)
		}
		if i = d.member(e, i, depth+1); i < 0 {
			return -1
		}
		if i < len(s) && isSpace(s[i]) {
			i = d.space(i)
		}
		switch {
		case i < len(s) && s[i] == ',':
			if i++; i < len(s) && isSpace(s[i]) {
				i = d.space(i)
			}
		case i < len(s) && s[i] == '}':
			return i + 1
		default:
			return d.fail(i, "a comma")
		}
	}
}

// name reads the name at i and the colon behind it, and finds its entry, or nil.
func (d *decoder) name(n *node, i int) (e *entry, next int) {
	if i >= len(d.s) || d.s[i] != '"' {
		return nil, d.fail(i, "a name")
	}
	raw, flags, next := d.text(i)
	if next < 0 {
		return nil, -1
	}
	if name, err := plainText(raw, flags); err != nil {
		d.bad = append(d.bad, badValue{col: -1, err: errText})
	} else {
		e = n.lookup(name)
	}
	if next = d.space(next); next >= len(d.s) || d.s[next] != ':' {
		return nil, d.fail(next, "a colon")
	}
	return e, next + 1
}

// member reads the value at i of entry e, nil if it is unknown. Of two values
// for a column the last counts, but for an exact one.
func (d *decoder) member(e *entry, i, depth int) int {
	if e == nil {
		_, bad, next := d.skip(i, depth)
		if bad != nil {
			d.bad = append(d.bad, badValue{col: -1, err: bad})
		}
		return next
	}
	start := i
	switch e.do {
	case doColumn:
		if len(d.bad)+len(d.exact) > 0 {
			i = d.again(e, i, depth)
			break
		}
		raw, bad, next := d.value(&d.values[e.at], e.column, i, depth)
		if e.mark >= 0 {
			d.raws[e.mark] = raw
		}
		if bad != nil {
			d.bad = append(d.bad, badValue{col: e.at, field: e.column.Path, err: bad})
		}
		i = next
	case doChild:
		i = d.child(e, i, depth)
	case doException:
		i = d.exception(e.at, i, depth)
	case doLinks:
		d.flags |= linksChanged
		_, _, i = d.skip(i, depth)
	case doControl:
		return d.control(e.also, i, depth)
	default:
		_, _, i = d.skip(i, depth)
	}
	if e.also != noControl && i > 0 {
		d.control(e.also, start, depth)
	}
	return i
}

// again reads the value at i of a column when the row has bad or exact values,
// which may be of the same column.
func (d *decoder) again(e *entry, i, depth int) int {
	var v kedge.Value
	raw, bad, next := d.value(&v, e.column, i, depth)
	if next > 0 && !slices.Contains(d.exact, e.at) {
		d.set(e.at, v, raw, bad)
	}
	return next
}

// control reads the value at i of control information.
func (d *decoder) control(c control, i, depth int) int {
	if c != removed && i < len(d.s) && d.s[i] == '"' {
		raw, flags, next := d.text(i)
		if next > 0 {
			if text, err := d.unescaped.plainText(raw, flags); err == nil {
				d.say(c, text)
			}
		}
		return next
	}
	_, _, next := d.skip(i, depth)
	switch {
	case next < 0:
	case c == removed:
		d.flags |= isRemoved
		d.say(c, reasonOf(d.s[i:next]))
	case c == deletedID: // a number, perhaps
		d.say(c, d.s[i:next])
	}
	return next
}

func (d *decoder) say(c control, text string) {
	d.sent |= 1 << c
	d.controls[c] = text
}

// said returns the control information c of the row, or "".
func (d *decoder) said(c control) string {
	if d.sent&(1<<c) == 0 {
		return ""
	}
	return d.controls[c]
}

func (d *decoder) set(col int, v kedge.Value, raw string, bad error) {
	if len(d.bad) > 0 {
		d.bad = slices.DeleteFunc(d.bad, func(b badValue) bool { return b.col == col })
	}
	d.values[col] = v
	if m := d.plan.marks[col]; m >= 0 {
		d.raws[m] = raw
	}
	if bad != nil {
		d.bad = append(d.bad, badValue{col: col, field: d.plan.cols[col].Path, err: bad})
	}
}

// child reads a complex value or an expanded row. Null makes all its parts null.
func (d *decoder) child(e *entry, i, depth int) int {
	for _, col := range d.plan.nodes[e.at].columns {
		d.set(col, kedge.Value{}, "", nil)
	}
	if i < len(d.s) && d.s[i] == '{' {
		return d.object(e.at, i, depth)
	}
	if i < len(d.s) && d.s[i] == 'n' {
		for _, col := range d.plan.nodes[e.at].columns {
			d.set(col, kedge.Null(), "", nil)
		}
		return d.word(i, "null")
	}
	_, _, next := d.skip(i, depth)
	if next > 0 {
		d.bad = append(d.bad, badValue{col: d.plan.nodes[e.at].columns[0], field: e.name, err: errors.New("the value is not an object")})
	}
	return next
}

// exception reads the exact text of a value that was rounded (Core.ValueException):
// a text, or an object with the member value.
func (d *decoder) exception(col, i, depth int) int {
	c := &d.plan.cols[col]
	exact := func(i int) int {
		if i >= len(d.s) || d.s[i] != '"' {
			_, _, next := d.skip(i, depth+1)
			return next
		}
		var v kedge.Value
		raw, bad, next := d.value(&v, c, i, depth+1)
		if next > 0 && bad == nil {
			d.set(col, v, raw, nil)
			d.exact = append(d.exact, col)
		}
		return next
	}
	if i >= len(d.s) || d.s[i] != '{' {
		return exact(i)
	}
	return d.members(i, func(name string, i int) int {
		if name == "value" {
			return exact(i)
		}
		_, _, next := d.skip(i, depth+1)
		return next
	})
}

// endRow adds the row that was read.
func (d *decoder) endRow() {
	key, ok := d.key()
	if id := d.said(entityID); !ok && id != "" {
		key, ok = d.keyFromID(id)
	}
	d.add(key, ok)
}

// add adds the row as a record, or as a rejected one.
func (d *decoder) add(key kedge.Key, ok bool) {
	p := d.plan
	version := ""
	if p.version >= 0 {
		version = d.raws[p.marks[p.version]]
		switch v := d.values[p.version]; {
		case v.IsNull():
			d.page.NullRows++
		case !v.IsMissing():
			d.page.later(v, version)
		}
	}
	if ok {
		d.page.Last.Version = version
		copy(d.page.Last.Key, d.raws)
	}
	if sent := d.said(etag); sent != "" {
		version = sent
	}
	switch {
	case len(d.bad) > 0:
		d.reject(key, d.bad[0].field, d.bad[0].err)
	case !ok:
		d.reject("", p.cols[p.key[0]].Path, errors.New("the row has no key"))
	default:
		n := p.fields.Len()
		d.slab = d.slab[len(p.cols):]
		d.page.Records = append(d.page.Records, kedge.Record{Fields: p.fields, Values: d.values[:n:n], Key: key, Version: version})
	}
}

func (d *decoder) reject(key kedge.Key, field string, err error) {
	d.page.Rejected = append(d.page.Rejected, connectors.BadRecord{Key: key, Field: field, Err: &kedge.Error{Kind: kedge.Invalid, Key: key, Err: err}})
	clear(d.values)
}

// key makes the key of the values read. It has no use of the heap if the key
// is one text or one plain integer.
func (d *decoder) key() (kedge.Key, bool) {
	p := d.plan
	switch len(p.key) {
	case 0:
		return "", true
	case 1:
		v := d.values[p.key[0]]
		if v.Type() == kedge.TypeString {
			return kedge.Key(v.Str()), v.Str() != ""
		}
		if raw := d.raws[0]; v.Type() == kedge.TypeInt && isCanonicalInt(raw) {
			return kedge.Key(raw), true
		}
		key := kedge.NewKey(v)
		return key, key != ""
	}
	var few [4]kedge.Value
	parts := few[:0]
	for _, col := range p.key {
		parts = append(parts, d.values[col])
	}
	key := kedge.NewKey(parts...)
	return key, key != ""
}

func isCanonicalInt(s string) bool {
	if s == "" || s[0] == '0' && len(s) > 1 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}
