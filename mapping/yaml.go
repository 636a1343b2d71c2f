package mapping

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth bounds the nesting of a file. The format needs 9 levels; the YAML
// parser takes time that grows with the square of the nesting.
const maxDepth = 16

// A nodeKind is the shape of a [node].
type nodeKind uint8

const (
	scalarNode nodeKind = iota
	objectNode
	listNode
)

// A node is a piece of a YAML document: of one that was read, with its
// position, or of one that is to be written.
type node struct {
	kind    nodeKind
	text    string // of a scalar
	quoted  bool   // the scalar is text, whatever it looks like
	entries []entry
	items   []*node
	line    int // from 1
	column  int // in characters, from 1
}

// An entry is a key of an object node with its value.
type entry struct{ key, value *node }

// readYAML reads src, one YAML document without anchors, aliases, tags, merge
// keys and complex keys, which would make the file differ from what one sees.
func readYAML(src []byte) (*node, *Problem) {
	if !utf8.Valid(src) {
		return nil, &Problem{Line: 1, Column: 1, Message: "the file is not UTF-8"}
	}
	tokens := lexer.Tokenize(string(src))
	if p := refuseTokens(tokens); p != nil {
		return nil, p
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxProblem(err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.CommentGroupType {
			continue
		}
		if body != nil {
			return nil, problemAt(doc.Body.GetToken(), "a mapping file is one YAML document; this starts a second one")
		}
		body = doc.Body
	}
	if body == nil {
		return nil, &Problem{Line: 1, Column: 1, Message: "the file is empty"}
	}
	return convert(body)
}

// refuseTokens finds what the format does not allow before the parser sees it.
func refuseTokens(tokens token.Tokens) *Problem {
	depth, dashes, line := 0, 0, 0
	var sizes objectSizes
	for _, t := range tokens {
		if sizes.next(t) > MaxValues+1 {
			return problemAt(t, fmt.Sprintf("an object with more than %d keys", MaxValues))
		}
		if t.Position.Line != line {
			line, dashes = t.Position.Line, 0
		}
		switch t.Type {
		case token.AnchorType, token.AliasType:
			return problemAt(t, "YAML anchors and aliases are not allowed; write the value out")
		case token.TagType:
			return problemAt(t, "YAML tags are not allowed; put text in quotes instead")
		case token.MergeKeyType:
			return problemAt(t, "YAML merge keys are not allowed; write the keys out")
		case token.DirectiveType:
			return problemAt(t, "YAML directives are not allowed")
		case token.MappingKeyType:
			return problemAt(t, `keys that start with "? " are not allowed`)
		case token.InvalidType:
			return problemAt(t, "not valid YAML")
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType:
			dashes++
		}
		if depth > maxDepth || dashes > maxDepth {
			return problemAt(t, fmt.Sprintf("more than %d levels of nesting", maxDepth))
		}
	}
	return nil
}

// objectSizes counts the keys of the open block objects. The YAML parser takes
// time that grows with the square of the keys of one object.
type objectSizes []struct{ column, keys int }

// next returns how many keys the object has that t belongs to.
func (s *objectSizes) next(t *token.Token) int {
	column := t.Position.Column
	switch {
	case t.Type == token.SequenceEntryType:
		s.close(column)
		return 0
	case t.Type != token.MappingValueType || t.Prev == nil:
		return 0
	}
	column = t.Prev.Position.Column
	s.close(column)
	if n := len(*s); n > 0 && (*s)[n-1].column == column {
		(*s)[n-1].keys++
		return (*s)[n-1].keys
	}
	*s = append(*s, struct{ column, keys int }{column, 1})
	return 1
}

// close forgets the objects that are indented more than column.
func (s *objectSizes) close(column int) {
	for len(*s) > 0 && (*s)[len(*s)-1].column > column {
		*s = (*s)[:len(*s)-1]
	}
}

func problemAt(t *token.Token, message string) *Problem {
	return &Problem{Line: t.Position.Line, Column: t.Position.Column, Message: message}
}

func syntaxProblem(err error) *Problem {
	var e yaml.Error
	if errors.As(err, &e) && e.GetToken() != nil {
		return problemAt(e.GetToken(), "not valid YAML: "+e.GetMessage())
	}
	return &Problem{Line: 1, Column: 1, Message: "not valid YAML"}
}

// convert turns the parser's tree into nodes.
func convert(n ast.Node) (*node, *Problem) {
	t := n.GetToken()
	out := &node{line: t.Position.Line, column: t.Position.Column}
	switch n := n.(type) {
	case *ast.MappingNode:
		return out, out.addEntries(n.Values)
	case *ast.MappingValueNode:
		return out, out.addEntries([]*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		out.kind = listNode
		for _, v := range n.Values {
			item, p := convert(v)
			if p != nil {
				return nil, p
			}
			out.items = append(out.items, item)
		}
	case *ast.LiteralNode:
		out.text, out.quoted = n.Value.Value, true
	case *ast.StringNode:
		out.text, out.quoted = n.Value, t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType
	case *ast.NullNode:
		out.text = "null"
	case ast.ScalarNode:
		out.text = t.Value
	default:
		return nil, problemAt(t, "not allowed in a mapping file")
	}
	return out, nil
}

func (n *node) addEntries(values []*ast.MappingValueNode) *Problem {
	n.kind = objectNode
	for i, v := range values {
		key, p := convert(v.Key)
		if p != nil {
			return p
		}
		value, p := convert(v.Value)
		if p != nil {
			return p
		}
		if i == 0 && key.line <= n.line {
			n.line, n.column = key.line, min(n.column, key.column)
		}
		n.entries = append(n.entries, entry{key, value})
	}
	return nil
}

// writeYAML returns n as a YAML document in block style.
func writeYAML(n *node) []byte {
	var b strings.Builder
	n.appendBlock(&b, 0)
	return []byte(b.String())
}

// appendBlock writes n with its first line at the current position and the
// following ones indented.
func (n *node) appendBlock(b *strings.Builder, indent int) {
	switch n.kind {
	case scalarNode:
		b.WriteString(n.scalarText())
		b.WriteByte('\n')
	case objectNode:
		for i, e := range n.entries {
			newLine(b, i, indent)
			b.WriteString(e.key.scalarText())
			b.WriteByte(':')
			if e.value.kind == scalarNode {
				b.WriteByte(' ')
				e.value.appendBlock(b, 0)
				continue
			}
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", indent+2))
			e.value.appendBlock(b, indent+2)
		}
	case listNode:
		for i, item := range n.items {
			newLine(b, i, indent)
			b.WriteString("- ")
			item.appendBlock(b, indent+2)
		}
	}
}

func newLine(b *strings.Builder, i, indent int) {
	if i > 0 {
		b.WriteString(strings.Repeat(" ", indent))
	}
}

func (n *node) scalarText() string {
	if !n.quoted || isPlain(n.text) {
		return n.text
	}
	return quote(n.text)
}

// isPlain reports whether every YAML reader takes s without quotes as text.
func isPlain(s string) bool {
	if s == "" || !isLetter(rune(s[0])) || strings.HasSuffix(s, ":") || strings.HasSuffix(s, " ") ||
		strings.Contains(s, ": ") || strings.Contains(s, " #") {
		return false
	}
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return false
	}
	for _, r := range s {
		if r < ' ' || r > '~' {
			return false
		}
	}
	return true
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' }

// quote returns s in double quotes (YAML 1.2, 7.3.1). Letters of all scripts
// stay as they are; what is invisible is escaped.
func quote(s string) string {
	b := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case strconv.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r < 0x100:
			b = fmt.Appendf(b, `\x%02X`, r)
		case r < 0x10000:
			b = fmt.Appendf(b, `\u%04X`, r)
		default:
			b = fmt.Appendf(b, `\U%08X`, r)
		}
	}
	return string(append(b, '"'))
}

// find returns the value of a key of an object node, or nil.
func (n *node) find(key string) *node {
	for _, e := range n.entries {
		if e.key.text == key {
			return e.value
		}
	}
	return nil
}
