package match_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/subscriptions/match"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

var tasks = &kedge.Entity{Name: "tasks", Key: []string{"id"}, Fields: []kedge.Field{
	{Name: "id", Type: kedge.TypeString}, {Name: "project", Type: kedge.TypeString, Nullable: true}, {Name: "account", Type: kedge.TypeString, Nullable: true},
	{Name: "status", Type: kedge.TypeString, Nullable: true}, {Name: "due", Type: kedge.TypeTime, Nullable: true},
}}

func rec(project, account, status string) *kedge.Record {
	v := func(s string) kedge.Value {
		switch s {
		case "-":
			return kedge.Null()
		case "":
			return kedge.Value{}
		}
		return kedge.String(s)
	}
	return &kedge.Record{Fields: kedge.NewFields("project", "account", "status", "due"),
		Values: []kedge.Value{v(project), v(account), v(status), kedge.Time(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))}}
}

func scope(t testing.TB, s spec.Scope, text string) spec.Scope {
	s.Entity, s.Schema, s.FilterText = "tasks", tasks, text
	if s.Operations == nil {
		s.Operations = []kedge.Operation{kedge.OpCreate, kedge.OpUpdate, kedge.OpDelete}
	}
	s.Fields = []string{"id", "status"}
	if text != "" {
		e, err := filter.Parse(text)
		if err == nil {
			s.Filter, err = e.Bind(tasks, time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestMatch(t *testing.T) {
	x := match.NewIndex()
	x.Put("whole", "a", []spec.Scope{scope(t, spec.Scope{}, "")})
	x.Put("record", "a", []spec.Scope{scope(t, spec.Scope{Record: "t1"}, "")})
	x.Put("parent", "a", []spec.Scope{scope(t, spec.Scope{Via: "project", Parent: "p1"}, "")})
	x.Put("filter", "a", []spec.Scope{scope(t, spec.Scope{}, "status ne 'draft'")})
	x.Put("null", "a", []spec.Scope{scope(t, spec.Scope{}, "status eq null")})
	x.Put("soon", "a", []spec.Scope{scope(t, spec.Scope{}, "due lt now()")})
	x.Put("deletes", "a", []spec.Scope{scope(t, spec.Scope{Via: "project", Parent: "p1", Operations: []kedge.Operation{kedge.OpDelete}}, "")})
	x.Put("gone", "a", []spec.Scope{scope(t, spec.Scope{}, "")})
	x.Remove("gone")
	early, late := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		ev   match.Event
		want string
	}{
		{"create", match.Event{Key: "t1", Op: "create", After: rec("p1", "", "open"), At: early}, "filter c, parent c, record c, whole c"},
		{"create elsewhere", match.Event{Key: "t2", Op: "create", After: rec("p2", "", "draft"), At: early}, "whole c"},
		{"create with null", match.Event{Key: "t2", Op: "create", After: rec("-", "", "-"), At: late}, "filter c, null c, soon c, whole c"},
		{"update, before unknown", match.Event{Key: "t2", Op: "update", After: rec("p1", "", "draft"), At: early}, "parent u, whole u"},
		{"moved away", match.Event{Key: "t2", Op: "update", After: rec("p2", "", "draft"), Before: rec("p1", "", "draft"), Changed: []string{"project"}, At: early}, "deletes l, parent l"},
		{"moved here", match.Event{Key: "t2", Op: "update", After: rec("p1", "", "draft"), Before: rec("p2", "", "draft"), Changed: []string{"project"}, At: early}, "parent e"},
		{"left the filter", match.Event{Key: "t2", Op: "update", After: rec("p3", "", "draft"), Before: rec("p3", "", "open"), Changed: []string{"status"}, At: early}, "filter l, whole u"},
		{"nothing selected", match.Event{Key: "t1", Op: "update", After: rec("p1", "", "open"), Before: rec("p1", "", "open"), Changed: []string{"note"}, At: early}, ""},
		{"delete", match.Event{Key: "t1", Op: "delete", After: rec("p1", "", "draft"), At: early}, "deletes d, parent d, record d, whole d"},
		{"delete of an erased one", match.Event{Key: "t1", Op: "delete", After: rec("p1", "", ""), Scrubbed: true, At: early}, "deletes d, filter d, null d, parent d, record d, soon d, whole d"},
	} {
		tt.ev.Entity = "tasks"
		if got := hits(x, &tt.ev); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func hits(x *match.Index, ev *match.Event) string {
	var out []string
	x.Match(ev, func(sub string, op match.Op) { out = append(out, sub+" "+string(op)) })
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// A record is seen by its account only, and moving it tells both.
func TestTenancy(t *testing.T) {
	x := match.NewIndex()
	for _, account := range []string{"a", "b"} {
		x.Put("of "+account, account, []spec.Scope{scope(t, spec.Scope{Account: "account"}, "")})
	}
	for _, tt := range []struct {
		ev   match.Event
		want string
	}{
		{match.Event{Op: "create", After: rec("", "a", "x")}, "of a c"},
		{match.Event{Op: "create", After: rec("", "-", "x")}, ""},
		{match.Event{Op: "update", After: rec("", "b", "x"), Before: rec("", "a", "x")}, "of a l, of b e"},
		{match.Event{Op: "delete"}, ""},
	} {
		tt.ev.Entity = "tasks"
		if got := hits(x, &tt.ev); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.ev, got, tt.want)
		}
	}
	if in := x.Interest("tasks"); !in.Any || !slices.Equal(in.After, []string{"account", "id", "status"}) || !slices.Equal(in.Before, []string{"account"}) {
		t.Errorf("interest %+v", in)
	}
	x.Remove("of a")
	x.Remove("of b")
	if in := x.Interest("tasks"); in.Any {
		t.Errorf("interest of nobody: %+v", in)
	}
}

// 10,000 subscriptions of one record each: an event costs no more for them.
func BenchmarkMatch(b *testing.B) {
	x := match.NewIndex()
	for i := range 10_000 {
		x.Put(fmt.Sprint(i), "a", []spec.Scope{scope(b, spec.Scope{Record: kedge.Key(fmt.Sprintf("t%d", i))}, "")})
	}
	ev := &match.Event{Entity: "tasks", Key: "t77", Op: "update", After: rec("p1", "", "open")}
	n := 0
	for b.Loop() {
		x.Match(ev, func(string, match.Op) { n++ })
	}
	if n != b.N {
		b.Fatalf("%d hits", n)
	}
}
