package mapping

import "slices"

// layers orders plans so that the targets of lookups come first. Entities that
// refer to each other share a layer.
func layers(plans []*EntityPlan) [][]*EntityPlan {
	t := &tarjan{edges: lookupEdges(plans), index: make([]int, len(plans)), low: make([]int, len(plans)), component: make([]int, len(plans))}
	for v := range plans {
		if t.index[v] == 0 {
			t.visit(v)
		}
	}
	// Components are numbered targets first, so the levels of all targets are
	// known when a component's own is needed.
	level := make([]int, t.components)
	order := make([]int, len(plans))
	for v := range order {
		order[v] = v
	}
	slices.SortStableFunc(order, func(a, b int) int { return t.component[a] - t.component[b] })
	depth := 0
	for _, v := range order {
		for _, w := range t.edges[v] {
			if t.component[w] != t.component[v] {
				level[t.component[v]] = max(level[t.component[v]], level[t.component[w]]+1)
			}
		}
		depth = max(depth, level[t.component[v]]+1)
	}
	out := make([][]*EntityPlan, depth)
	for v, p := range plans {
		l := level[t.component[v]]
		out[l] = append(out[l], p)
	}
	return out
}

// lookupEdges returns, for each plan, the plans that its lookups point to.
func lookupEdges(plans []*EntityPlan) [][]int {
	position := make(map[string]int, len(plans))
	for i, p := range plans {
		position[p.Name] = i
	}
	edges := make([][]int, len(plans))
	for i, p := range plans {
		for _, l := range slices.Concat(p.Lookups, p.UploadLookups) {
			if j, ok := position[l.Target]; ok {
				edges[i] = append(edges[i], j)
			}
		}
	}
	return edges
}

// tarjan finds strongly connected components (R. Tarjan, Depth-first search
// and linear graph algorithms, 1972).
type tarjan struct {
	edges      [][]int
	index, low []int // index is 0 for vertices that were not visited
	component  []int // -1 while on the stack
	stack      []int
	visited    int
	components int
}

func (t *tarjan) visit(v int) {
	t.visited++
	t.index[v], t.low[v], t.component[v] = t.visited, t.visited, -1
	t.stack = append(t.stack, v)
	for _, w := range t.edges[v] {
		if t.index[w] == 0 {
			t.visit(w)
			t.low[v] = min(t.low[v], t.low[w])
		} else if t.component[w] < 0 {
			t.low[v] = min(t.low[v], t.index[w])
		}
	}
	if t.low[v] != t.index[v] {
		return
	}
	for {
		w := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		t.component[w] = t.components
		if w == v {
			break
		}
	}
	t.components++
}
