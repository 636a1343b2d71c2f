package mapping

import (
	"fmt"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr"
)

// An exprFault is an error of an expression whose text holds no values.
type exprFault struct{ text string }

// Error returns the text.
func (e *exprFault) Error() string { return e.text }

func fault(format string, args ...any) error { return &exprFault{fmt.Sprintf(format, args...)} }

// exprFunctions are all functions and operators of expressions. They are pure:
// no clock, no randomness, no I/O. Texts count characters, not bytes.
var exprFunctions = exprOptions()

func exprOptions() []expr.Option {
	options := []expr.Option{
		textFunction("upper", strings.ToUpper), textFunction("lower", strings.ToLower), textFunction("trim", strings.TrimSpace),
		expr.Function("trimPrefix", func(a ...any) (any, error) { return with2(a, strings.TrimPrefix) }, new(func(string, string) string)),
		expr.Function("trimSuffix", func(a ...any) (any, error) { return with2(a, strings.TrimSuffix) }, new(func(string, string) string)),
		expr.Function("replace", replace, new(func(string, string, string) string)),
		expr.Function("substring", substring, new(func(string, int, int) string)),
		expr.Function("split", split, new(func(string, string, int) string)),
		expr.Function("len", func(a ...any) (any, error) { return with1(a, utf8.RuneCountInString) }, new(func(string) int)),
		expr.Function("decimal", decimal, new(func(string) number), new(func(int) number), new(func(number) number), new(func(float64) number)),
		expr.Function("string", toText, new(func(string) string), new(func(int) string), new(func(number) string), new(func(bool) string)),
		expr.Function("round", round, new(func(number, int) number), new(func(float64, int) number)),
		expr.Function("abs", func(a ...any) (any, error) {
			return numeric1(a, func(n number) number { return number{new(big.Int).Abs(n.digits), n.scale} })
		},
			new(func(number) number), new(func(int) number), new(func(float64) number)),
		expr.Function("negate", func(a ...any) (any, error) {
			return numeric1(a, func(n number) number { return number{new(big.Int).Neg(n.digits), n.scale} })
		},
			new(func(number) number)),
		expr.Function("year", func(a ...any) (any, error) { return with1(a, time.Time.Year) }, new(func(time.Time) int)),
		expr.Function("month", func(a ...any) (any, error) { return with1(a, func(t time.Time) int { return int(t.Month()) }) }, new(func(time.Time) int)),
		expr.Function("day", func(a ...any) (any, error) { return with1(a, time.Time.Day) }, new(func(time.Time) int)),
		expr.Function("concat", concat, new(func(string, string) string)), expr.Operator("+", "concat", "add"),
	}
	for _, op := range []struct {
		sign, name string
		do         func(a, b number) (number, error)
	}{{"+", "add", number.add}, {"-", "subtract", number.sub}, {"*", "multiply", number.mul}, {"/", "divide", number.div}, {"%", "modulo", number.mod}} {
		options = append(options, arithmetic(op.name, op.do))
		if op.sign != "+" {
			options = append(options, expr.Operator(op.sign, op.name))
		}
	}
	for _, op := range []struct {
		sign, name string
		holds      func(c int) bool
	}{
		{"==", "equal", func(c int) bool { return c == 0 }}, {"!=", "different", func(c int) bool { return c != 0 }},
		{"<", "less", func(c int) bool { return c < 0 }}, {"<=", "lessOrEqual", func(c int) bool { return c <= 0 }},
		{">", "greater", func(c int) bool { return c > 0 }}, {">=", "greaterOrEqual", func(c int) bool { return c >= 0 }},
	} {
		options = append(options, comparing(op.name, op.holds), expr.Operator(op.sign, op.name))
	}
	return options
}

func arithmetic(name string, do func(a, b number) (number, error)) expr.Option {
	return expr.Function(name, func(args ...any) (any, error) {
		a, b, err := numbers(args)
		if err != nil {
			return nil, err
		}
		n, err := do(a, b)
		if err != nil {
			return nil, fault("%v", err)
		}
		return n, nil
	}, new(func(number, number) number), new(func(number, int) number), new(func(int, number) number), new(func(int, int) number),
		new(func(number, float64) number), new(func(float64, number) number), new(func(int, float64) number), new(func(float64, int) number),
		new(func(float64, float64) number))
}

