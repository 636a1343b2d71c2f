package conntest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// TestMutants breaks the driver in one way at a time. The first check named
// for a mutant is the one that exists to find it; the others see it too.
func TestMutants(t *testing.T) {
	patience := leakPatience
	leakPatience = time.Second // one mutant leaks
	defer func() { leakPatience = patience }()
	found := map[string]bool{}
	for _, m := range slices.Concat(readingMutants, valueMutants, keyMutants, lifeMutants) {
		t.Run(m.name, func(t *testing.T) {
			failed, cant := outcomes(t, func(t testing.TB) System { return newSystem(t, m.breaks) })
			var want []string
			for i, name := range strings.Fields(m.fails) {
				name, perhaps := strings.CutSuffix(name, "?")
				if !perhaps || slices.Contains(failed, name) {
					want = append(want, name)
				}
				if i == 0 {
					found[name] = true
				}
			}
			slices.Sort(want)
			slices.Sort(failed)
			if !slices.Equal(failed, want) {
				t.Errorf("failed checks:\n got %v\nwant %v", failed, want)
			}
			if len(cant) > 0 {
				t.Errorf("checks that could not run: %v, want none", cant)
			}
		})
	}
	for _, c := range checks() {
		if !found[c.name] {
			t.Errorf("no mutant has %s as its check", c.name)
		}
	}
}

type mutant struct {
	name   string
	breaks mutation
	fails  string // names of checks; with a question mark if that depends on chance
}

// page returns a mutation that changes the pages that were read without error.
func page(change func(d *driver, req *connectors.ReadRequest, p *connectors.Page)) mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		p, err := d.read(ctx, req)
		if err == nil {
			change(d, &req, p)
		}
		return p, err
	}}
}

// failing returns a mutation that changes the errors of ReadPage.
func failing(change func(req *connectors.ReadRequest, e *kedge.Error)) mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		p, err := d.read(ctx, req)
		if e, ok := errors.AsType[*kedge.Error](err); ok {
			change(&req, e)
		}
		return p, err
	}}
}

// now returns the anchor of the present moment.
func (d *driver) now(ctx context.Context, entity string) kedge.Anchor {
	p, err := d.Driver.ReadPage(ctx, connectors.ReadRequest{Entity: entity, Size: 10_000})
	if err != nil {
		panic(err)
	}
	return p.Anchor
}

var schemaMutants = []mutant{
	{"each driver hashes the schema differently", mutation{schema: func(d *driver, s *kedge.Schema) {
		s.Hash += fmt.Sprint(d.number)
	}}, "schema/Stable"},
	{"the schema changes each time", mutation{schema: func(d *driver, s *kedge.Schema) {
		s.Hash += fmt.Sprint(d.schemas.Load())
	}}, "schema/Refresh"},
	{"a field comes twice", mutation{schema: func(_ *driver, s *kedge.Schema) {
		s.Entities[0].Fields = append(s.Entities[0].Fields, s.Entities[0].Fields[0])
	}}, "schema/Sorted"},
	{"a nullable field is said not to be", mutation{schema: func(_ *driver, s *kedge.Schema) {
		s.Entity("widgets").Field("json").Nullable = false
	}}, "schema/Entities"},
	{"an alternate key that is no field", mutation{schema: func(_ *driver, s *kedge.Schema) {
		s.Entities[0].AlternateKeys = [][]string{{"code"}}
	}}, "schema/KeysExist"},
	{"a lookup into nowhere", mutation{schema: func(_ *driver, s *kedge.Schema) {
		s.Entity("widgets").Field("partNo").Lookup = []kedge.LookupTarget{{Entity: "gone", Field: "No"}}
	}}, "schema/LookupTargets"},
	{"the schema is guessed from records", mutation{schema: func(d *driver, _ *kedge.Schema) {
		d.Driver.ReadPage(context.Background(), request(1, ""))
	}}, "schema/NoRecordRead"},
	{"no such entity is internal", failing(func(_ *connectors.ReadRequest, e *kedge.Error) {
		if e.Kind == kedge.NotFound && e.Entity == "noSuchEntity" {
			e.Kind = kedge.Internal
		}
	}), "schema/UnknownEntity"},
	{"no such field is not found", failing(func(r *connectors.ReadRequest, e *kedge.Error) {
		if slices.Contains(r.Fields, "noSuchField") {
			e.Kind = kedge.NotFound
		}
	}), "schema/UnknownField"},
}

