package syncer_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/kedge-sync/kedge/syncer"
)

// decidePlan is the plan of a mapping of two fields, a and b, with a rule for
// conflicts.
func decidePlan(t testing.TB, rule string) *mapping.EntityPlan {
	t.Helper()
	m, err := mapping.Parse("test", []byte(`kedge: mapping/v1
entities:
  - external: things
    local: thing
    direction: bidirectional
    key: [{external: No, local: no}]
    conflict: `+rule+`
    fields:
      - {external: A, local: a}
      - {external: B, local: b}
      - {external: Down, local: down, direction: download}
      - {external: Up, local: up, direction: upload}
`))
	if err != nil {
		t.Fatal(err)
	}
	entity := func(name string, fields ...string) kedge.Entity {
		e := kedge.Entity{Name: name, Key: fields[:1], Full: true, Insert: true, Update: true, Delete: true}
		for _, f := range fields {
			e.Fields = append(e.Fields, kedge.Field{Name: f, Type: kedge.TypeString, Nullable: f != fields[0]})
		}
		return e
	}
	ext := entity("things", "No", "A", "B", "Down", "Up")
	ext.Fields = append(ext.Fields, kedge.Field{Name: "Changed", Type: kedge.TypeTime, Nullable: true})
	loc := entity("thing", "id", "no", "a", "b", "down", "up")
	loc.Fields = append(loc.Fields, kedge.Field{Name: "changed", Type: kedge.TypeTime, Nullable: true})
	p, err := mapping.Compile(m, &kedge.Schema{Entities: []kedge.Entity{ext}}, &kedge.Schema{Entities: []kedge.Entity{loc}}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Layers) == 0 {
		t.Fatalf("held: %+v", p.Held)
	}
	return p.Layers[0][0]
}

// side makes a record of texts like "a=1 b=2"; "-" is null, and a field that is
// not named is not known. "" is no record.
func side(p *mapping.EntityPlan, text string) *kedge.Record {
	if text == "" {
		return nil
	}
	r := &kedge.Record{Fields: p.LocalRead, Values: make([]kedge.Value, p.LocalRead.Len())}
	for _, pair := range strings.Fields(text) {
		name, v, _ := strings.Cut(pair, "=")
		i := p.LocalRead.Index(name)
		if r.Values[i] = kedge.String(v); v == "-" {
			r.Values[i] = kedge.Null()
		}
	}
	return r
}

// verdictText is a verdict as "merge down a up b".
func verdictText(p *mapping.EntityPlan, v syncer.Verdict) string {
	text := [...]string{"nothing", "agree", "merge", "create local", "create remote", "delete local", "delete remote", "forget", "park"}[v.Action]
	list := func(word string, has func(int) bool) {
		first := true
		for i := range p.LocalFields.Len() {
			if !has(i) {
				continue
			}
			if first {
				text += " " + word
			}
			first = false
			text += " " + p.LocalFields.Name(i)
		}
	}
	if v.Action == syncer.Merge {
		list("down", func(i int) bool { return v.Down[i] })
		list("up", func(i int) bool { return v.Up[i] })
	}
	if v.Action == syncer.Park {
		for _, i := range v.Fields {
			text += " " + p.LocalFields.Name(i)
		}
	}
	return text
}

func decide(p *mapping.EntityPlan, op syncer.Op, base, local, remote string) string {
	return verdictText(p, syncer.Decide(syncer.Sides{Base: side(p, base), Local: side(p, local), Remote: side(p, remote)}, p, op))
}

