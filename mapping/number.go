package mapping

import (
	"errors"
	"math/big"
	"strconv"
	"strings"

	"github.com/kedge-sync/kedge"
)

// divisionScale is how many digits after the point a quotient keeps at least.
const divisionScale = 20

// A number is an exact decimal in an expression: digits / 10^scale. All
// numbers of records are numbers there, so that nothing passes through float.
type number struct {
	digits *big.Int
	scale  int
}

var errTooManyDigits = errors.New("number has too many digits")

// parseNumber reads a decimal text.
func parseNumber(text string) (number, error) {
	if !kedge.ValidDecimal(text) {
		return number{}, errors.New("text is not a number")
	}
	if strings.ContainsAny(text, "eE") {
		text = kedge.CanonicalDecimal(text)
	}
	whole, frac, _ := strings.Cut(strings.TrimPrefix(text, "+"), ".")
	digits, ok := new(big.Int).SetString(whole+frac, 10)
	if !ok {
		return number{}, errors.New("text is not a number")
	}
	return number{digits, len(frac)}, nil
}

// floatNumber returns the shortest number that reads back as f: for a literal
// what was written.
func floatNumber(f float64) (number, error) {
	return parseNumber(strconv.FormatFloat(f, 'f', -1, 64))
}

// String returns the decimal text of n, with as many digits after the point as
// its scale says.
func (n number) String() string {
	s := new(big.Int).Abs(n.digits).String()
	if len(s) <= n.scale {
		s = strings.Repeat("0", n.scale-len(s)+1) + s
	}
	if n.scale > 0 {
		s = s[:len(s)-n.scale] + "." + s[len(s)-n.scale:]
	}
	if n.digits.Sign() < 0 {
		s = "-" + s
	}
	return s
}

func pow10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// align returns the digits of a and b at their larger scale.
func align(a, b number) (x, y *big.Int, scale int) {
	x, y, scale = a.digits, b.digits, max(a.scale, b.scale)
	if a.scale < scale {
		x = new(big.Int).Mul(x, pow10(scale-a.scale))
	}
	if b.scale < scale {
		y = new(big.Int).Mul(y, pow10(scale-b.scale))
	}
	return x, y, scale
}

func (n number) checked() (number, error) {
	if len(n.digits.Text(10)) > kedge.MaxDecimalDigits || n.scale >= kedge.MaxDecimalDigits {
		return number{}, errTooManyDigits
	}
	return n, nil
}

func (n number) cmp(m number) int {
	x, y, _ := align(n, m)
	return x.Cmp(y)
}

func (n number) add(m number) (number, error) {
	x, y, scale := align(n, m)
	return number{new(big.Int).Add(x, y), scale}.checked()
}

func (n number) sub(m number) (number, error) {
	return n.add(number{new(big.Int).Neg(m.digits), m.scale})
}

func (n number) mul(m number) (number, error) {
	return number{new(big.Int).Mul(n.digits, m.digits), n.scale + m.scale}.checked()
}

// div rounds half away from zero at divisionScale digits or the larger scale,
// and drops the zeros at the end that neither operand has.
func (n number) div(m number) (number, error) {
	if m.digits.Sign() == 0 {
		return number{}, errors.New("division by zero")
	}
	keep := max(n.scale, m.scale)
	scale := max(keep, divisionScale)
	x := new(big.Int).Mul(n.digits, pow10(scale+1+m.scale))
	y := new(big.Int).Mul(m.digits, pow10(n.scale))
	q := number{x.Quo(x, y), scale + 1}.round(scale)
	for q.scale > keep {
		d, r := new(big.Int).QuoRem(q.digits, big.NewInt(10), new(big.Int))
		if r.Sign() != 0 {
			break
		}
		q = number{d, q.scale - 1}
	}
	return q.checked()
}

func (n number) mod(m number) (number, error) {
	if m.digits.Sign() == 0 {
		return number{}, errors.New("division by zero")
	}
	x, y, scale := align(n, m)
	return number{new(big.Int).Rem(x, y), scale}, nil
}

// round returns n with at most the given number of digits after the point,
// half away from zero.
func (n number) round(scale int) number {
	if n.scale <= scale {
		return n
	}
	unit := pow10(n.scale - scale)
	half := new(big.Int).Quo(unit, big.NewInt(2))
	if n.digits.Sign() < 0 {
		half.Neg(half)
	}
	d := new(big.Int).Add(n.digits, half)
	return number{d.Quo(d, unit), scale}
}