var readingMutants = slices.Concat(schemaMutants, []mutant{
	{"an empty read fails", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		p, err := d.read(ctx, req)
		if err == nil && req.Anchor == "" && req.Token == "" && len(p.Records) == 0 && req.Filter == nil {
			return nil, io.EOF
		}
		return p, err
	}}, "paging/Empty"},
	{"a single record is taken for a header", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor == "" && r.Token == "" && r.Filter == nil && r.Entity == "widgets" && r.Size == 10 && len(p.Records) == 1 {
			p.Records = nil
		}
	}), "paging/One"},
	{"a page that is just full is cut", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor == "" && r.Token == "" && p.Next == "" && len(p.Records) == r.Size {
			p.Records = p.Records[1:]
		}
	}), "paging/ExactPage paging/EmptyMiddle"},
	{"a last page of one record is dropped", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor == "" && r.Size == 10 && r.Token != "" && p.Next == "" && len(p.Records) == 1 && r.Filter == nil {
			p.Records = nil
		}
	}), "paging/OnePast"},
	{"pages are three times as large", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		if req.Anchor == "" {
			req.Size *= 3
		}
		return d.read(ctx, req)
	}}, "paging/Many paging/ForeignToken paging/TokenInNewDriver life/Cancel life/NoLeak"},
	{"the read ends at an empty page", endsAtEmptyPage(), "paging/EmptyMiddle"},
	{"a record comes twice in a page", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor != "" && len(p.Records) > 0 {
			p.Records = append(p.Records, p.Records[0])
		}
	}), "paging/NoDuplicateInPage"},
	{"a foreign token is internal", failing(func(r *connectors.ReadRequest, e *kedge.Error) {
		if r.Token != "" && e.Kind == kedge.Invalid {
			e.Kind = kedge.Internal
		}
	}), "paging/ForeignToken"},
	{"a token works in its driver only", privateTokens(1, true), "paging/TokenInNewDriver paging/ResumeAtEveryPage delta/ResumeAtEveryPage delta/Expired"},
	{"later tokens work in their driver only", privateTokens(3, true), "paging/ResumeAtEveryPage delta/ResumeAtEveryPage"},
	{"the first record is forgotten", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor == "" && r.Token == "" && r.Entity == "widgets" && len(p.Records) == 10 && p.Next != "" {
			p.Records[0].Values = slices.Clone(p.Records[0].Values)
			p.Records[0].Values[widgetFields.Index("string")] = kedge.Null()
		}
	}), "full/AllSeen"},
	{"edited records are beyond the bound", boundedFullRead(), "full/EditDuringRead life/Concurrent8?"},
	{"the number of pages is fixed at the start", countedPages(), "full/InsertDuringRead"},
	{"full reads by offset", offsets(), "full/DeleteDuringRead"},
	{"the anchor is taken at the end of a full read", anchorAtEnd(true), "full/Handoff"},
	{"the anchor is taken at the end of an incremental read", anchorAtEnd(false), "delta/EditDuringDelta"},
	{"a record comes though nothing changed", withUnchanged(), "delta/OnlyChanges"},
	{"no anchor when there is nothing new", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor != "" && r.Token == "" && len(p.Records) == 0 {
			p.Anchor = ""
		}
	}), "delta/NothingNew delta/Deletes"},
	{"deletions are not reported", page(func(_ *driver, _ *connectors.ReadRequest, p *connectors.Page) {
		p.Records = slices.DeleteFunc(p.Records, func(r kedge.Record) bool { return r.Removed != kedge.Live })
	}), "delta/Deletes delta/EditDuringDelta full/Handoff keys/Case keys/Composite keys/Percent keys/Quotes keys/Slashes keys/Spaces keys/Unicode life/Ack"},
	{"deletions come last", deletionsLast(), "delta/Reinsert"},
	{"paging by greater version only", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if r.Anchor != "" && p.Next != "" && len(p.Records) > 1 {
			p.Records = p.Records[:len(p.Records)-1]
		}
	}), "delta/EqualVersions delta/EditDuringDelta delta/ErrorKeepsAnchor delta/ResumeAtEveryPage keys/Composite keys/Percent keys/Quotes keys/Slashes keys/Spaces keys/Unicode " +
		"values/BigInts values/Bytes values/Controls values/Dates values/Decimals values/Floats values/Json values/Times values/Unicode"},
	{"late commits are passed by", page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		p.Records = slices.DeleteFunc(p.Records, func(rec kedge.Record) bool { return r.Anchor != "" && rec.Key == "late" })
	}), "delta/LateCommit"},
	{"an incremental read cannot be resumed late", privateTokens(3, false), "delta/ResumeAtEveryPage"},
	{"an expired anchor gives an empty page", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		p, err := d.read(ctx, req)
		if kedge.KindOf(err) == kedge.AnchorExpired && req.Token == "" {
			return &connectors.Page{Anchor: d.now(ctx, req.Entity)}, nil
		}
		return p, err
	}}, "delta/Expired"},
	{"a foreign anchor is internal", failing(func(r *connectors.ReadRequest, e *kedge.Error) {
		if r.Token == "" && r.Anchor != "" && e.Kind == kedge.Invalid {
			e.Kind = kedge.Internal
		}
	}), "delta/OtherEntity"},
	{"a failed page looks like the last one", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		if d.sys.fault() != nil && req.Token != "" {
			return &connectors.Page{Anchor: req.Anchor}, nil
		}
		return d.read(ctx, req)
	}}, "delta/ErrorKeepsAnchor"},
})

