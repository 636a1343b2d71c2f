package schema

import (
	"fmt"
	"math"
	"regexp/syntax"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// A load says what validating costs, because it cannot be stopped once it
// runs. The unit is about the time that one subschema takes for one value.
type load struct {
	weights [jsonguard.MaxDepth + 1]float64 // of one value, by the number of containers around it
	text    float64                         // of one byte of text, in 1/64
}

const (
	weighedLevels = 8       // levels that MaxWeight holds for
	maxSteps      = 2000000 // steps of weighing, after which a schema counts as too complex
	textUnit      = 64      // bytes times instructions of a regular expression in one unit
)

// A sum is what a set of subschemas costs on one value.
type sum struct {
	cost   float64 // units
	visits float64 // subschemas
	deep   float64 // those that read all that is below the value
	text   float64 // per byte of text
}

func (a sum) plus(b sum, times float64) sum {
	return sum{a.cost + b.cost*times, a.visits + b.visits*times, a.deep + b.deep*times, a.text + b.text*times}
}

func (a sum) max(b sum) sum {
	return sum{max(a.cost, b.cost), max(a.visits, b.visits), max(a.deep, b.deep), max(a.text, b.text)}
}

// A weigher computes how often the subschemas of a graph can apply to one
// value of each depth.
type weigher struct {
	g        *graph
	closures []sum     // of each node with all that it applies to the same value
	counts   []float64 // scratch: of the nodes that are being expanded
	marked   []bool
	steps    int
}

// measure returns the load of a graph without loops, or why it is too much.
//
// It follows the document level by level. Of the children that a value can
// have, each name, each index and "any other", the worst counts for weights;
// of the subschemas that are followed further down, the worst of each.
func (g *graph) measure() (load, jsonguard.Faults) {
	w := &weigher{g: g, closures: make([]sum, len(g.nodes)), counts: make([]float64, len(g.nodes)), marked: make([]bool, len(g.nodes))}
	for _, n := range slices.Backward(g.nodes) {
		s := costOf(n.schema)
		for _, c := range n.inPlace {
			s = s.plus(w.closures[c.index], 1)
		}
		w.closures[n.index] = s
	}
	var l load
	level := make([]float64, len(g.nodes))
	w.expand([]edge{{g.root, 1}}, func(i int, count float64) { level[i] = count })
	worst, deep := w.closures[g.root.index], 0.0
	for depth := 0; ; depth++ {
		l.weights[depth] = worst.cost + deep/2
		l.text = max(l.text, worst.text)
		if depth <= weighedLevels && l.weights[depth] > MaxWeight || w.steps > maxSteps {
			return l, jsonguard.Faults{{Detail: fmt.Sprintf("too complex: at most %d subschemas and values of enum may apply to one value; references and combinations inside of each other multiply", MaxWeight)}}
		}
		if depth == jsonguard.MaxDepth {
			return l, nil
		}
		// Each member is touched by every subschema of the object around it.
		touched := worst.visits / 4
		deep += worst.deep
		level, worst = w.below(level)
		worst.cost += touched
	}
}

type edge struct {
	to    *node
	count float64
}

// below returns how often each node can apply to a value one level below
// level, and the worst sum on one value.
func (w *weigher) below(level []float64) ([]float64, sum) {
	next := make([]float64, len(level))
	var open, items []edge
	named, prefix := map[string][]edge{}, map[int][]edge{}
	for i, count := range level {
		if count == 0 {
			continue
		}
		n := w.g.nodes[i]
		for _, c := range n.open {
			open = append(open, edge{c, count})
		}
		for _, c := range n.items {
			items = append(items, edge{c, count})
		}
		for name, c := range n.named {
			named[name] = append(named[name], edge{c, count})
		}
		for j, c := range n.prefix {
			prefix[j] = append(prefix[j], edge{c, count})
		}
		w.steps += len(n.named) + len(n.prefix)
	}
	members := children(w, next, open, named)
	elements := children(w, next, items, prefix)
	return next, members.max(elements)
}

// children raises next to what can apply to a child that every edge of all
// leads to, and besides the edges of one key of each.
func children[K comparable](w *weigher, next []float64, all []edge, each map[K][]edge) sum {
	var others, worst sum
	shared := map[int]float64{}
	for _, e := range all {
		others = others.plus(w.closures[e.to.index], e.count)
	}
	w.expand(all, func(i int, count float64) { shared[i] = count; next[i] = max(next[i], count) })
	for _, edges := range each {
		var own sum
		for _, e := range edges {
			own = own.plus(w.closures[e.to.index], e.count)
		}
		worst = worst.max(own)
		w.expand(edges, func(i int, count float64) { next[i] = max(next[i], count+shared[i]) })
	}
	return others.plus(worst, 1)
}

// expand calls f with every node that edges lead to on the same value, and how
// often.
func (w *weigher) expand(edges []edge, f func(index int, count float64)) {
	var reached []int
	var mark func(n *node)
	mark = func(n *node) {
		if w.steps++; !w.marked[n.index] && w.steps <= maxSteps {
			w.marked[n.index] = true
			reached = append(reached, n.index)
			for _, c := range n.inPlace {
				mark(c)
			}
		}
	}
	for _, e := range edges {
		mark(e.to)
		w.counts[e.to.index] += e.count
	}
	slices.Sort(reached)
	for _, i := range reached {
		count := min(w.counts[i], math.MaxFloat32)
		w.counts[i], w.marked[i] = 0, false
		for _, c := range w.g.nodes[i].inPlace {
			w.counts[c.index] += count
		}
		f(i, count)
	}
}

// costOf returns what a subschema alone costs on one value.
func costOf(s *jsonschema.Schema) sum {
	c := sum{cost: 1, visits: 1}
	if s.Enum != nil {
		for _, v := range s.Enum.Values {
			c.cost += equalCost(v)
		}
	}
	if s.Const != nil {
		c.cost += equalCost(*s.Const)
	}
	if s.Types != nil && slices.Contains(s.Types.ToStrings(), "integer") {
		c.cost++
	}
	for _, limit := range []bool{s.Minimum != nil, s.Maximum != nil, s.ExclusiveMinimum != nil, s.ExclusiveMaximum != nil, s.MultipleOf != nil, s.Format != nil} {
		if limit {
			c.cost++
		}
	}
	names := len(s.Required)
	for _, list := range s.DependentRequired {
		names += 1 + len(list)
	}
	for _, d := range s.Dependencies {
		list, _ := d.([]string)
		names += 1 + len(list)
	}
	c.cost += float64(names+len(s.DependentSchemas)) / 16
	if s.UniqueItems {
		c.deep = 1
	}
	if s.MinLength != nil || s.MaxLength != nil || s.Format != nil {
		c.text++
	}
	if s.Pattern != nil {
		c.text += instructions(s.Pattern.String())
	}
	for p := range s.PatternProperties {
		c.text += instructions(p.String())
	}
	return c
}

// equalCost returns what comparing a value with v costs: numbers are compared
// as fractions.
func equalCost(v any) float64 {
	switch v := v.(type) {
	case nil, bool, string:
		return 1.0 / 64
	case []any:
		cost := 1.0
		for _, e := range v {
			cost += equalCost(e)
		}
		return cost
	case map[string]any:
		cost := 1.0
		for _, e := range v {
			cost += equalCost(e)
		}
		return cost
	}
	return 2
}

// instructions returns the size of the program of a regular expression, which
// matching may run through for every byte.
func instructions(expr string) float64 {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return math.MaxFloat32
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return math.MaxFloat32
	}
	return float64(len(prog.Inst))
}

// Work returns what validating a resource with so many values costs, in the
// unit of [MaxWork].
func (s *Schema) Work(c *jsonguard.Counts) int {
	total := float64(c.Text) * s.load.text / textUnit
	for depth, n := range c.Units {
		total += float64(n) * s.load.weights[depth]
	}
	return int(min(total, math.MaxInt32))
}

// Weights returns the weight of a value by the number of containers around
// it, rounded up: 0 is the resource itself. Deeper levels than the last one
// weigh as much as the last.
func (s *Schema) Weights() []int {
	end := len(s.load.weights)
	for end > 1 && s.load.weights[end-1] == s.load.weights[end-2] {
		end--
	}
	out := make([]int, end)
	for i := range out {
		out[i] = int(math.Ceil(min(s.load.weights[i], math.MaxInt32)))
	}
	return out
}
