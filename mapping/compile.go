package mapping

import (
	"fmt"
	"slices"
	"time"

	"github.com/kedge-sync/kedge"
)

// A compiler makes plans and findings of a mapping. Check and Compile share
// it, so that what passes the one runs with the other.
type compiler struct {
	m        *Mapping
	ext, loc *kedge.Schema
	now      time.Time
}

// Compile makes the plan of m for the live schemas of both sides. Filters see
// now as the time of now(). Entities with errors are held; the error is of
// kind Invalid if the mapping itself cannot be compiled.
func Compile(m *Mapping, ext, loc *kedge.Schema, now time.Time) (*Plan, error) {
	c := &compiler{m: m, ext: ext, loc: loc, now: now}
	plan := &Plan{Held: map[string][]Finding{}}
	var plans []*EntityPlan
	for i := range m.Entities {
		if m.Entities[i].Disabled {
			continue
		}
		d := c.entity(&m.Entities[i])
		if errs := errorsOf(d.findings); len(errs) > 0 {
			plan.Held[d.rules.Name] = errs
			continue
		}
		plans = append(plans, d.plan)
	}
	plans = holdDependents(plans, plan.Held)
	plan.Layers = layers(plans)
	return plan, nil
}

func errorsOf(findings []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Severity != SeverityError })
}

// holdDependents holds the entities whose records need records of a held one.
func holdDependents(plans []*EntityPlan, held map[string][]Finding) []*EntityPlan {
	for again := true; again; {
		again = false
		plans = slices.DeleteFunc(plans, func(p *EntityPlan) bool {
			for _, l := range p.needed() {
				if _, ok := held[l.Target]; ok {
					held[p.Name] = append(held[p.Name], Finding{Code: LookupTargetMissing, Severity: SeverityError, Side: SideMapping, Entity: p.Name,
						Field: l.Field, Message: fmt.Sprintf("%s must point to a record of %s, which is held", l.Field, l.Target), Fix: "repair " + l.Target + " first"})
					again = true
					return true
				}
			}
			return false
		})
	}
	return plans
}

// needed returns the lookups that every record must have.
func (p *EntityPlan) needed() []Lookup {
	var out []Lookup
	for _, l := range p.Lookups {
		if l.Required {
			out = append(out, l)
		}
	}
	for _, l := range p.UploadLookups {
		if l.Required && p.Uploads(l.Local) {
			out = append(out, l)
		}
	}
	return out
}