// endsAtEmptyPage filters in the driver and takes a page without matches for
// the last one.
func endsAtEmptyPage() mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		if req.Filter == nil {
			return d.read(ctx, req)
		}
		expr := req.Filter
		req.Filter = nil
		p, err := d.read(ctx, req)
		if err != nil {
			return p, err
		}
		p.Records = slices.DeleteFunc(p.Records, func(r kedge.Record) bool {
			truth, err := expr.Match(&r)
			return err != nil || truth != filter.Yes
		})
		if len(p.Records) == 0 {
			p.Next = ""
		}
		return p, nil
	}}
}

// tagged returns a mutation that carries numbers in its tokens, as many
// drivers do. next is given those of req, nil in a first request, and returns
// those for the next one.
func tagged(next func(d *driver, ctx context.Context, req *connectors.ReadRequest, tags []int) (*connectors.Page, []int, error)) mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		var tags []int
		if token, tail, ok := strings.Cut(string(req.Token), "~"); ok {
			tags, req.Token = make([]int, 2), connectors.Token(token)
			fmt.Sscanf(tail, "%d.%d", &tags[0], &tags[1])
		}
		p, tags, err := next(d, ctx, &req, tags)
		if err == nil && p.Next != "" && len(tags) == 2 {
			p.Next += connectors.Token(fmt.Sprintf("~%d.%d", tags[0], tags[1]))
		}
		return p, err
	}}
}

// privateTokens makes the tokens from page n on unknown to other drivers.
func privateTokens(n int, full bool) mutation {
	return tagged(func(d *driver, ctx context.Context, req *connectors.ReadRequest, tags []int) (*connectors.Page, []int, error) {
		pages := 1
		if tags != nil {
			pages = tags[1]
			if tags[0] != d.number && pages > n && (full || req.Anchor != "") {
				return nil, nil, &kedge.Error{Kind: kedge.Transient, Err: errors.New("unknown token")}
			}
		}
		p, err := d.read(ctx, *req)
		return p, []int{d.number, pages + 1}, err
	})
}

// everything returns all present records of widgets.
func (d *driver) everything(ctx context.Context) []kedge.Record {
	p, err := d.Driver.ReadPage(ctx, request(10_000, ""))
	if err != nil {
		panic(err)
	}
	return p.Records
}

// boundedFullRead leaves out of a full read what was written after it began.
func boundedFullRead() mutation {
	version := func(r kedge.Record) (n int) { fmt.Sscan(r.Version, &n); return n }
	return tagged(func(d *driver, ctx context.Context, req *connectors.ReadRequest, tags []int) (*connectors.Page, []int, error) {
		p, err := d.read(ctx, *req)
		if err != nil || req.Anchor != "" || req.Entity != "widgets" {
			return p, nil, err
		}
		if tags == nil {
			tags = make([]int, 2)
			for _, r := range d.everything(ctx) {
				tags[0] = max(tags[0], version(r))
			}
		}
		p.Records = slices.DeleteFunc(p.Records, func(r kedge.Record) bool { return version(r) > tags[0] })
		return p, tags, nil
	})
}

