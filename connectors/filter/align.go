package filter

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// align converts a literal to the type of the other operand, or finds that
// left and right cannot be compared.
func (b *binder) align(left, right *Node) error {
	lit, other := right, left
	if right.Op != Literal {
		lit, other = left, right
	}
	switch {
	case lit.Op != Literal:
		if !comparables(left, right) {
			return mismatch(right, left)
		}
		return nil
	case lit.Value.IsNull():
		if other.Op == Call {
			return fail(lit, "a function is not compared with null", "test the field itself")
		}
		lit.Type, lit.Format = other.Type, other.Format
		return nil
	case other.Value.IsNull(): // two literals, one null
		return nil
	}
	if err := b.convert(lit, other); err != nil {
		if other.Op == Literal && b.convert(other, lit) == nil {
			return nil
		}
		return err
	}
	return nil
}

// comparables reports whether two operands that are not literals have types
// that compare.
func comparables(a, b *Node) bool {
	if isNumber(a.Type) && isNumber(b.Type) {
		return true
	}
	return a.Type == b.Type && a.Format == b.Format && a.Type != kedge.TypeJSON
}

func isNumber(t kedge.Type) bool {
	return t == kedge.TypeInt || t == kedge.TypeDecimal || t == kedge.TypeFloat
}

// convert gives the literal lit, which is not null, the type of other.
func (b *binder) convert(lit, other *Node) error {
	v := lit.Value
	switch {
	case isNumber(other.Type) && isNumber(v.Type()):
		return convertNumber(lit, other.Type)
	case other.Type == kedge.TypeJSON:
		return fail(lit, kindOf(other)+" compares only with null", "")
	case other.Type != v.Type():
		return mismatch(lit, other)
	case v.Type() != kedge.TypeString || other.Format == lit.Format:
	case lit.Format != kedge.FormatNone:
		return mismatch(lit, other)
	case other.Format == kedge.FormatGUID:
		if len(guidPattern.FindString(v.Str())) != len(v.Str()) {
			return fail(lit, "text is not a guid", "")
		}
		lit.Value = kedge.String(strings.ToLower(v.Str()))
	case other.Format == kedge.FormatClock && !validClock(v.Str()):
		return fail(lit, "text is not a time of day", "write it like 16:30:00")
	case other.Format == kedge.FormatDuration:
		if _, ok := parseDuration(v.Str()); !ok {
			return fail(lit, "text is not a duration", "write it like duration'PT1H30M'")
		}
	}
	lit.Type, lit.Format = other.Type, other.Format
	if other.Format == kedge.FormatEnum && other.Op == Field {
		return b.member(lit, &b.ent.Fields[other.Index])
	}
	return nil
}

// convertNumber gives lit the number type t if that keeps its exact value, or
// t is float.
func convertNumber(lit *Node, t kedge.Type) error {
	v := lit.Value
	lit.Type = v.Type()
	switch {
	case v.Type() == t:
	case t == kedge.TypeFloat:
		f, err := strconv.ParseFloat(v.Text(), 64)
		if err != nil || math.IsInf(f, 0) {
			return fail(lit, "number is too large for a float", "")
		}
		lit.Value, lit.Type = kedge.Float(f), t
	case v.Type() == kedge.TypeFloat: // INF or NaN
	case t == kedge.TypeDecimal:
		lit.Value, lit.Type = kedge.Decimal(v.Text()), t
	case t == kedge.TypeInt:
		if i, err := strconv.ParseInt(kedge.CanonicalDecimal(v.Str()), 10, 64); err == nil {
			lit.Value, lit.Type = kedge.Int(i), t
		}
	}
	if text := kedge.CanonicalDecimal(lit.Value.Str()); lit.Value.Type() == kedge.TypeDecimal &&
		strings.ContainsAny(lit.Value.Str(), "eE") && kedge.ValidDecimal(text) {
		lit.Value = kedge.Decimal(text) // so that Match need not work it out each time
	}
	return nil
}

// member checks that lit names members of the enumeration f, if they are known.
func (b *binder) member(lit *Node, f *kedge.Field) error {
	if len(f.Enum) == 0 {
		return nil
	}
	for m := range strings.SplitSeq(lit.Value.Str(), ",") {
		if m = strings.TrimSpace(m); !slices.Contains(f.Enum, m) {
			return fail(lit, strconv.Quote(f.Name)+" has no such member", didYouMean(m, f.Enum))
		}
	}
	return nil
}

// mismatch says that the node at cannot be compared with other.
func mismatch(at, other *Node) error {
	hint := ""
	switch a, o := kindOf(at), kindOf(other); {
	case at.Op != Literal:
	case a == "date" && o == "time":
		hint = "write the literal like 2026-01-31T00:00:00Z, or compare date(…)"
	case a == "time" && o == "date":
		hint = "write the literal like 2026-01-31, or date(now())"
	case a == "string" && isNumber(other.Type):
		hint = "write the number without quotes"
	case o == "string":
		hint = "write it in quotes"
	}
	return fail(at, "cannot compare "+describe(other)+" with "+describe(at), hint)
}

// kindOf names the type of n: "int", "guid", "enum".
func kindOf(n *Node) string {
	switch {
	case n.Format != kedge.FormatNone:
		return strings.ReplaceAll(string(n.Format), "_", " ")
	case n.Type == kedge.TypeMissing:
		return n.Value.Type().String()
	}
	return n.Type.String()
}

// describe names n and its type for errors, without the value of a literal.
func describe(n *Node) string {
	switch {
	case n.Op == Literal && n.Value.IsNull():
		return "null"
	case n.Op == Literal:
		return kindOf(n) + " literal"
	case n.Op == Field:
		return strconv.Quote(n.Name) + " (" + kindOf(n) + ")"
	}
	return n.Name + "(…) (" + kindOf(n) + ")"
}
