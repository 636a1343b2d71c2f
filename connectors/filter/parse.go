package filter

import (
	"strconv"
	"strings"
)

var (
	comparisons = map[string]Op{"eq": Eq, "ne": Ne, "gt": Gt, "ge": Ge, "lt": Lt, "le": Le}
	tests       = map[string]Op{"contains": Contains, "startswith": StartsWith, "endswith": EndsWith}
	functions   = []string{"tolower", "toupper", "trim", "length", "year", "month", "day", "date"}
	callables   = append([]string{"contains", "startswith", "endswith", "now"}, functions...)
)

// Parse parses src. The error is a *[SyntaxError].
func Parse(src string) (*Expr, error) {
	if len(src) > MaxLength {
		return nil, tooLong()
	}
	p := parser{lexer: lexer{src: src, column: 1}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.unexpected()
	}
	e := &Expr{root: root}
	root.walk(func(n *Node) { e.volatile = e.volatile || n.Op == Now })
	if len(e.String()) > MaxLength {
		return nil, tooLong()
	}
	return e, nil
}

func tooLong() error {
	return &SyntaxError{Column: 1, Msg: "filter is longer than " + strconv.Itoa(MaxLength) + " bytes"}
}

type parser struct {
	lexer
	tok   token
	depth int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.next()
	return err
}

// expect skips the symbol s.
func (p *parser) expect(s string) error {
	if !p.tok.is(s) {
		return p.unexpected()
	}
	return p.advance()
}

// enter skips an opening parenthesis and leave a closing one.
func (p *parser) enter() error {
	if p.depth++; p.depth > MaxDepth {
		return p.failAt(p.tok.column, "parentheses are nested deeper than "+strconv.Itoa(MaxDepth), "")
	}
	return p.expect("(")
}

func (p *parser) leave() error {
	p.depth--
	return p.expect(")")
}

func (p *parser) failAt(column int, msg, hint string) error {
	return &SyntaxError{Column: column, Msg: msg, Hint: hint}
}

func (p *parser) or() (Node, error) { return p.list(Or, "or", p.and) }

func (p *parser) and() (Node, error) { return p.list(And, "and", p.unary) }

// list parses one or more parts joined by word. A part in parentheses that is
// itself such a list is joined in: the meaning is the same.
func (p *parser) list(op Op, word string, part func() (Node, error)) (Node, error) {
	first, err := part()
	if err != nil || !p.tok.is(word) {
		return first, err
	}
	list := Node{Op: op, Column: first.Column}
	for n := first; ; {
		if n.Op == op {
			list.Args = append(list.Args, n.Args...)
		} else {
			list.Args = append(list.Args, n)
		}
		if !p.tok.is(word) {
			return list, nil
		}
		if err := p.advance(); err != nil {
			return list, err
		}
		if n, err = part(); err != nil {
			return list, err
		}
	}
}

func (p *parser) unary() (Node, error) {
	if !p.tok.is("not") {
		return p.prim()
	}
	not := Node{Op: Not, Column: p.tok.column}
	if err := p.advance(); err != nil {
		return not, err
	}
	group := p.tok.is("(")
	n, err := p.prim()
	if err != nil {
		return not, err
	}
	if !group && n.Op != Field && n.Op != Contains && n.Op != StartsWith && n.Op != EndsWith {
		return not, p.failAt(not.Column, `"not" before a comparison needs parentheses`, `write "not (…)"`)
	}
	not.Args = []Node{n}
	return not, nil
}

func (p *parser) prim() (Node, error) {
	if p.tok.is("(") {
		if err := p.enter(); err != nil {
			return Node{}, err
		}
		n, err := p.or()
		if err != nil {
			return n, err
		}
		return n, p.leave()
	}
	if op := tests[p.tok.text]; op != 0 && p.tok.call {
		return p.test(op)
	}
	left, err := p.operand()
	if err != nil {
		return left, err
	}
	if p.tok.is("in") {
		return p.in(left)
	}
	op := comparisons[p.tok.text]
	if op == 0 || p.tok.kind != tokName {
		if left.Op == Field {
			return left, nil
		}
		return left, p.unexpected()
	}
	if err := p.advance(); err != nil {
		return left, err
	}
	right, err := p.operand()
	return Node{Op: op, Args: []Node{left, right}, Column: left.Column}, err
}

func (p *parser) test(op Op) (Node, error) {
	n := Node{Op: op, Column: p.tok.column}
	if err := p.advance(); err != nil {
		return n, err
	}
	if err := p.enter(); err != nil {
		return n, err
	}
	text, err := p.operand()
	if err != nil {
		return n, err
	}
	if err := p.expect(","); err != nil {
		return n, err
	}
	part, err := p.operand()
	if err != nil {
		return n, err
	}
	n.Args = []Node{text, part}
	return n, p.leave()
}

func (p *parser) in(left Node) (Node, error) {
	n := Node{Op: In, Args: []Node{left}, Column: left.Column}
	if err := p.advance(); err != nil {
		return n, err
	}
	if err := p.enter(); err != nil {
		return n, err
	}
	for {
		if p.tok.kind != tokLiteral {
			return n, p.unexpected()
		}
		if len(n.Args) > MaxIn {
			return n, p.failAt(p.tok.column, `"in" has more than `+strconv.Itoa(MaxIn)+" literals", "")
		}
		n.Args = append(n.Args, p.tok.lit)
		if err := p.advance(); err != nil {
			return n, err
		}
		if p.tok.is(")") {
			return n, p.leave()
		}
		if err := p.expect(","); err != nil {
			return n, err
		}
	}
}

func (p *parser) operand() (Node, error) {
	t := p.tok
	switch {
	case t.kind == tokLiteral:
		return t.lit, p.advance()
	case t.kind != tokName || t.text == "not":
		return Node{}, p.unexpected()
	case !t.call:
		return Node{Op: Field, Name: t.text, Column: t.column}, p.advance()
	}
	if err := p.callable(t); err != nil {
		return Node{}, err
	}
	if err := p.advance(); err != nil {
		return Node{}, err
	}
	if err := p.enter(); err != nil {
		return Node{}, err
	}
	if t.text == "now" {
		return p.now(t.column)
	}
	arg, err := p.operand()
	if err != nil {
		return arg, err
	}
	return Node{Op: Call, Name: t.text, Args: []Node{arg}, Column: t.column}, p.leave()
}

// now parses what follows "now(".
func (p *parser) now(column int) (Node, error) {
	n := Node{Op: Now, Column: column}
	if err := p.leave(); err != nil {
		return n, err
	}
	if !p.tok.is("add") && !p.tok.is("sub") {
		return n, nil
	}
	n.Name = p.tok.text
	if err := p.advance(); err != nil {
		return n, err
	}
	if p.tok.kind != tokLiteral || !strings.HasPrefix(p.tok.text, "duration'") {
		return n, p.failAt(p.tok.column, `"now() `+n.Name+`" needs a duration`, "write it like duration'P30D'")
	}
	n.Args = []Node{p.tok.lit}
	return n, p.advance()
}