// countedPages ends a full read after as many pages as there were when it began.
func countedPages() mutation {
	return tagged(func(d *driver, ctx context.Context, req *connectors.ReadRequest, tags []int) (*connectors.Page, []int, error) {
		p, err := d.read(ctx, *req)
		if err != nil || req.Anchor != "" || req.Filter != nil || req.Entity != "widgets" || req.Token != "" && tags == nil {
			return p, nil, err
		}
		if tags == nil {
			tags = []int{0, (len(d.everything(ctx)) + req.Size - 1) / req.Size}
		}
		if tags[1]--; tags[1] == 0 && p.Next != "" {
			p.Next, p.Anchor = "", d.now(ctx, req.Entity)
		}
		return p, tags, nil
	})
}

// offsets reads by counting rows.
func offsets() mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		offset, isOffset := strings.CutPrefix(string(req.Token), "offset ")
		if req.Anchor != "" || req.Token != "" && !isOffset {
			return d.read(ctx, req)
		}
		at, size, anchor := 0, req.Size, ""
		if isOffset {
			var entity string
			if fmt.Sscan(offset, &entity, &at, &anchor); entity != req.Entity {
				return nil, &kedge.Error{Kind: kedge.Invalid}
			}
		}
		req.Token, req.Size = "", 100_000
		p, err := d.read(ctx, req)
		if err != nil {
			return nil, err
		}
		if anchor == "" {
			anchor = string(p.Anchor)
		}
		p.Records = p.Records[min(at, len(p.Records)):]
		if p.Anchor = kedge.Anchor(anchor); len(p.Records) > size {
			p.Records, p.Anchor = p.Records[:size], ""
			p.Next = connectors.Token(fmt.Sprintf("offset %s %d %s", req.Entity, at+size, anchor))
		}
		return p, nil
	}}
}

func anchorAtEnd(full bool) mutation {
	return page(func(d *driver, r *connectors.ReadRequest, p *connectors.Page) {
		if p.Next == "" && (r.Anchor == "") == full {
			p.Anchor = d.now(context.Background(), r.Entity)
		}
	})
}

// withUnchanged adds a record that did not change to each first page.
func withUnchanged() mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		p, err := d.read(ctx, req)
		if err != nil || req.Anchor == "" || req.Entity != "widgets" || len(p.Records) == 0 {
			return p, err
		}
		found, err := d.ReadKeys(ctx, "widgets", req.Fields, []kedge.Key{"w0050"})
		if err == nil && found[0].OK {
			p.Records = append(p.Records, found[0].Record)
		}
		return p, err
	}}
}

// deletionsLast reports the deletion of a record that was inserted again.
func deletionsLast() mutation {
	return page(func(_ *driver, r *connectors.ReadRequest, p *connectors.Page) {
		for _, rec := range p.Records {
			if r.Anchor != "" && rec.Key == "w0005" && rec.Get("int").Int() == 500 {
				p.Records = []kedge.Record{{Key: rec.Key, Removed: kedge.Deleted}}
			}
		}
	})
}

// values returns a mutation that changes the values of one type.
func values(t kedge.Type, change func(kedge.Value) kedge.Value) mutation {
	return mutation{record: func(r *kedge.Record) {
		r.Values = slices.Clone(r.Values)
		for i, v := range r.Values {
			if v.Type() == t && r.Fields.Name(i) != "id" {
				r.Values[i] = change(v)
			}
		}
	}}
}

func text(change func(string) string) mutation {
	return values(kedge.TypeString, func(v kedge.Value) kedge.Value { return kedge.String(change(v.Str())) })
}

func cutTime(d time.Duration) mutation {
	return values(kedge.TypeTime, func(v kedge.Value) kedge.Value { return kedge.Time(v.Time().Truncate(d)) })
}

