package filter

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokLiteral
	tokSymbol // ( ) , and characters that only errors know
)

type token struct {
	kind   tokenKind
	text   string
	call   bool // of a name: a parenthesis follows
	lit    Node // of a literal
	column int
}

// is reports whether t is the name or symbol s.
func (t *token) is(s string) bool {
	return (t.kind == tokName || t.kind == tokSymbol) && t.text == s
}

// String describes t for errors, without the text of a literal.
func (t *token) String() string {
	switch t.kind {
	case tokEnd:
		return "end of filter"
	case tokLiteral:
		return describe(&t.lit)
	}
	return strconv.Quote(t.text)
}

type lexer struct {
	src    string
	pos    int // bytes
	column int // runes, of pos
}

// next returns the token at pos.
func (l *lexer) next() (token, error) {
	l.skip(len(l.rest()) - len(strings.TrimLeft(l.rest(), " \t\r\n")))
	t := token{column: l.column}
	if l.rest() == "" {
		return t, nil
	}
	c := l.rest()[0]
	if n := literalLen(l.rest()); n > 0 {
		return l.literal(n)
	}
	if n := nameLen(l.rest()); n > 0 {
		return l.name(n)
	}
	switch {
	case c == '\'':
		n, err := l.quoted(0)
		if err != nil {
			return t, err
		}
		return l.literal(n)
	case c >= '0' && c <= '9', c == '-':
		return t, l.fail("malformed number", "")
	}
	n := 1
	for _, s := range []string{"==", "!=", "<>", "<=", ">=", "&&", "||"} {
		if strings.HasPrefix(l.rest(), s) {
			n = len(s)
		}
	}
	if c >= utf8.RuneSelf {
		_, n = utf8.DecodeRuneInString(l.rest())
	}
	t.kind, t.text = tokSymbol, l.rest()[:n]
	l.skip(n)
	return t, nil
}

func (l *lexer) rest() string { return l.src[l.pos:] }

func (l *lexer) skip(n int) {
	l.column += utf8.RuneCountInString(l.rest()[:n])
	l.pos += n
}

func (l *lexer) fail(msg, hint string) error {
	return &SyntaxError{Column: l.column, Msg: msg, Hint: hint}
}

// literal returns the literal of n bytes at pos.
func (l *lexer) literal(n int) (token, error) {
	raw := l.rest()[:n]
	lit, msg, hint := parseLiteral(raw)
	if msg != "" {
		return token{}, l.fail(msg, hint)
	}
	lit.Raw, lit.Column = raw, l.column
	t := token{kind: tokLiteral, text: raw, lit: lit, column: l.column}
	l.skip(n)
	return t, nil
}

// name returns the name of n bytes at pos, or the literal that begins with it:
// null, true, duration'P1D', Ns.Enum'Red'.
func (l *lexer) name(n int) (token, error) {
	word, after := l.rest()[:n], l.rest()[n:]
	switch word {
	case "null", "true", "false", "INF", "NaN":
		return l.literal(n)
	}
	end := n
	for strings.HasPrefix(l.rest()[end:], ".") {
		m := nameLen(l.rest()[end+1:])
		if m == 0 {
			break
		}
		end += 1 + m
	}
	if strings.HasPrefix(l.rest()[end:], "'") {
		n, err := l.quoted(end)
		if err != nil {
			return token{}, err
		}
		return l.literal(n)
	}
	t := token{kind: tokName, text: word, column: l.column}
	t.call = strings.HasPrefix(strings.TrimLeft(after, " \t\r\n"), "(")
	l.skip(n)
	return t, nil
}

// quoted returns the length of the literal at pos whose opening quote is
// prefix bytes on.
func (l *lexer) quoted(prefix int) (int, error) {
	s := l.rest()
	for i := prefix + 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			i++
			continue
		}
		return i + 1, nil
	}
	return 0, l.fail("string without end", "write a quote inside a string twice")
}

// nameLen returns the length of the name at the start of s, with the parts of
// a path; 0 if there is none.
func nameLen(s string) int {
	end := 0
	for {
		n := 0
		for i, r := range s[end:] {
			if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r) && !unicode.Is(unicode.Mn, r)) {
				break
			}
			n = i + utf8.RuneLen(r)
		}
		if n == 0 {
			return max(end-1, 0) // without the slash
		}
		end += n
		if !strings.HasPrefix(s[end:], "/") {
			return end
		}
		end++
	}
}
