package filter

import (
	"slices"
	"strconv"
	"strings"
)

// spellings are what other languages write for an operator.
var spellings = map[string]string{
	"=": "eq", "==": "eq", "!=": "ne", "<>": "ne", ">": "gt", ">=": "ge", "<": "lt", "<=": "le",
	"&&": "and", "||": "or", "!": "not", "&": "and", "|": "or",
}

// unsupported are operators of OData that this language leaves out.
var unsupported = []string{"has", "add", "sub", "mul", "div", "divby", "mod"}

// unexpected returns an error about the token at hand, with what was probably meant.
func (p *parser) unexpected() error {
	t := &p.tok
	if t.kind == tokName && slices.Contains(unsupported, t.text) {
		return p.failAt(t.column, "operator "+t.String()+" is not supported", "")
	}
	hint := ""
	switch low := strings.ToLower(t.text); {
	case t.kind == tokSymbol && t.text == `"`:
		hint = "write strings like 'text'"
	case t.kind == tokSymbol && spellings[t.text] != "":
		hint = "use " + strconv.Quote(spellings[t.text])
	case t.kind != tokName:
	case low != t.text && (comparisons[low] != 0 || slices.Contains([]string{"and", "or", "not", "in"}, low)):
		hint = "use " + strconv.Quote(low)
	case low == "like":
		hint = "use contains, startswith or endswith"
	case low == "is":
		hint = `use "eq null" or "ne null"`
	}
	return p.failAt(t.column, "unexpected "+t.String(), hint)
}

// callable returns an error if t, a name before a parenthesis, is not the name
// of a function that gives a value.
func (p *parser) callable(t token) error {
	switch {
	case t.text == "now" || slices.Contains(functions, t.text):
		return nil
	case tests[t.text] != 0:
		return p.failAt(t.column, t.text+" is a condition, not a value", "")
	case strings.HasSuffix(t.text, "/any"), strings.HasSuffix(t.text, "/all"):
		return p.failAt(t.column, "any and all are not supported", "")
	case t.text == "substringof":
		return p.failAt(t.column, `unknown function "substringof"`, "use contains(text, part)")
	case comparisons[strings.ToLower(t.text)] != 0 || slices.Contains([]string{"and", "or", "in", "AND", "OR", "NOT", "IN"}, t.text):
		return p.unexpected()
	}
	return p.failAt(t.column, "unknown function "+strconv.Quote(t.text), didYouMean(t.text, callables))
}