var valueMutants = []mutant{
	{"bools are text", values(kedge.TypeBool, func(v kedge.Value) kedge.Value { return kedge.String(v.Text()) }),
		"values/Bools values/NullMissingEmpty values/FieldOrder"},
	{"ints through floats", values(kedge.TypeInt, func(v kedge.Value) kedge.Value { return kedge.Int(int64(float64(v.Int()) / 3 * 3)) }), "values/BigInts keys/Composite"},
	{"decimals without scale", values(kedge.TypeDecimal, func(v kedge.Value) kedge.Value { return kedge.Decimal(kedge.CanonicalDecimal(v.Str())) }), "values/Decimals"},
	{"times in seconds", cutTime(time.Second), "values/Times values/Nanoseconds"},
	{"times in microseconds", cutTime(time.Microsecond), "values/Nanoseconds"},
	{"dates a day early", values(kedge.TypeDate, func(v kedge.Value) kedge.Value {
		if v.Time().Year() == 1 {
			return v
		}
		return kedge.Date(v.Time().Add(-time.Hour))
	}), "values/Dates"},
	{"single precision", values(kedge.TypeFloat, func(v kedge.Value) kedge.Value { return kedge.Float(float64(float32(v.Float()))) }), "values/Floats"},
	{"NaN is null", values(kedge.TypeFloat, func(v kedge.Value) kedge.Value {
		if v.Float() != v.Float() {
			return kedge.Null()
		}
		return v
	}), "values/SpecialFloats"},
	{"bytes end at 0", values(kedge.TypeBytes, func(v kedge.Value) kedge.Value {
		s, _, _ := strings.Cut(v.Str(), "\x00")
		return kedge.BytesText(s)
	}), "values/Bytes"},
	{"null is missing", values(kedge.TypeNull, func(kedge.Value) kedge.Value { return kedge.Value{} }), "values/NullMissingEmpty"},
	{"text is normalised", text(norm.NFC.String), "values/Unicode"},
	{"line ends are normalised", text(func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }), "values/Controls"},
	{"text ends at NUL", text(func(s string) string { s, _, _ = strings.Cut(s, "\x00"); return s }), "values/Nul"},
	{"text is cut", text(func(s string) string { return s[:min(len(s), 1<<16)] }), "values/LongText"},
	{"json through floats", values(kedge.TypeJSON, func(v kedge.Value) kedge.Value {
		var any any
		if err := json.Unmarshal([]byte(v.Str()), &any); err != nil {
			panic(err)
		}
		b, _ := json.Marshal(any)
		return kedge.JSON(string(b))
	}), "values/Json"},
	{"json loses NUL", values(kedge.TypeJSON, func(v kedge.Value) kedge.Value { return kedge.JSON(strings.ReplaceAll(v.Str(), `\u0000`, "")) }), "values/JsonNul"},
	{"guids in capitals", mutation{record: func(r *kedge.Record) {
		if i := r.Fields.Index("guid"); i >= 0 && len(r.Values) > i && !r.Values[i].IsEmpty() {
			r.Values[i] = kedge.String(strings.ToUpper(r.Values[i].Str()))
		}
	}}, "values/Guids"},
	{"lookups with label", mutation{record: func(r *kedge.Record) {
		if i := r.Fields.Index("partNo"); i >= 0 && len(r.Values) > i && !r.Values[i].IsEmpty() {
			r.Values[i] = kedge.String(r.Values[i].Str() + ":label")
		}
	}}, "values/Lookup"},
	{"values in the order of names", mutation{record: func(r *kedge.Record) {
		if names := r.Fields.Names(); len(names) == 4 && names[0] > names[1] && len(r.Values) == 4 {
			slices.Reverse(r.Values)
		}
	}}, "values/FieldOrder"},
}

// readKeys returns a mutation that changes the keys that are asked for.
func readKeys(change func(string) string) mutation {
	return mutation{keys: func(keys []kedge.Key) {
		for i := range keys {
			keys[i] = kedge.Key(change(string(keys[i])))
		}
	}}
}

