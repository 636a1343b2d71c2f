package main

import (
	"fmt"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

// formBudgets are the least shares of the floor's rows per second.
var formBudgets = map[form]float64{withLinks: 0.45, bothWays: 0.30}

func (f form) title() string {
	return map[form]string{withLinks: "with links", bothWays: "two-way, with bases"}[f]
}

// emptyAs makes a database with the tables of a form.
func (b *bench) emptyAs(f form, e engine) (*sink, error) {
	s, err := b.newSink(e, nil)
	if err != nil {
		return nil, err
	}
	if err := b.durable(s); err != nil {
		return nil, err
	}
	_, err = b.kedgeAs(f, s, b.service, "map", "tables", "bench", "--yes")
	return s, err
}

// loadAs makes a full sync into a copy of a database.
func (b *bench) loadAs(f form, empty *sink, from *service) (*sink, usage, error) {
	s, err := b.newSink(empty.engine, empty)
	if err != nil {
		return nil, usage{}, err
	}
	u, err := b.kedgeAs(f, s, from, "sync", "bench")
	if err == nil {
		err = s.holds(b.ctx, from.State)
	}
	return s, u, err
}

// fullAs measures the first sync in a form, against the floor of the others.
func (b *bench) fullAs(f form, e engine) ([]row, error) {
	empty, err := b.emptyAs(f, e)
	if err != nil {
		return nil, err
	}
	kedge := func() (usage, error) {
		s, u, err := b.loadAs(f, empty, b.service)
		if err != nil {
			return u, err
		}
		if b.kept[f][e] == nil {
			b.kept[f][e] = s
			return u, nil
		}
		return u, b.drop(s)
	}
	floor := func() (usage, error) {
		s, err := b.newSink(e, nil)
		if err != nil {
			return usage{}, err
		}
		_, u, err := b.floor("floor-"+string(e), b.service.URL+feed.Select, s)
		if err == nil {
			err = s.holds(b.ctx, b.service.State)
		}
		if err != nil {
			return u, err
		}
		return u, b.drop(s)
	}
	if b.kept[f][e] == nil {
		if _, err := kedge(); err != nil { // makes the service ready
			return nil, err
		}
	}
	p, err := b.inTurn(kedge, floor)
	if err != nil {
		return nil, err
	}
	return []row{p.rate(fmt.Sprintf("full sync, %s, %s OData rows → %s", f.title(), thousands(b.rows), e.title()), formBudgets[f])}, nil
}

// state measures what kedge keeps of each row beside the row itself, after a
// full sync.
func (b *bench) state(e engine) ([]row, error) {
	sizes := map[form]float64{}
	for _, f := range []form{shared, withLinks, bothWays} {
		empty, err := b.emptyAs(f, e)
		if err != nil {
			return nil, err
		}
		full := b.kept[f][e]
		if full == nil {
			if full, _, err = b.loadAs(f, empty, b.service); err != nil {
				return nil, err
			}
			if f != shared {
				b.kept[f][e] = full
			}
		}
		before, err := empty.remembered(b.ctx)
		if err != nil {
			return nil, err
		}
		after, err := full.remembered(b.ctx)
		if err != nil {
			return nil, err
		}
		sizes[f] = float64(after-before) / float64(b.rows)
	}
	payload := float64(b.service.Bytes) / float64(b.rows)
	return []row{
		atMost("state on disk, bytes per row, shared key, "+e.title(), sizes[shared], 20, "%.0f"),
		atMost("the same with links", sizes[withLinks], 120, "%.0f"),
		atMost("two-way, against that with links and 1.3 × the JSON of a row", sizes[bothWays], sizes[withLinks]+1.3*payload, "%.0f"),
	}, nil
}