func TestDecide(t *testing.T) {
	const (
		old    = "a=1 b=1"
		always = "any rule"
	)
	for _, c := range []struct {
		what                string
		rule                string
		op                  syncer.Op
		base, local, remote string
		want                string
	}{
		{"nobody edited", always, syncer.Sync, old, old, old, "nothing"},
		{"edited there", always, syncer.Sync, old, old, "a=2 b=1", "merge down a"},
		{"edited here", always, syncer.Sync, old, "a=2 b=1", old, "merge up a"},
		{"cleared there", always, syncer.Sync, old, old, "a=- b=1", "merge down a"},
		{"cleared here", always, syncer.Sync, old, "a=- b=1", old, "merge up a"},
		{"not known there", always, syncer.Sync, old, old, "b=1", "nothing"},
		{"not known there, edited here", always, syncer.Sync, old, "a=2 b=1", "b=1", "merge up a"},
		{"same edit", always, syncer.Sync, old, "a=2 b=1", "a=2 b=1", "agree"},
		{"different fields", always, syncer.Sync, old, "a=2 b=1", "a=1 b=2", "merge down b up a"},
		{"deleted there", always, syncer.Sync, old, old, "", "delete local"},
		{"deleted here", always, syncer.Sync, old, "", old, "delete remote"},
		{"deleted on both sides", always, syncer.Sync, old, "", "", "forget"},
		{"new there", always, syncer.Sync, "", "", old, "create local"},
		{"new here", always, syncer.Sync, "", old, "", "create remote"},
		{"both there, equal", always, syncer.Sync, "", old, old, "agree"},
		{"a field that only goes down is edited here", always, syncer.Sync, old + " down=1", old + " down=2", old + " down=1", "nothing"},
		{"a field that only goes down is edited on both sides", always, syncer.Sync, old + " down=1", old + " down=2", old + " down=3", "merge down down"},
		{"a field that only goes up is edited there", always, syncer.Sync, old + " up=1", old + " up=1", old + " up=2", "nothing"},

		{"same field, default", "remote_wins", syncer.Sync, old, "a=2 b=2", "a=3 b=1", "merge down a up b"},
		{"same field, alias", "Server Wins", syncer.Sync, old, "a=2 b=2", "a=3 b=1", "merge down a up b"},
		{"same field", "local_wins", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "merge down b up a"},
		{"same field, alias", "Device Wins", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "merge down b up a"},
		{"same field", "local_wins_full", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "merge up a b"},
		{"same field, alias", "Device Wins (Full)", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "merge up a b"},
		{"no field twice", "local_wins_full", syncer.Sync, old, "a=2 b=1", "a=1 b=2", "merge down b up a"},
		{"same field", "manual", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "park a"},
		{"same field, alias", "Manual Action", syncer.Sync, old, "a=2 b=2", "a=3 b=3", "park a b"},
		{"whole record", "{policy: remote_wins, merge: record}", syncer.Sync, old, "a=2 b=2", "a=3 b=1", "merge down a"},
		{"whole record", "{policy: local_wins, merge: record}", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "merge up a b"},
		{"whole record", "{policy: manual, merge: record}", syncer.Sync, old, "a=2 b=1", "a=3 b=2", "park a"},
		{"whole record, different fields", "{policy: manual, merge: record}", syncer.Sync, old, "a=2 b=1", "a=1 b=2", "merge down b up a"},

		{"deleted there, edited here", "remote_wins", syncer.Sync, old, "a=2 b=1", "", "park"},
		{"deleted there, edited here", "{editVsDelete: remote_wins}", syncer.Sync, old, "a=2 b=1", "", "delete local"},
		{"deleted there, edited here", "{editVsDelete: local_wins}", syncer.Sync, old, "a=2 b=1", "", "create remote"},
		{"deleted here, edited there", "local_wins", syncer.Sync, old, "", "a=2 b=1", "park"},
		{"deleted here, edited there", "{editVsDelete: remote_wins}", syncer.Sync, old, "", "a=2 b=1", "create local"},
		{"deleted here, edited there", "{editVsDelete: local_wins}", syncer.Sync, old, "", "a=2 b=1", "delete remote"},

		{"both there, different", "remote_wins", syncer.Sync, "", "a=2 b=1", "a=3 b=1", "merge down a"},
		{"both there, different", "local_wins", syncer.Sync, "", "a=2 b=1", "a=3 b=1", "merge up a"},
		{"both there, different", "manual", syncer.Sync, "", "a=2 b=1", "a=3 b=1", "park a"},
		{"both there, nothing here", "manual", syncer.Sync, "", "a=- b=1", "a=3 b=1", "merge down a"},
		{"both there, nothing here", "local_wins", syncer.Sync, "", "a=- b=1", "a=3 b=1", "merge down a"},
		{"both there, nothing here, another differs", "local_wins_full", syncer.Sync, "", "a=- b=2", "a=3 b=1", "merge down a up b"},
		{"both there, nothing there", "remote_wins", syncer.Sync, "", "a=2 b=1", "a=- b=1", "merge down a"},
		{"a field that nothing is known of", "manual", syncer.Sync, "b=1", "a=- b=1", "a=3 b=1", "merge down a"},
		{"export of nothing", "manual", syncer.Export, "", "a=- b=1", "a=3 b=1", "agree"},
		{"import", "manual", syncer.Import, "", "a=2 b=1", "a=3 b=1", "merge down a"},
		{"import", "local_wins", syncer.Import, "", "a=2 b=1 up=1", "a=3 b=1 up=2", "merge down a up"},
		{"export", "manual", syncer.Export, "", "a=2 b=1", "a=3 b=1", "merge up a"},
	} {
		rules := []string{c.rule}
		if c.rule == always {
			rules = []string{"remote_wins", "local_wins", "local_wins_full", "manual", "{policy: manual, merge: record, editVsDelete: local_wins}"}
		}
		for _, rule := range rules {
			if got := decide(decidePlan(t, rule), c.op, c.base, c.local, c.remote); got != c.want {
				t.Errorf("%s (%s, %s): %s, want %s", c.what, rule, c.op, got, c.want)
			}
		}
	}
}

