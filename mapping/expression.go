package mapping

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/checker/nature"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
	"github.com/kedge-sync/kedge"
)

const (
	maxText        = 1 << 20 // bytes of a text that an expression makes
	memoryBudget   = 1 << 20
	maxExprNodes   = 1000
	exprValueName  = "value"
	exprRecordName = "record"
)

// An expression is a compiled expression of a field. It is safe for
// concurrent use.
type expression struct {
	program   *vm.Program
	hasValue  bool
	fields    []string // of the record that it reads, sorted
	positions []int    // of fields, set by the plan
	to        kedge.Type
	gives     reflect.Type // any if it cannot be told
}

// goTypes are the types that values have in expressions. Numbers of all kinds
// are exact; bytes and json are texts.
var goTypes = map[kedge.Type]types.Type{
	kedge.TypeBool: types.Bool, kedge.TypeInt: types.TypeOf(number{}), kedge.TypeFloat: types.TypeOf(number{}),
	kedge.TypeDecimal: types.TypeOf(number{}), kedge.TypeString: types.String, kedge.TypeTime: types.TypeOf(time.Time{}),
	kedge.TypeDate: types.TypeOf(time.Time{}), kedge.TypeBytes: types.String, kedge.TypeJSON: types.String,
}

// compileExpression type-checks src, whose value has the type from
// (TypeMissing: there is no value), whose record is one of record, and whose
// result must be able to become a value of type to.
func compileExpression(src string, from kedge.Type, record *kedge.Entity, to kedge.Type) (*expression, error) {
	fields := types.Map{}
	for _, f := range record.Fields {
		fields[f.Name] = goTypes[f.Type]
	}
	env := types.Map{exprRecordName: fields}
	if from != kedge.TypeMissing {
		env[exprValueName] = goTypes[from]
	}
	walk := &exprRules{}
	options := append([]expr.Option{expr.Env(env), expr.DisableAllBuiltins(), expr.DisableIfOperator(), expr.MaxNodes(maxExprNodes), expr.Optimize(false), expr.Patch(walk)}, exprFunctions...)
	program, err := expr.Compile(src, options...)
	if walk.err != nil {
		return nil, walk.err
	}
	if err != nil {
		return nil, exprError(err)
	}
	gives, err := checkAgain(program, options)
	if err != nil {
		return nil, exprError(err)
	}
	if !resultFits(gives, to) {
		return nil, fmt.Errorf("gives %s, which cannot become %v", exprTypeName(gives), to)
	}
	slices.Sort(walk.fields)
	return &expression{program: program, hasValue: from != kedge.TypeMissing, fields: slices.Compact(walk.fields), to: to, gives: gives}, nil
}

// checkAgain checks the types of a compiled expression once more. The compiler
// overlooks errors in the arguments of functions: when it has replaced
// operators, it trusts the types of the calls that it saw before.
func checkAgain(program *vm.Program, options []expr.Option) (reflect.Type, error) {
	config := conf.CreateNew()
	for _, option := range options {
		option(config)
	}
	for name := range config.Disabled {
		delete(config.Builtins, name)
	}
	root := program.Node()
	ast.Walk(&root, forgetCalls{})
	return checker.Check(&parser.Tree{Node: root, Source: program.Source()}, config)
}

// forgetCalls makes the checker look at every call.
type forgetCalls struct{}

// Visit implements [ast.Visitor].
func (forgetCalls) Visit(n *ast.Node) {
	if call, ok := (*n).(*ast.CallNode); ok {
		call.SetNature(nature.Nature{})
	}
}

// exprError returns the compiler's message without its drawing of the source.
func exprError(err error) error {
	if e, ok := errors.AsType[*file.Error](err); ok {
		return fmt.Errorf("column %d: %s", e.Column+1, e.Message)
	}
	return err
}

func resultFits(t reflect.Type, to kedge.Type) bool {
	switch t {
	case nil, reflect.TypeFor[any](), reflect.TypeFor[string]():
		return true
	case reflect.TypeFor[bool]():
		return convertible(kedge.TypeBool, to)
	case reflect.TypeFor[number](), reflect.TypeFor[int](), reflect.TypeFor[float64]():
		return convertible(kedge.TypeDecimal, to)
	case reflect.TypeFor[time.Time]():
		return convertible(kedge.TypeTime, to)
	}
	return false
}

func exprTypeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[number](), reflect.TypeFor[int](), reflect.TypeFor[float64]():
		return "number"
	case reflect.TypeFor[time.Time]():
		return "time"
	}
	return t.String()
}