var keyMutants = []mutant{
	{"quotes in keys are not doubled", readKeys(func(k string) string { return strings.ReplaceAll(k, "''", "'") }), "keys/Quotes"},
	{"keys are cut at a question mark", readKeys(func(k string) string { k, _, _ = strings.Cut(k, "?"); return k }), "keys/Slashes"},
	{"keys are decoded twice", readKeys(func(k string) string {
		if s, err := url.PathUnescape(k); err == nil {
			return s
		}
		return k
	}), "keys/Percent"},
	{"keys are normalised", readKeys(norm.NFC.String), "keys/Unicode"},
	{"keys are trimmed", readKeys(strings.TrimSpace), "keys/Spaces keys/Unicode"},
	{"keys without case", readKeys(strings.ToLower), "keys/Case keys/Percent keys/Quotes keys/Unicode"},
	{"keys are split at commas", readKeys(func(k string) string { return strings.ReplaceAll(k, `\,`, ",") }), "keys/Composite keys/Slashes"},
	{"found in another order", mutation{found: func(found []connectors.Found) {
		if len(found) > 100 {
			slices.Reverse(found)
		}
	}}, "keys/ReadByKey"},
	{"ge is gt", pushed(func(src string) string { return strings.ReplaceAll(src, " ge ", " gt ") }), "filter/Compare filter/Functions filter/Logic?"},
	{"in takes one item", pushed(func(src string) string {
		if head, rest, ok := strings.Cut(src, " in ("); ok && !strings.Contains(src, "'") && strings.Count(src, "(") == 1 {
			first, _, _ := strings.Cut(rest, ",")
			return head + " in (" + strings.TrimSuffix(first, ")") + ")"
		}
		return src
	}), "filter/In filter/Logic?"},
	{"startswith is contains", pushed(func(src string) string { return strings.ReplaceAll(src, "startswith", "contains") }), "filter/Text filter/HostileLiterals filter/Logic"},
	{"months are days", pushed(func(src string) string { return strings.ReplaceAll(src, "month(", "day(") }), "filter/Functions"},
	{"or is and", pushed(func(src string) string { return strings.ReplaceAll(src, " or ", " and ") }), "filter/Logic filter/HostileLiterals paging/EmptyMiddle"},
	{"a literal breaks out", pushed(func(src string) string {
		if strings.Contains(src, "drop table") {
			return "null eq null"
		}
		return src
	}), "filter/HostileLiterals"},
}

// pushed returns a mutation that pushes another filter than it was given, and
// says that it was applied exactly.
func pushed(change func(string) string) mutation {
	return mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		if req.Filter != nil {
			ent, err := (&env{sys: d.sys, drivers: []connectors.Driver{d}}).entity(ctx, req.Entity)
			if err != nil {
				return nil, err
			}
			if req.Filter, err = bound(ent, change(req.Filter.String())); err != nil {
				return nil, err
			}
		}
		return d.read(ctx, req)
	}}
}

var lifeMutants = []mutant{
	{"Ack forgets all there is", mutation{ack: func(d *driver) { d.sys.Expire(context.Background(), "widgets") }}, "life/Ack"},
	{"each driver has an epoch", mutation{probe: func(d *driver, a *connectors.Account) { a.Epoch = fmt.Sprint(d.number) }}, "life/Probe"},
	{"the context is not passed on", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		return d.read(context.WithoutCancel(ctx), req)
	}}, "life/Cancel life/NoValueInErrors"},
	{"readers share a position", mutation{page: func(d *driver, ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		d.mu.Lock()
		if d.last != "" && req.Token != "" && req.Anchor == "" && len(req.Token) > 20 {
			req.Token = d.last
		}
		p, err := d.read(ctx, req)
		if err == nil && p.Next != "" && req.Entity == "widgets" {
			d.last = p.Next
		}
		d.mu.Unlock()
		for range 20 {
			runtime.Gosched()
		}
		return p, err
	}}, "life/Concurrent8"},
	{"a goroutine outlives its driver", mutation{open: func(d *driver) { go func() { <-d.sys.ended }() }}, "life/NoLeak"},
	{"a conflict is invalid", mutation{fault: func(f Fault, e *kedge.Error) error {
		if e.Kind == kedge.Conflict {
			e.Kind = kedge.Invalid
		}
		return e
	}}, "life/ErrorKinds"},
	{"the delay is dropped", mutation{fault: func(f Fault, e *kedge.Error) error { e.RetryAfter = 0; return e }}, "life/RetryAfter"},
	{"the answer is quoted", mutation{fault: func(f Fault, e *kedge.Error) error {
		e.Err = errors.New("the system said: " + f.Text)
		return e
	}}, "life/NoSecretInErrors life/NoValueInErrors"},
	{"a token is quoted", failing(func(r *connectors.ReadRequest, e *kedge.Error) {
		e.Err = fmt.Errorf("%w: %s%s", e.Err, r.Token, r.Anchor)
	}), "life/NoValueInErrors"},
	{"Close works once", mutation{close: func(d *driver) error {
		if d.closed > 1 {
			return errors.New("closed already")
		}
		return nil
	}}, "life/Close"},
}
