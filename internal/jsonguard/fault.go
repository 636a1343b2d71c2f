package jsonguard

import (
	"strings"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
)

// The limits of what an answer says about one text.
const (
	MaxFaults      = 20   // faults listed
	MaxFaultBytes  = 4096 // bytes of their pointers and texts together
	maxPointer     = 256  // bytes of a pointer; longer ones are cut
	maxErrorFaults = 3    // faults that the text of an error names
)

// A Fault is one thing that is wrong with a JSON text.
type Fault struct {
	Pointer string // JSON Pointer to the value; "" is the root
	Detail  string // what is wrong, without any value
}

// String returns "pointer: detail".
func (f Fault) String() string {
	if f.Pointer == "" {
		return f.Detail
	}
	return f.Pointer + ": " + f.Detail
}

// Faults is a list of faults as an error.
type Faults []Fault

// Error names the first faults.
func (fs Faults) Error() string {
	var texts []string
	for i, f := range fs {
		if i == maxErrorFaults {
			texts = append(texts, "and more")
			break
		}
		texts = append(texts, f.String())
	}
	return strings.Join(texts, "; ")
}

// Below returns the faults with prefix, a JSON Pointer, before each pointer.
func (fs Faults) Below(prefix string) Faults {
	out := make(Faults, len(fs))
	for i, f := range fs {
		out[i] = Fault{cutPointer(prefix + f.Pointer), f.Detail}
	}
	return out
}

// Bounded returns the first of the faults: at most [MaxFaults] and
// [MaxFaultBytes], pointers of more than 256 bytes cut.
func (fs Faults) Bounded() Faults {
	var out Faults
	size := 0
	for _, f := range fs {
		f.Pointer = cutPointer(f.Pointer)
		size += len(f.Pointer) + len(f.Detail)
		if len(out) == MaxFaults || size > MaxFaultBytes {
			break
		}
		out = append(out, f)
	}
	return out
}

func cutPointer(p string) string {
	const mark = "…"
	if len(p) <= maxPointer {
		return p
	}
	n := maxPointer - len(mark)
	for n > 0 && !utf8.RuneStart(p[n]) {
		n--
	}
	return p[:n] + mark
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

// Token returns name as a reference token of a JSON Pointer, with the slash
// before it.
func Token(name string) string { return "/" + pointerEscaper.Replace(name) }

func refuse(kind kedge.Kind, pointer, detail string) error {
	return &kedge.Error{Op: "json", Kind: kind, Err: Faults{{cutPointer(pointer), detail}}}
}