// comparing compares numbers; null equals nothing and has no order.
func comparing(name string, holds func(c int) bool) expr.Option {
	return expr.Function(name, func(args ...any) (any, error) {
		if args[0] == nil || args[1] == nil {
			return name == "different" && args[0] != args[1] || name == "equal" && args[0] == args[1], nil
		}
		a, b, err := numbers(args)
		if err != nil {
			return nil, err
		}
		return holds(a.cmp(b)), nil
	}, new(func(number, number) bool), new(func(number, int) bool), new(func(int, number) bool),
		new(func(number, float64) bool), new(func(float64, number) bool))
}

func numbers(args []any) (a, b number, err error) {
	if a, err = toNumber(args[0]); err == nil {
		b, err = toNumber(args[1])
	}
	return a, b, err
}

func toNumber(v any) (number, error) {
	switch v := v.(type) {
	case number:
		return v, nil
	case int:
		return number{big.NewInt(int64(v)), 0}, nil
	case float64: // only literals are
		n, err := floatNumber(v)
		if err != nil {
			return number{}, fault("%v", err)
		}
		return n, nil
	}
	return number{}, fault("null or a text where a number is needed")
}

func numeric1(args []any, f func(number) number) (any, error) {
	n, err := toNumber(args[0])
	if err != nil {
		return nil, err
	}
	return f(n), nil
}

func with1[A, R any](args []any, f func(A) R) (any, error) {
	a, ok := args[0].(A)
	if !ok {
		return nil, fault("null where a value is needed")
	}
	return f(a), nil
}

func with2[A, B, R any](args []any, f func(A, B) R) (any, error) {
	a, ok := args[0].(A)
	b, ok2 := args[1].(B)
	if !ok || !ok2 {
		return nil, fault("null where a value is needed")
	}
	return f(a, b), nil
}

func textFunction(name string, f func(string) string) expr.Option {
	return expr.Function(name, func(args ...any) (any, error) { return with1(args, f) }, new(func(string) string))
}

func texts(args []any) ([]string, error) {
	out := make([]string, len(args))
	for i, a := range args {
		s, ok := a.(string)
		if !ok {
			return nil, fault("null where a text is needed")
		}
		out[i] = s
	}
	return out, nil
}

func concat(args ...any) (any, error) {
	s, err := texts(args)
	if err != nil {
		return nil, err
	}
	if len(s[0])+len(s[1]) > maxText {
		return nil, fault("text is longer than %d bytes", maxText)
	}
	return s[0] + s[1], nil
}

func replace(args ...any) (any, error) {
	s, err := texts(args)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(s[0], s[1]); len(s[0])+n*(len(s[2])-len(s[1])) > maxText {
		return nil, fault("text is longer than %d bytes", maxText)
	}
	return strings.ReplaceAll(s[0], s[1], s[2]), nil
}

// substring(text, from, to) gives the characters from..to-1, as many as there are.
func substring(args ...any) (any, error) {
	s, err := texts(args[:1])
	if err != nil {
		return nil, err
	}
	from, _ := args[1].(int)
	to, _ := args[2].(int)
	r := []rune(s[0])
	from = min(max(from, 0), len(r))
	return string(r[from:min(max(to, from), len(r))]), nil
}

// split(text, separator, i) gives part i, from 0, or "".
func split(args ...any) (any, error) {
	s, err := texts(args[:2])
	if err != nil {
		return nil, err
	}
	i, _ := args[2].(int)
	if parts := strings.Split(s[0], s[1]); i >= 0 && i < len(parts) {
		return parts[i], nil
	}
	return "", nil
}

func decimal(args ...any) (any, error) {
	if s, ok := args[0].(string); ok {
		n, err := parseNumber(s)
		if err != nil {
			return nil, fault("%v", err)
		}
		return n, nil
	}
	return toNumber(args[0])
}

func toText(args ...any) (any, error) {
	if args[0] == nil {
		return nil, fault("null where a value is needed")
	}
	return fmt.Sprint(args[0]), nil
}

func round(args ...any) (any, error) {
	n, err := toNumber(args[0])
	scale, ok := args[1].(int)
	if err != nil || !ok || scale < 0 || scale > maxRound {
		return nil, fault("round needs a number and a number of digits from 0 to %d", maxRound)
	}
	return n.round(scale), nil
}
