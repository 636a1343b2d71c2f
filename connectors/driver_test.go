package connectors_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
)

// things is the entity of the drivers of these tests.
var things = kedge.Entity{Name: "things", Key: []string{"id"}, Fields: []kedge.Field{{Name: "id", Type: kedge.TypeString}, {Name: "n", Type: kedge.TypeInt}}}

var thingFields = kedge.NewFields("id", "n")

func thing(id string, n int64) kedge.Record {
	return kedge.Record{Fields: thingFields, Values: []kedge.Value{kedge.String(id), kedge.Int(n)}, Key: kedge.Key(id)}
}

func thingsOf(ids ...string) []kedge.Record {
	var records []kedge.Record
	for _, id := range ids {
		records = append(records, thing(id, 1))
	}
	return records
}

// A driver answers what its functions say.
type driver struct {
	entities []kedge.Entity // nil means things
	page     func(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error)
	calls    atomic.Int64
	schemas  atomic.Int64
	closes   atomic.Int64
}

func (d *driver) Schema(ctx context.Context) (*kedge.Schema, error) {
	d.schemas.Add(1)
	if d.entities == nil {
		return &kedge.Schema{Entities: []kedge.Entity{things}, Hash: "1"}, nil
	}
	return &kedge.Schema{Entities: d.entities, Hash: "1"}, nil
}

func (d *driver) ReadPage(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
	d.calls.Add(1)
	return d.page(ctx, req)
}

func (d *driver) Close() error {
	d.closes.Add(1)
	return nil
}

// inPages delivers the given pages; the token of a page is its number.
func inPages(pages ...[]kedge.Record) *driver {
	return &driver{page: func(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		i, _ := strconv.Atoi(string(req.Token))
		p := &connectors.Page{Records: pages[i]}
		if i+1 < len(pages) {
			p.Next = connectors.Token(strconv.Itoa(i + 1))
		} else {
			p.Anchor = "end"
		}
		return p, ctx.Err()
	}}
}

// filtering delivers those of records that pass the filter, which it must be
// given, in pages of two.
func filtering(e kedge.Entity, records ...kedge.Record) *driver {
	e.Filter = true
	return &driver{entities: []kedge.Entity{e}, page: func(_ context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		if req.Filter == nil {
			return nil, errors.New("no filter")
		}
		at, _ := strconv.Atoi(string(req.Token))
		p := &connectors.Page{Exact: true}
		for i, r := range records[at:] {
			truth, err := req.Filter.Match(&r)
			if err != nil {
				return nil, err
			}
			if truth == filter.Yes {
				p.Records = append(p.Records, r)
			}
			if len(p.Records) == 2 {
				p.Next = connectors.Token(strconv.Itoa(at + i + 1))
				break
			}
		}
		return p, nil
	}}
}

func request() connectors.ReadRequest {
	return connectors.ReadRequest{Entity: "things", Fields: thingFields.Names(), Size: 2}
}

func wantKind(t *testing.T, what string, err error, want kedge.Kind) {
	t.Helper()
	if err == nil || kedge.KindOf(err) != want {
		t.Errorf("%s: got error %v of kind %v, want kind %v", what, err, kedge.KindOf(err), want)
	}
}
