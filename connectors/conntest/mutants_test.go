package conntest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

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
	writing := slices.Concat(writeChecks, txChecks)
	reading := slices.DeleteFunc(checks(), func(c check) bool {
		return slices.ContainsFunc(writing, func(w check) bool { return w.name == c.name })
	})
	for _, m := range slices.Concat(readingMutants, valueMutants, keyMutants, lifeMutants, writeMutants, txMutants) {
		t.Run(m.name, func(t *testing.T) {
			of := reading // what was written is read back: those checks see what is wrong with reads too
			if m.breaks.write != nil || m.breaks.tx != nil {
				of = writing
			}
			failed, cant := outcomes(t, of, func(t testing.TB) System { return newSystem(t, m.breaks) })
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
