package filter

import (
	"errors"
	"strconv"
	"time"

	"github.com/kedge-sync/kedge"
)

// ForKeys returns a bound filter that selects the records of ent with the
// given keys, of which there is at least one and at most [MaxIn].
func ForKeys(ent *kedge.Entity, keys []kedge.Key) (*Expr, error) {
	if len(ent.Key) == 0 || len(keys) == 0 || len(keys) > MaxIn {
		return nil, errors.New("filter: need an entity with a key and 1 to " + strconv.Itoa(MaxIn) + " keys, not " + strconv.Itoa(len(keys)))
	}
	in := Node{Op: In, Args: []Node{{Op: Field, Name: ent.Key[0], Column: 1}}, Column: 1}
	or := Node{Op: Or, Column: 1}
	for _, k := range keys {
		values, err := ent.Values(k)
		if err != nil {
			return nil, err
		}
		and := Node{Op: And, Column: 1}
		for i, v := range values {
			lit := Node{Op: Literal, Value: v, Type: v.Type(), Format: ent.Field(ent.Key[i]).Format, Column: 1}
			field := Node{Op: Field, Name: ent.Key[i], Column: 1}
			and.Args = append(and.Args, Node{Op: Eq, Args: []Node{field, lit}, Column: 1})
			in.Args = append(in.Args, lit)
		}
		or.Args = append(or.Args, and)
	}
	switch {
	case len(ent.Key) == 1:
		or = in
	case len(or.Args) == 1:
		or = or.Args[0]
	}
	return (&Expr{root: or}).Bind(ent, time.Time{})
}