// exprRules refuses what would make expressions loop, grow or do I/O, and notes
// which fields of the record are read.
type exprRules struct {
	fields []string
	err    error
}

// Visit implements [ast.Visitor].
func (x *exprRules) Visit(n *ast.Node) {
	switch v := (*n).(type) {
	case *ast.UnaryNode:
		if v.Operator == "-" && v.Node.Type() == reflect.TypeFor[number]() {
			x.err = errors.New("write negate(x) for -x")
		}
	case *ast.MemberNode:
		x.member(v)
	case *ast.VariableDeclaratorNode, *ast.PredicateNode, *ast.PointerNode, *ast.MapNode, *ast.SequenceNode:
		x.err = errors.New("loops, variables and objects are not allowed")
	case *ast.BinaryNode:
		if v.Operator == "in" && v.Left.Type() == reflect.TypeFor[number]() {
			x.err = errors.New("operator in does not find numbers; compare with ==")
		}
		if v.Operator == ".." || v.Operator == "**" || v.Operator == "^" {
			x.err = fmt.Errorf("operator %s is not allowed", v.Operator)
		}
	}
}

func (x *exprRules) member(v *ast.MemberNode) {
	if id, ok := v.Node.(*ast.IdentifierNode); ok && id.Value == exprRecordName {
		if name, ok := v.Property.(*ast.StringNode); ok {
			x.fields = append(x.fields, name.Value)
			return
		}
		x.err = errors.New("the name of a field of record must be written out")
	}
}

// run evaluates the expression for one record. Values of the record that are
// missing or null are nil, and so are those past the end of a record that was
// not read in full.
func (x *expression) run(v kedge.Value, src *kedge.Record) (kedge.Value, error) {
	record := make(map[string]any, len(x.fields))
	for i, name := range x.fields {
		if at := x.positions[i]; at < len(src.Values) {
			record[name] = exprValue(src.Values[at])
		} else {
			record[name] = nil
		}
	}
	env := map[string]any{exprRecordName: record}
	if x.hasValue {
		env[exprValueName] = exprValue(v)
	}
	machine := vm.VM{MemoryBudget: memoryBudget}
	out, err := machine.Run(x.program, env)
	if err != nil {
		// The text of the machine's errors may quote values.
		return kedge.Value{}, runError(err)
	}
	return x.result(out)
}

// runError keeps those causes that are known to hold no values.
func runError(err error) error {
	if e, ok := errors.AsType[*exprFault](err); ok {
		return e
	}
	return errors.New("expression failed for this record")
}

func exprValue(v kedge.Value) any {
	switch v.Type() {
	case kedge.TypeMissing, kedge.TypeNull:
		return nil
	case kedge.TypeBool:
		return v.Bool()
	case kedge.TypeTime, kedge.TypeDate:
		return v.Time()
	case kedge.TypeInt, kedge.TypeDecimal, kedge.TypeFloat:
		n, err := parseNumber(v.Text())
		if v.Type() == kedge.TypeFloat {
			n, err = floatNumber(v.Float())
		}
		if err != nil {
			return nil // NaN, infinities
		}
		return n
	}
	return v.Text()
}

// result returns what the machine gave as a value.
func (x *expression) result(out any) (kedge.Value, error) {
	switch out := out.(type) {
	case nil:
		return kedge.Null(), nil
	case bool:
		return kedge.Bool(out), nil
	case string:
		return kedge.String(out), nil
	case int:
		return kedge.Int(int64(out)), nil
	case float64:
		n, err := floatNumber(out)
		if err != nil {
			return kedge.Value{}, err
		}
		return x.numberResult(n)
	case number:
		return x.numberResult(out)
	case time.Time:
		if y := out.UTC().Year(); y < 1 || y > 9999 {
			return kedge.Value{}, errors.New("year is outside 1 to 9999")
		}
		return kedge.Time(out), nil
	}
	return kedge.Value{}, errors.New("expression gave neither a text, a number, a bool nor a time")
}

// numberResult rounds to the nearest float where a float is wanted, because
// hardly any result of a calculation is one.
func (x *expression) numberResult(n number) (kedge.Value, error) {
	text := n.String()
	if x.to == kedge.TypeFloat {
		f, err := strconv.ParseFloat(text, 64)
		return kedge.Float(f), err
	}
	if !kedge.ValidDecimal(text) {
		return kedge.Value{}, errTooManyDigits
	}
	return kedge.Decimal(text), nil
}

// givesText reports whether the results may be texts.
func (x *expression) givesText() bool {
	return x.gives == nil || x.gives == reflect.TypeFor[any]() || x.gives == reflect.TypeFor[string]()
}