// Within the skew, or without a stamp, the local side wins.
func TestDecideByTime(t *testing.T) {
	p := decidePlan(t, "{policy: newest_wins, modified: {external: Changed, local: changed}, skew: 2s}")
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		later time.Duration // there
		want  string
	}{{-time.Hour, "merge up a"}, {0, "merge up a"}, {2 * time.Second, "merge up a"}, {2*time.Second + 1000, "merge down a"}, {time.Hour, "merge down a"}} {
		s := syncer.Sides{Base: side(p, "a=1"), Local: side(p, "a=2"), Remote: side(p, "a=3"), RemoteModified: kedge.Time(noon.Add(c.later))}
		s.Local.Values[p.Modified.Local] = kedge.Time(noon)
		if got := verdictText(p, syncer.Decide(s, p, syncer.Sync)); got != c.want {
			t.Errorf("%v later there: %s, want %s", c.later, got, c.want)
		}
		s.RemoteModified = kedge.Null()
		if got := verdictText(p, syncer.Decide(s, p, syncer.Sync)); got != "merge up a" {
			t.Errorf("without a stamp: %s", got)
		}
	}
}

// A decision never loses an edit of one side alone, and the two sides have the
// same chances: what happens to one with remote_wins happens to the other with
// local_wins.
func TestDecideLosesNothing(t *testing.T) {
	plans := map[string]*mapping.EntityPlan{}
	for _, rule := range []string{"remote_wins", "local_wins", "manual"} {
		plans[rule] = decidePlan(t, "{policy: "+rule+"}")
	}
	mirror := map[string]string{"remote_wins": "local_wins", "local_wins": "remote_wins", "manual": "manual"}
	value := rapid.SampledFrom([]string{"1", "2", "3", "-"})
	few(t, "2000")
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) string { return "a=" + value.Draw(rt, name) + " b=" + value.Draw(rt, name) }
		base, local, remote := draw("base"), draw("local"), draw("remote")
		rule := rapid.SampledFrom([]string{"remote_wins", "local_wins", "manual"}).Draw(rt, "rule")
		p := plans[rule]
		b, l, r := side(p, base), side(p, local), side(p, remote)
		v := syncer.Decide(syncer.Sides{Base: b, Local: l, Remote: r}, p, syncer.Sync)
		other := plans[mirror[rule]]
		m := syncer.Decide(syncer.Sides{Base: b, Local: r, Remote: l}, other, syncer.Sync)
		if v.Action != m.Action {
			rt.Fatalf("%s | %s | %s: action %v, mirrored %v", base, local, remote, v.Action, m.Action)
		}
		if v.Action == syncer.Park {
			return
		}
		for _, name := range []string{"a", "b"} {
			i := p.LocalFields.Index(name)
			down, up := v.Action == syncer.Merge && v.Down[i], v.Action == syncer.Merge && v.Up[i]
			if v.Action == syncer.Merge && (down != m.Up[i] || up != m.Down[i]) {
				rt.Fatalf("%s | %s | %s: field %s goes down %v, up %v, and mirrored down %v, up %v", base, local, remote, name, down, up, m.Down[i], m.Up[i])
			}
			here, there := !kedge.Equal(b.Values[i], l.Values[i]), !kedge.Equal(b.Values[i], r.Values[i])
			same := kedge.Equal(l.Values[i], r.Values[i])
			wantDown, wantUp := there && !here, here && !there
			if here && there && !same {
				wantDown, wantUp = rule == "remote_wins", rule == "local_wins"
			}
			if down != wantDown || up != wantUp {
				rt.Fatalf("%s | %s | %s: field %s goes down %v, up %v", base, local, remote, name, down, up)
			}
		}
	})
}
