package wire

import (
	"errors"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// A Page is what an answer with a collection holds.
type Page struct {
	Records   []kedge.Record
	Rejected  []connectors.BadRecord
	NextLink  string // as sent; "" if there is none
	DeltaLink string // as sent; "" if there is none
	Count     int64  // -1 if it was not sent
	Rows      int    // members of the collection, whatever became of them
	Skipped   int    // rows of other sets and links that do not matter, in a delta
	NullRows  int    // rows whose version is null

	// Last is the place of the last row that has a key, Greatest the greatest
	// version of all rows, with its text as the server sent it.
	Last     Position
	Greatest string
	greatest kedge.Value

	Reread []kedge.Key // rows whose links have changed, in a delta
}

// A Position is the place of a row in the order of version and key. Its texts
// are as the server sent them.
type Position struct {
	Version string // "" if null or not sent
	Key     []string
}

// minRow is the least length of a row with a key, in bytes.
const minRow = len(`{"k":1},`)

// Decode reads the body of an answer with a collection. size is how many rows
// are expected; it is only a hint.
func (p *Plan) Decode(body string, size int) (*Page, error) {
	d := newDecoder(p, body)
	d.size = size
	d.page.Records = make([]kedge.Record, 0, min(size, len(body)/minRow))
	i := d.space(0)
	if i = d.document(i); i < 0 {
		return nil, d.err
	}
	return &d.page, nil
}

// Row reads the body of an answer with one row. A row that does not fit is in
// Rejected.
func (p *Plan) Row(body string) (*Page, error) {
	d := newDecoder(p, body)
	i := d.space(0)
	if i = d.row(i, 0); i >= 0 {
		if i = d.space(i); i < len(body) {
			i = d.fail(i, "the end")
		}
	}
	if i < 0 {
		return nil, d.err
	}
	return &d.page, nil
}

// document reads the object around the collection.
func (d *decoder) document(i int) int {
	if i < len(d.s) && d.s[i] == '<' {
		d.err = &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the answer is HTML or XML, not JSON")}
		return -1
	}
	found := false
	i = d.members(i, func(name string, i int) int {
		switch control := strings.TrimPrefix(strings.TrimPrefix(name, "@"), "odata."); {
		case name == "value":
			found = true
			return d.rows(i)
		case name == "error":
			if d.err == nil {
				d.err = &kedge.Error{Kind: kedge.Transient, Err: errors.New("the service reported an error in the middle of its answer")}
			}
			return -1
		case !strings.HasPrefix(name, "@"):
		case control == "nextLink":
			return d.link(i, &d.page.NextLink)
		case control == "deltaLink":
			return d.link(i, &d.page.DeltaLink)
		case control == "count":
			return d.count(i)
		}
		_, _, next := d.skip(i, 1)
		return next
	})
	if i < 0 {
		return i
	}
	if i = d.space(i); i < len(d.s) {
		return d.fail(i, "the end")
	}
	if !found {
		d.err = &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the answer has no value array")}
		return -1
	}
	return i
}

// members reads the object at i, giving each name and the place of its value
// to read.
func (d *decoder) members(i int, read func(name string, i int) int) int {
	if i >= len(d.s) || d.s[i] != '{' {
		return d.fail(i, "an object")
	}
	if i = d.space(i + 1); i < len(d.s) && d.s[i] == '}' {
		return i + 1
	}
	for {
		if i >= len(d.s) || d.s[i] != '"' {
			return d.fail(i, "a name")
		}
		raw, flags, next := d.text(i)
		if next < 0 {
			return -1
		}
		name, err := plainText(raw, flags)
		if err != nil {
			d.err = &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the answer has a name that is not valid UTF-8")}
			return -1
		}
		if i = d.space(next); i >= len(d.s) || d.s[i] != ':' {
			return d.fail(i, "a colon")
		}
		if i = read(name, d.space(i+1)); i < 0 {
			return -1
		}
		if i = d.space(i); i >= len(d.s) || d.s[i] != ',' && d.s[i] != '}' {
			return d.fail(i, "a comma")
		}
		if d.s[i] == '}' {
			return i + 1
		}
		i = d.space(i + 1)
	}
}

// link reads a link, which is a text or null.
func (d *decoder) link(i int, into *string) int {
	*into = ""
	if i < len(d.s) && d.s[i] == '"' {
		raw, flags, next := d.text(i)
		if next < 0 {
			return -1
		}
		text, err := plainText(raw, flags)
		if err != nil {
			d.err = &kedge.Error{Kind: kedge.Invalid, Err: errors.New("the answer has a link that is not valid UTF-8")}
			return -1
		}
		*into = strings.Clone(text) // it outlives the page
		return next
	}
	return d.null(i, "a link")
}

func (d *decoder) null(i int, want string) int {
	if i < len(d.s) && d.s[i] != 'n' {
		return d.fail(i, want)
	}
	return d.word(i, "null")
}

// count reads a number, also as a text (IEEE754Compatible).
func (d *decoder) count(i int) int {
	var v kedge.Value
	_, bad, next := d.value(&v, &Column{Type: kedge.TypeInt}, i, 1)
	if next > 0 && bad == nil && v.Type() == kedge.TypeInt {
		d.page.Count = v.Int()
	}
	return next
}

// rows reads the array of rows. Of two arrays the last counts.
func (d *decoder) rows(i int) int {
	if i >= len(d.s) || d.s[i] != '[' {
		return d.fail(i, "an array")
	}
	p := &d.page
	*p = Page{Records: p.Records[:0], NextLink: p.NextLink, DeltaLink: p.DeltaLink, Count: p.Count, Last: Position{Key: p.Last.Key}}
	if i = d.space(i + 1); i < len(d.s) && d.s[i] == ']' {
		return i + 1
	}
	d.first = i
	for {
		if i = d.row(i, 2); i < 0 {
			return -1
		}
		if i >= len(d.s) || d.s[i] != ',' && d.s[i] != ']' {
			if i = d.space(i); i >= len(d.s) || d.s[i] != ',' && d.s[i] != ']' {
				return d.fail(i, "a comma")
			}
		}
		if d.s[i] == ']' {
			return i + 1
		}
		i = d.space(i + 1)
	}
}

// later takes the greater of versions.
func (p *Page) later(v kedge.Value, raw string) {
	if p.Greatest == "" {
		p.Greatest, p.greatest = raw, v
		return
	}
	if c, ok := kedge.Compare(v, p.greatest); ok && c >= 0 {
		p.Greatest, p.greatest = raw, v
	}
}
