package sqllist_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/sqllist"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

type thing struct {
	bun.BaseModel `bun:"table:thing"`

	ID   string
	Name string
	N    int64
	On   bool
	At   time.Time
	Note *string
	Done *time.Time
}

func note(t *thing) kedge.Value {
	if t.Note == nil {
		return kedge.Null()
	}
	return kedge.String(*t.Note)
}

var things = sqllist.List[thing]{
	ID: "id", OrderBy: "id desc",
	Columns: []sqllist.Column[thing]{
		{Name: "id", SQL: "id", Type: kedge.TypeString, Value: func(t *thing) kedge.Value { return kedge.String(t.ID) }},
		{Name: "name", SQL: "name", Type: kedge.TypeString, Value: func(t *thing) kedge.Value { return kedge.String(t.Name) }},
		{Name: "n", SQL: "n", Type: kedge.TypeInt, Value: func(t *thing) kedge.Value { return kedge.Int(t.N) }},
		{Name: "on", SQL: `"on"`, Type: kedge.TypeBool, Value: func(t *thing) kedge.Value { return kedge.Bool(t.On) }},
		{Name: "at", SQL: "at", Type: kedge.TypeTime, Value: func(t *thing) kedge.Value { return kedge.Time(t.At) }},
		{Name: "note", SQL: "note", Type: kedge.TypeString, Nullable: true, Value: note},
		{Name: "done", SQL: "done", Type: kedge.TypeTime, Nullable: true, Value: func(t *thing) kedge.Value { return sqllist.Time(t.Done) }},
	},
}

var start = time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)

func sample() []thing {
	var all []thing
	names := []string{"a", "B", "b'%_", "é", "", "Anna"}
	for i := range 40 {
		t := thing{ID: fmt.Sprintf("%02d", i*7%40), Name: names[i%6], N: int64(i % 5), On: i%3 == 0, At: start.Add(time.Duration(i%7) * 100 * time.Millisecond)}
		if i%4 == 1 {
			text := names[i*5%6]
			t.Note, t.Done = &text, &t.At
		}
		all = append(all, t)
	}
	return all
}

func ids(rows []thing) string {
	var out []string
	for _, r := range rows {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

func TestRowsAndSliceAgree(t *testing.T) {
	const columns = `id text, name text, n bigint, "on" boolean, at timestamp, note text, done timestamp`
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		all := sample()
		if _, err := s.DB().NewInsert().Model(&all).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		rows := func(q sqllist.Query) ([]thing, string, error) {
			var got []thing
			sel, cut, err := things.Rows(s.DB().NewSelect().Model(&got), q, start)
			if err != nil {
				return nil, "", err
			}
			if err := sel.Scan(t.Context()); err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			got, next := cut(got)
			return got, next, nil
		}
		for _, filter := range []string{
			"", "n eq 2", "3 gt n", "2 le n", "not (n ge 3)", "n in (1, 4)", "name eq 'B'", "name gt 'B'", "name in ('', 'a')", "on", "not on", "on eq false",
			"note eq null", "note ne null", "note ne 'B'", "not (note eq 'B')", "note gt 'A'", "not (note gt 'A')", "contains(name, 'n')", "contains(note, '')", "not contains(note, 'n')",
			"startswith(name, 'b''%')", "startswith(name, 'bx')", "endswith(name, 'na')", "endswith(name, 'xxxxxxna')", "not endswith(note, '_')",
			"at ge 2026-12-01T10:00:00.3Z", "at eq 2026-12-01T10:00:00Z", "done gt 2026-12-01T10:00:00.1Z", "at lt now() add duration'PT0.2S'",
			"n eq 1 or name eq 'é' and on", "(n eq 1 or name eq 'é') and not (on eq true)",
		} {
			for _, order := range []string{"", "id", "name", "name desc", "n asc", "n desc", "at", "at desc", "on"} {
				whole, _, err := things.Slice(all, sqllist.Query{Filter: filter, OrderBy: order}, start)
				if err != nil {
					t.Fatalf("%s, %s: %v", filter, order, err)
				}
				if filter != "" && filter != "contains(note, '')" && (len(whole) == len(all) || len(whole) == 0) && !strings.Contains(filter, "xxx") && !strings.Contains(filter, "bx") {
					t.Errorf("filter %s selects %d of %d", filter, len(whole), len(all))
				}
				for name, list := range map[string]func(sqllist.Query) ([]thing, string, error){
					"rows": rows, "slice": func(q sqllist.Query) ([]thing, string, error) { return things.Slice(all, q, start) },
				} {
					q := sqllist.Query{Filter: filter, OrderBy: order, Limit: 7}
					var walked []thing
					for {
						got, next, err := list(q)
						if err != nil || len(got) > 7 || next != "" && len(got) < 7 {
							t.Fatalf("%s %+v: %d rows, %v", name, q, len(got), err)
						}
						walked = append(walked, got...)
						if q.Cursor = next; next == "" {
							break
						}
					}
					if ids(walked) != ids(whole) {
						t.Errorf("%s, filter %s, order %s:\ngot  %s\nwant %s", name, filter, order, ids(walked), ids(whole))
					}
				}
			}
		}
		if _, _, err := rows(sqllist.Query{Filter: "name eq 'a\x00'"}); kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("NUL: %v", err)
		}
		if _, _, err := rows(sqllist.Query{Filter: "length(name) gt 2"}); kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), "without functions") {
			t.Errorf("function: %v", err)
		}
	}, store.Migration{Name: "1", SQLite: "CREATE TABLE thing (" + columns + ")", Postgres: "CREATE TABLE thing (" + strings.ReplaceAll(columns, "timestamp", "timestamptz") + ")"})
}

func TestCursorHoldsWhileRowsChange(t *testing.T) {
	all := sample()
	got, next, err := things.Slice(all, sqllist.Query{OrderBy: "n", Limit: 10}, start)
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(x thing) bool { return x.ID == got[9].ID || x.ID == got[0].ID })
	all = append(all, thing{ID: "00a", N: 0, Name: "x", At: start})
	rest, _, err := things.Slice(all, sqllist.Query{OrderBy: "n", Cursor: next}, start)
	if err != nil || len(rest) != 30 {
		t.Errorf("%d rows, %v, want the 30 that were left", len(rest), err)
	}
}

func TestRefusals(t *testing.T) {
	_, next, err := things.Slice(sample(), sqllist.Query{Limit: 1}, start)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q    sqllist.Query
		want string
	}{
		{sqllist.Query{Filter: "nme eq 'a'"}, "filter: "},
		{sqllist.Query{Filter: "n eq"}, "filter: "},
		{sqllist.Query{Filter: "n eq 'a'"}, "filter: "},
		{sqllist.Query{OrderBy: "nme"}, `orderby: there is no "nme"; did you mean "name"?`},
		{sqllist.Query{OrderBy: "qqqqqq"}, "orderby: there is no such column; there are id, name"},
		{sqllist.Query{OrderBy: "note"}, "note may be null"},
		{sqllist.Query{OrderBy: "name desc, id"}, "one column only"},
		{sqllist.Query{OrderBy: "name down"}, "one column only"},
		{sqllist.Query{Cursor: "x"}, "cursor: "},
		{sqllist.Query{Cursor: "e30"}, "cursor: "},
		{sqllist.Query{Cursor: next, OrderBy: "name"}, "cursor: "},
		{sqllist.Query{Cursor: next, Filter: "on"}, "cursor: "},
	} {
		if _, _, err := things.Slice(sample(), tt.q, start); kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %s", tt.q, err, tt.want)
		}
	}
}
