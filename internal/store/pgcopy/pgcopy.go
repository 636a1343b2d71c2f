// Package pgcopy encodes rows in the binary format of PostgreSQL's COPY
// (PostgreSQL, COPY, Binary Format), and sends them. The formats of the types are those of
// their receive functions in PostgreSQL's sources.
package pgcopy

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"time"

	"github.com/kedge-sync/kedge"
)

// signature, flags and length of the header's extension.
const header = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// An Encoder collects rows. The zero value is ready to use. A row is begun
// with Row and then takes exactly that many values.
type Encoder struct {
	buf   []byte
	begun bool // the header was written
}

// Len returns how many bytes there are since the last Drain.
func (e *Encoder) Len() int { return len(e.buf) }

// Drain returns the bytes since the last Drain. They are overwritten by what
// comes next.
func (e *Encoder) Drain() []byte {
	b := e.buf
	e.buf = e.buf[:0]
	return b
}

func (e *Encoder) begin() {
	if !e.begun {
		e.buf, e.begun = append(e.buf, header...), true
	}
}

// Row begins a row of n values.
func (e *Encoder) Row(n int) {
	e.begin()
	e.buf = binary.BigEndian.AppendUint16(e.buf, uint16(n))
}

// End ends the rows.
func (e *Encoder) End() {
	e.begin()
	e.buf = binary.BigEndian.AppendUint16(e.buf, math.MaxUint16)
}

func (e *Encoder) length(n int) { e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(n)) }

// Null adds a null.
func (e *Encoder) Null() { e.length(-1) }

// Bool adds a boolean.
func (e *Encoder) Bool(b bool) {
	e.length(1)
	if b {
		e.buf = append(e.buf, 1)
	} else {
		e.buf = append(e.buf, 0)
	}
}

// Int4 adds an integer.
func (e *Encoder) Int4(i int32) {
	e.length(4)
	e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(i))
}

// Int8 adds a bigint.
func (e *Encoder) Int8(i int64) {
	e.length(8)
	e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(i))
}

// Float8 adds a double precision.
func (e *Encoder) Float8(f float64) {
	e.length(8)
	e.buf = binary.BigEndian.AppendUint64(e.buf, math.Float64bits(f))
}

// Text adds a text, json, or bytea: bytes as they are. Text must be UTF-8
// without NUL.
func (e *Encoder) Text(s string) {
	e.length(len(s))
	e.buf = append(e.buf, s...)
}

// JSONB adds a jsonb: its version number and its text.
func (e *Encoder) JSONB(s string) {
	e.length(len(s) + 1)
	e.buf = append(append(e.buf, 1), s...)
}

// epoch is PostgreSQL's, 2000-01-01, in seconds since 1970.
const (
	epoch         = 946684800
	secondsPerDay = 86400
)

// Time adds a timestamptz or timestamp. What is below a microsecond is cut
// off.
func (e *Encoder) Time(t time.Time) {
	e.Int8((t.Unix()-epoch)*1e6 + int64(t.Nanosecond()/1000))
}

// Date adds the date of t, which is midnight UTC.
func (e *Encoder) Date(t time.Time) {
	e.Int4(int32((t.Unix() - epoch) / secondsPerDay))
}

// UUID adds a uuid from its text of 36 characters. A text that is not one is
// added as it is, and refused by the server.
func (e *Encoder) UUID(s string) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		e.Text(s)
		return
	}
	var compact [32]byte
	n := 0
	for _, part := range [...]string{s[:8], s[9:13], s[14:18], s[19:23], s[24:]} {
		n += copy(compact[n:], part)
	}
	var id [16]byte
	if _, err := hex.Decode(id[:], compact[:]); err != nil {
		e.Text(s)
		return
	}
	e.length(len(id))
	e.buf = append(e.buf, id[:]...)
}

// Numeric adds a numeric from its text, keeping digits and scale. The text must
// pass [kedge.ValidDecimal].
func (e *Encoder) Numeric(text string) {
	d := parse(text)
	at := len(e.buf)
	e.length(0)
	head := len(e.buf)
	e.buf = append(e.buf, make([]byte, 8)...)
	groups, weight := 0, 0
	first, last := d.groups()
	for i := first; i >= last; i-- {
		g := d.group(i)
		if g == 0 && groups == 0 {
			continue // leading zeros
		}
		if groups == 0 {
			weight = i
		}
		e.buf = binary.BigEndian.AppendUint16(e.buf, g)
		groups++
	}
	for groups > 0 && e.buf[len(e.buf)-1] == 0 && e.buf[len(e.buf)-2] == 0 { // trailing zeros
		e.buf, groups = e.buf[:len(e.buf)-2], groups-1
	}
	sign := uint16(0)
	if d.negative && groups > 0 {
		sign = 0x4000
	}
	for i, v := range [...]uint16{uint16(groups), uint16(weight), sign, uint16(d.scale)} {
		binary.BigEndian.PutUint16(e.buf[head+2*i:], v)
	}
	binary.BigEndian.PutUint32(e.buf[at:], uint32(len(e.buf)-head))
}

// A decimal is a number's text, split. The digits before the point stand at
// digits[:point]; point may lie outside digits.
type decimal struct {
	negative bool
	whole    string // digits before the written point
	frac     string // and after it
	point    int    // position of the point in whole+frac
	scale    int    // digits after the point to show
}

func parse(text string) decimal {
	var d decimal
	if text[0] == '-' || text[0] == '+' {
		d.negative = text[0] == '-'
		text = text[1:]
	}
	end, dot, exp := len(text), -1, 0
	for i := range len(text) {
		switch text[i] {
		case '.':
			dot = i
		case 'e', 'E':
			end = i
			exp = exponent(text[i+1:])
		}
		if end == i {
			break
		}
	}
	if dot < 0 {
		dot = end
		d.whole = text[:end]
	} else {
		d.whole, d.frac = text[:dot], text[dot+1:end]
	}
	d.point = len(d.whole) + exp
	d.scale = max(0, len(d.frac)-exp)
	return d
}

func exponent(text string) int {
	v, err := kedge.ParseText(kedge.TypeInt, text)
	if err != nil && len(text) > 1 && text[0] == '+' {
		v, _ = kedge.ParseText(kedge.TypeInt, text[1:])
	}
	return int(v.Int())
}

// groups returns the numbers of the first and last group of four digits; group
// 0 ends at the point.
func (d *decimal) groups() (first, last int) {
	first = (max(d.point, 1)+3)/4 - 1
	after := len(d.whole) + len(d.frac) - d.point // digits after the point
	return first, -(max(after, 0) + 3) / 4
}

// group returns group i as a number below 10000.
func (d *decimal) group(i int) uint16 {
	start := d.point - 4*(i+1) // position of its first digit
	var v uint16
	for at := start; at < start+4; at++ {
		v *= 10
		switch {
		case at < 0:
		case at < len(d.whole):
			v += uint16(d.whole[at] - '0')
		case at < len(d.whole)+len(d.frac):
			v += uint16(d.frac[at-len(d.whole)] - '0')
		}
	}
	return v
}
