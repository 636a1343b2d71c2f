package odatatest

import "slices"

// A savepoint is a state that can be gone back to as long as the service stays
// locked.
type savepoint struct {
	tables  []tableState
	writes  int
	repeats int
}

type tableState struct {
	edits, live int
}

func (s *Service) savepoint() savepoint {
	p := savepoint{writes: s.wrote.next(), repeats: s.repeats.count()}
	for _, t := range s.tables {
		p.tables = append(p.tables, tableState{len(t.log), t.live})
	}
	return p
}

// rollBack takes back what was written since p. As in most databases, row
// versions and keys that were given out are not given out again.
func (s *Service) rollBack(p savepoint) {
	for i, t := range s.tables {
		for len(t.log) > p.tables[i].edits {
			t.undo()
		}
		t.live = p.tables[i].live
	}
	s.wrote.takeBack(p.writes)
	s.repeats.forget(p.repeats)
	s.seq++ // what is kept of the commits until now is void
	s.bench.drop()
}

// undo takes back the last edit. A row that it has made is forgotten.
func (t *table) undo() {
	last := t.log[len(t.log)-1]
	t.log = t.log[:len(t.log)-1]
	r := last.row
	r.versions = slices.Delete(r.versions, last.at, last.at+1)
	if len(r.versions) == 0 && r.base < 0 {
		if i, ok := t.find(r.own); ok {
			t.rows = slices.Delete(t.rows, i, i+1)
		}
	}
}
