package odata

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// formatVersion is the version of anchors and tokens.
const formatVersion = 1

// An anchor is what a [kedge.Anchor] of this driver holds.
type anchor struct {
	V      int    `json:"v"`
	Mode   string `json:"m"` // delta, int, time or full
	Entity string `json:"e"`
	Link   string `json:"link,omitempty"`
	Field  string `json:"f,omitempty"`
	W      string `json:"w,omitempty"` // as the server sent it; "" if there was no row
}

// A token is what a [connectors.Token] of this driver holds: how the read is
// done, and where it is.
type token struct {
	V      int    `json:"v"`
	Entity string `json:"e"`
	Mode   string `json:"m"`           // delta, watermark or full
	Inc    bool   `json:"i,omitempty"` // from an anchor
	Keyset bool   `json:"k,omitempty"` // pages by key, else by the server's links
	Link   string `json:"l,omitempty"` // of the next page
	// Texts is the position of the last row, in the order of the read; Level
	// is the first column that must be greater, where or is not understood.
	Texts []string `json:"t,omitempty"`
	Level int      `json:"n,omitempty"`
	// W is the handoff of a full read, or the greatest version of an
	// incremental one.
	W string `json:"w,omitempty"`
	// Offset is how many rows of the page were handed out and Sum the sum of
	// their keys; ID is where the rest is kept, Restart how often the page was
	// begun again.
	Offset  int    `json:"o,omitempty"`
	Sum     string `json:"s,omitempty"`
	ID      string `json:"d,omitempty"`
	Restart int    `json:"r,omitempty"`
	// Mark is the hash of an earlier link, Pages the number of links so far:
	// see [token.follow].
	Mark  string `json:"h,omitempty"`
	Pages int    `json:"c,omitempty"`
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return string(b)
}

func decode(text string, v any) error {
	if json.Unmarshal([]byte(text), v) != nil {
		return errors.New("it was not made by this kind of connection")
	}
	return nil
}

func (a *anchor) encode() kedge.Anchor {
	a.V = formatVersion
	return kedge.Anchor(encode(a))
}

// parseAnchor reads an anchor of the entity.
func parseAnchor(text kedge.Anchor, entity string) (*anchor, error) {
	var a anchor
	err := decode(string(text), &a)
	switch {
	case err != nil:
	case a.V != formatVersion:
		err = fmt.Errorf("it has the version %d", a.V)
	case a.Entity != entity:
		err = errors.New("it belongs to another entity")
	case a.Mode == byDelta && a.Link != "", (a.Mode == "int" || a.Mode == "time") && a.Field != "", a.Mode == byFull:
		return &a, nil
	default:
		err = errors.New("it is incomplete")
	}
	return nil, &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("foreign anchor: %w", err)}
}

func (t *token) encode() (connectors.Token, error) {
	t.V = formatVersion
	text := encode(t)
	if len(text) > connectors.MaxToken {
		return "", &kedge.Error{Kind: kedge.TooLarge, Err: fmt.Errorf("the link to the next page is too long to keep (%d bytes)", len(t.Link))}
	}
	return connectors.Token(text), nil
}

// whole makes t stand for a page of which nothing was handed out.
func (t *token) whole() { t.Offset, t.Sum, t.ID, t.Restart = 0, "", "", 0 }

// parseToken reads a token of a read of the entity, full or incremental.
func parseToken(text connectors.Token, e *entity, incremental bool) (*token, error) {
	var t token
	err := decode(string(text), &t)
	switch {
	case err != nil:
	case t.V != formatVersion:
		err = fmt.Errorf("it has the version %d", t.V)
	case t.Entity != e.info.Name || t.Inc != incremental:
		err = errors.New("it belongs to another read")
	case t.Mode != byDelta && t.Mode != byVersion && t.Mode != byFull, t.Offset < 0, t.Level < 0, t.Mode == byVersion && e.version == nil:
		err = errors.New("it is incomplete")
	case len(t.Texts) > 0 && (len(t.Texts) != len(e.order(&t)) || t.Level >= len(t.Texts)):
		err = errors.New("it belongs to another key")
	default:
		return &t, nil
	}
	return nil, &kedge.Error{Kind: kedge.Invalid, Err: fmt.Errorf("foreign page token: %w", err)}
}

// begins reports whether a read from a can have come to t.
func (a *anchor) begins(t *token, e *entity) bool {
	if a.Mode == byDelta || t.Mode == byDelta {
		return a.Mode == t.Mode && t.Link != ""
	}
	return t.Mode == byVersion && t.Keyset && a.Field == e.version.Path
}
