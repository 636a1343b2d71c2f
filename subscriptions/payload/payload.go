// Package payload writes the bodies that kedge pushes, as JSON text, straight
// from the stored image of a record: numbers keep every digit, and what is no
// UTF-8 becomes U+FFFD. It does no I/O.
package payload

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
)

// A Message is one push, before it takes the form that a subscription wants.
type Message struct {
	ID           string // see [MessageID]
	Type         string // "tasks.update", "kedge.gap"
	At           time.Time
	Sequence     int64 // rises within one resource
	Subscription string
	Account      string
	User         string
	Data         Data
	Gap          *Gap
	Collapsed    int // updates that this one stands for; 0 and 1 are not told
}

// Data is what happened.
type Data struct {
	Event      string
	Resource   string // "tasks/t-17"
	Key        []byte // JSON object
	Operation  kedge.Operation
	Parent     string   // resource, or ""
	Origin     string   // or ""
	Changed    []string // nil: not known, or no update
	Record     []byte   // JSON object made by [View.Record], or nil
	Transition string   // "", "entered" or "left"
	Truncated  bool     // the record is left out for its size
	Link       string   // where the whole payload can be read, or ""
	More       []byte   // further members as JSON text without braces, of system messages
}

// A Gap tells that messages were lost.
type Gap struct {
	ID       int64
	From, To int64 // first and last sequence; To 0 means still open
	Count    int64 // -1 means not known
	Reason   string
}

// MessageID returns the id of the message that tells a subscription of an
// event. It is the same for every try and replay, and another one for each
// subscription.
func MessageID(seq int64, event, subscription string) string {
	h := sha256.New()
	h.Write([]byte(event))
	h.Write([]byte{0})
	h.Write([]byte(subscription))
	var raw [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(seq))
	h.Sum(raw[:8])
	return "msg_" + encoding.EncodeToString(raw[:20])
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// SequenceOf returns the sequence of the event that a message tells of. It
// fails for texts that are no id of such a message.
func SequenceOf(id string) (int64, error) {
	text, ok := strings.CutPrefix(id, "msg_")
	raw, err := encoding.DecodeString(text)
	if !ok || err != nil || len(raw) != 20 || len(text) != 32 {
		return 0, errors.New("not the id of a message")
	}
	return int64(binary.BigEndian.Uint64(raw)), nil
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // the error tells that U+FFFD took the place of something
	return b
}

// An objectWriter appends members to a JSON object.
type objectWriter struct {
	b     []byte
	first bool
}

func open(b []byte) objectWriter { return objectWriter{append(b, '{'), true} }

func (w *objectWriter) name(name string) {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
	w.b = append(appendString(w.b, name), ':')
}

func (w *objectWriter) text(name, value string) {
	w.name(name)
	w.b = appendString(w.b, value)
}

// some writes value unless it is empty.
func (w *objectWriter) some(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *objectWriter) int(name string, value int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, value, 10)
}

func (w *objectWriter) raw(name string, value []byte) {
	w.name(name)
	w.b = append(w.b, value...)
}

func (w *objectWriter) more(members []byte) {
	if len(members) == 0 {
		return
	}
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
	w.b = append(w.b, members...)
}

func (w *objectWriter) close() []byte { return append(w.b, '}') }

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func timeText(t time.Time) string { return t.UTC().Format(timeFormat) }

// appendStandard appends the standard body.
func (m *Message) appendStandard(b []byte) []byte {
	w := open(b)
	w.text("id", m.ID)
	w.text("type", m.Type)
	w.text("timestamp", timeText(m.At))
	w.int("sequence", m.Sequence)
	w.text("subscription", m.Subscription)
	w.text("account", m.Account)
	w.text("user", m.User)
	m.appendGap(&w)
	w.name("data")
	w.b = m.Data.append(w.b, nil)
	return w.close()
}

func (m *Message) appendGap(w *objectWriter) {
	if m.Collapsed > 1 {
		w.int("collapsed", int64(m.Collapsed))
	}
	if g := m.Gap; g != nil {
		w.name("gap")
		in := open(w.b)
		in.int("id", g.ID)
		in.int("from", g.From)
		if g.To > 0 {
			in.int("to", g.To)
		} else {
			in.raw("to", []byte("null"))
		}
		if g.Count >= 0 {
			in.int("count", g.Count)
		} else {
			in.raw("count", []byte("null"))
		}
		in.text("reason", g.Reason)
		w.b = in.close()
	}
}

// append appends the data object. with, if not nil, adds members of m that a
// format has no other place for.
func (d *Data) append(b []byte, with *Message) []byte {
	w := open(b)
	w.some("event", d.Event)
	w.some("resource", d.Resource)
	if d.Key != nil {
		w.raw("key", d.Key)
	}
	w.some("operation", string(d.Operation))
	w.some("parent", d.Parent)
	w.some("origin", d.Origin)
	w.some("transition", d.Transition)
	if d.Changed != nil {
		w.name("changed")
		w.b = append(w.b, '[')
		for i, f := range d.Changed {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.b = appendString(w.b, f)
		}
		w.b = append(w.b, ']')
	}
	if d.Record != nil {
		w.raw("record", d.Record)
	}
	if d.Truncated {
		w.raw("truncated", []byte("true"))
	}
	w.some("link", d.Link)
	w.more(d.More)
	if with != nil {
		with.appendGap(&w)
	}
	return w.close()
}
