package feed

import (
	"encoding/json"
	"strings"
)

// A Customer is a row. Its texts alias the page.
type Customer struct {
	No, Name, Street, City, PostCode, Country, Email string
	Phone                                            string
	HasPhone                                         bool
	Balance                                          string
	Blocked                                          bool
	RowVersion                                       int64
	ModifiedAt                                       string
}

// A decoder reads one page by its exact shape.
type decoder struct {
	s           string
	i           int
	bad         bool
	next, delta string
}

// page appends the rows of the page to rows.
func (d *decoder) page(rows []Customer) []Customer {
	d.skip(`{"@odata.context":`)
	d.text()
	d.skip(`,"value":[`)
	for d.has('{') {
		rows = append(rows, Customer{})
		if d.row(&rows[len(rows)-1]); d.bad {
			return rows
		}
		if !d.has(',') {
			break
		}
		d.i++
	}
	switch {
	case strings.HasPrefix(d.s[d.i:], `],"@odata.nextLink":`):
		d.skip(`],"@odata.nextLink":`)
		d.next = strings.Clone(d.text())
	default:
		d.skip(`],"@odata.deltaLink":`)
		d.delta = strings.Clone(d.text())
	}
	d.skip("}")
	return rows
}

func (d *decoder) row(c *Customer) {
	d.skip(`{"@odata.etag":`)
	d.text()
	c.No = d.member(`,"No":`)
	c.Name = d.member(`,"Name":`)
	c.Street = d.member(`,"Street":`)
	c.City = d.member(`,"City":`)
	c.PostCode = d.member(`,"PostCode":`)
	c.Country = d.member(`,"Country":`)
	c.Email = d.member(`,"Email":`)
	d.skip(`,"Phone":`)
	if c.HasPhone = d.has('"'); c.HasPhone {
		c.Phone = d.text()
	} else {
		d.skip("null")
	}
	c.Balance = d.member(`,"Balance":`)
	d.skip(`,"Blocked":`)
	if c.Blocked = d.has('t'); c.Blocked {
		d.skip("true")
	} else {
		d.skip("false")
	}
	for _, digit := range []byte(d.member(`,"RowVersion":`)) {
		c.RowVersion = c.RowVersion*10 + int64(digit-'0')
	}
	c.ModifiedAt = d.member(`,"ModifiedAt":`)
	d.skip("}")
}

func (d *decoder) has(c byte) bool { return d.i < len(d.s) && d.s[d.i] == c }

func (d *decoder) skip(text string) {
	if !strings.HasPrefix(d.s[d.i:], text) {
		d.bad = true
		return
	}
	d.i += len(text)
}

func (d *decoder) member(name string) string {
	d.skip(name)
	return d.text()
}

// text reads a JSON text.
func (d *decoder) text() string {
	if d.bad || !d.has('"') {
		d.bad = true
		return ""
	}
	start := d.i + 1
	n := strings.IndexByte(d.s[start:], '"')
	if n < 0 {
		d.bad = true
		return ""
	}
	if text := d.s[start : start+n]; strings.IndexByte(text, '\\') < 0 {
		d.i = start + n + 1
		return text
	}
	return d.escaped(start)
}

func (d *decoder) escaped(start int) (text string) {
	for i := start; i < len(d.s); i++ {
		switch d.s[i] {
		case '\\':
			i++
		case '"':
			d.bad = json.Unmarshal([]byte(d.s[start-1:i+1]), &text) != nil
			d.i = i + 1
			return text
		}
	}
	d.bad = true
	return ""
}
