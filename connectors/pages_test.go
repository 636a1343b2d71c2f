package connectors_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

// read returns the keys that a read delivers, "|" at the end of each page.
func read(conn *connectors.Conn, req connectors.ReadRequest) (string, error) {
	var b strings.Builder
	for page, err := range conn.Pages(context.Background(), req) {
		if err != nil {
			return b.String(), err
		}
		for _, r := range page.Records {
			b.WriteString(string(r.Key))
		}
		b.WriteString("|" + string(page.Anchor))
	}
	return b.String(), nil
}

func TestPages(t *testing.T) {
	for _, ahead := range []int{-1, 0, 1, 2, 9} {
		conn := connectors.New(inPages(thingsOf("a", "b"), nil, thingsOf("c"), thingsOf("a"), nil), &connectors.Options{ReadAhead: ahead})
		if got, err := read(conn, request()); got != "ab||c|a||end" || err != nil {
			t.Errorf("ReadAhead %d: got %q and error %v, want %q", ahead, got, err, "ab||c|a||end")
		}
		req := request()
		req.Token = "2"
		if got, err := read(conn, req); got != "c|a||end" || err != nil {
			t.Errorf("ReadAhead %d, from token 2: got %q and error %v, want %q", ahead, got, err, "c|a||end")
		}
	}
}

// At most ReadAhead pages wait while the caller works on one, and the
// goroutine that reads ends with the loop, also when it is left early: a
// bubble with a goroutine left over fails.
func TestReadAheadIsBounded(t *testing.T) {
	for ahead, want := range map[int]int64{-1: 1, 1: 2, 0: 4, 3: 4, 5: 6} {
		synctest.Test(t, func(t *testing.T) {
			d := inPages(make([][]kedge.Record, 20)...)
			for range connectors.New(d, &connectors.Options{ReadAhead: ahead}).Pages(t.Context(), request()) {
				synctest.Wait()
				break
			}
			if got := d.calls.Load(); got != want {
				t.Errorf("ReadAhead %d: %d pages were read while the caller had the first one, want %d", ahead, got, want)
			}
		})
	}
}

// A driver that waits for an answer is canceled when the loop is left.
func TestLeavingTheLoopCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := inPages(nil, nil, nil)
		first := d.page
		d.page = func(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
			if req.Token != "" {
				<-ctx.Done()
			}
			return first(ctx, req)
		}
		for range connectors.New(d, nil).Pages(t.Context(), request()) {
			synctest.Wait()
			break
		}
	})
}

// A read that the caller's context ended must not look complete, wherever the
// reading goroutine was.
func TestCanceledReadFails(t *testing.T) {
	for _, ahead := range []int{-1, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			pages, last := 0, error(nil)
			for _, err := range connectors.New(inPages(make([][]kedge.Record, 20)...), &connectors.Options{ReadAhead: ahead}).Pages(ctx, request()) {
				if pages++; pages == 2 {
					synctest.Wait()
					cancel()
					synctest.Wait()
				}
				last = err
			}
			if !errors.Is(last, context.Canceled) {
				t.Errorf("ReadAhead %d: the read ended after %d pages with error %v, want context.Canceled", ahead, pages, last)
			}
		})
	}
}

func TestCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &driver{page: func(ctx context.Context, _ connectors.ReadRequest) (*connectors.Page, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		begin := time.Now()
		_, err := read(connectors.New(d, nil), request())
		wantKind(t, "a call that never returns", err, kedge.Transient)
		if took := time.Since(begin); took != 30*time.Minute {
			t.Errorf("the call was given up after %v, want 30m", took)
		}
	})
}

func TestPageSize(t *testing.T) {
	for _, tt := range []struct{ option, entity, request, want int }{
		{0, 0, 0, 1000}, {50, 0, 0, 50}, {50, 0, 7, 7}, {0, 100, 0, 100}, {0, 100, 100, 100}, {0, 100, 101, 100}, {50, 100, 0, 50},
	} {
		e, got := things, 0
		e.PageMax = tt.entity
		d := &driver{entities: []kedge.Entity{e}, page: func(_ context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
			got = req.Size
			return &connectors.Page{}, nil
		}}
		req := request()
		req.Size = tt.request
		if _, err := read(connectors.New(d, &connectors.Options{PageSize: tt.option}), req); err != nil || got != tt.want {
			t.Errorf("PageSize %d, PageMax %d, Size %d: the driver was asked for %d (error %v), want %d", tt.option, tt.entity, tt.request, got, err, tt.want)
		}
	}
}

func TestUnknownEntity(t *testing.T) {
	_, err := read(connectors.New(inPages(nil), nil), connectors.ReadRequest{Entity: "nothing"})
	wantKind(t, "Pages of an unknown entity", err, kedge.NotFound)
}

// A driver that does not keep its contract gives an error of kind Internal.
// Each limit is met at the limit and one past it.
func TestBrokenPages(t *testing.T) {
	short := thing("a", 1)
	short.Values = short.Values[:1]
	others := thing("a", 1)
	others.Fields = kedge.NewFields("n", "id")
	gone := kedge.Record{Key: "a", Removed: kedge.Deleted}
	halfGone := short
	halfGone.Removed = kedge.Deleted
	bad := make([]connectors.BadRecord, 2)
	for _, tt := range []struct {
		name string
		page *connectors.Page
		ok   bool
	}{
		{"nothing", nil, false},
		{"empty", &connectors.Page{}, true},
		{"twice the size", &connectors.Page{Records: thingsOf("a", "b"), Rejected: bad}, true},
		{"more than twice the size", &connectors.Page{Records: thingsOf("a", "b", "c"), Rejected: bad}, false},
		{"no key", &connectors.Page{Records: thingsOf("a", "")}, false},
		{"a key twice", &connectors.Page{Records: thingsOf("a", "b", "a")}, false},
		{"too few values", &connectors.Page{Records: []kedge.Record{short}}, false},
		{"other fields", &connectors.Page{Records: []kedge.Record{others}}, false},
		{"no fields", &connectors.Page{Records: []kedge.Record{{Key: "a"}}}, false},
		{"a removed record without values", &connectors.Page{Records: []kedge.Record{gone}}, true},
		{"a removed record with some values", &connectors.Page{Records: []kedge.Record{halfGone}}, false},
		{"an anchor beside a token", &connectors.Page{Next: "2", Anchor: "x"}, false},
		{"a long token", &connectors.Page{Next: connectors.Token(strings.Repeat("x", 16<<10))}, true},
		{"a token that is too long", &connectors.Page{Next: connectors.Token(strings.Repeat("x", 16<<10+1))}, false},
	} {
		d := &driver{page: func(_ context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
			if req.Token != "" {
				return &connectors.Page{}, nil
			}
			return tt.page, nil
		}}
		_, err := read(connectors.New(d, nil), request())
		switch {
		case tt.ok && err != nil:
			t.Errorf("%s: got error %v, want none", tt.name, err)
		case !tt.ok:
			wantKind(t, tt.name, err, kedge.Internal)
		}
	}
}

// Tokens that repeat would make a read endless, however long the circle is.
func TestRepeatedToken(t *testing.T) {
	for _, circle := range []string{"aa", "aba", "abcdb", "abcdefga"} {
		d := &driver{page: func(_ context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
			i := strings.LastIndex(circle[:len(circle)-1], string(req.Token)) + 1
			if req.Token == "" {
				i = 0
			}
			return &connectors.Page{Next: connectors.Token(circle[i : i+1])}, nil
		}}
		_, err := read(connectors.New(d, nil), request())
		wantKind(t, "tokens "+circle, err, kedge.Internal)
		if calls := d.calls.Load(); calls != int64(len(circle)) {
			t.Errorf("tokens %s: %d calls, want %d", circle, calls, len(circle))
		}
	}
}

// Rows of an entity without key have none, and cannot repeat.
func TestEntityWithoutKey(t *testing.T) {
	e := things
	e.Key = nil
	d := inPages(thingsOf("", ""))
	d.entities = []kedge.Entity{e}
	if got, err := read(connectors.New(d, nil), request()); got != "|end" || err != nil {
		t.Errorf("got %q and error %v, want %q", got, err, "|end")
	}
}

func TestBrokenSchema(t *testing.T) {
	other := things
	other.Name = "others"
	lost := things
	lost.Key = []string{"code"}
	for name, entities := range map[string][]kedge.Entity{
		"unsorted": {things, other}, "twice": {things, things}, "a key that is no field": {lost},
	} {
		_, err := connectors.New(&driver{entities: entities}, nil).Schema(t.Context())
		wantKind(t, name, err, kedge.Internal)
	}
}

func TestSchemaIsCached(t *testing.T) {
	d := &driver{}
	conn := connectors.New(d, nil)
	done := make(chan error)
	for range 8 {
		go func() {
			_, err := conn.Schema(context.Background())
			done <- err
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := d.schemas.Load(); n != 1 {
		t.Errorf("8 callers of Schema made %d calls, want 1", n)
	}
	if _, err := conn.Refresh(t.Context()); err != nil || d.schemas.Load() != 2 {
		t.Errorf("Refresh: %d calls in all and error %v, want 2", d.schemas.Load(), err)
	}
}

func TestCloseOnce(t *testing.T) {
	d := &driver{}
	conn := connectors.New(d, nil)
	for range 2 {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := d.closes.Load(); n != 1 {
		t.Errorf("the driver was closed %d times, want once", n)
	}
}

// A driver without optional interfaces: Ack has nobody to tell, Probe cannot.
func TestOptional(t *testing.T) {
	conn := connectors.New(&driver{}, nil)
	if err := conn.Ack(t.Context(), "things", "x"); err != nil {
		t.Errorf("Ack: got error %v, want none", err)
	}
	_, err := conn.Probe(t.Context())
	wantKind(t, "Probe", err, kedge.Unsupported)
	results, err := conn.Write(t.Context(), make([]kedge.Change, 3))
	wantKind(t, "Write", err, kedge.Unsupported)
	if len(results) != 3 {
		t.Errorf("Write: %d results, want 3", len(results))
	}
	_, err = conn.ReadKeys(t.Context(), "things", nil, []kedge.Key{"a"})
	wantKind(t, "ReadKeys", err, kedge.Unsupported)
}

// BenchmarkPages shows what Conn costs over a bare loop: "bare" and "conn"
// make the same pages, of records as small as they come.
func BenchmarkPages(b *testing.B) {
	const size, pages = 1000, 20
	make1 := func(page int) []kedge.Record {
		records := make([]kedge.Record, size)
		values := make([]kedge.Value, 10*size)
		for i := range records {
			id := fmt.Sprintf("%08d-0000-4000-8000-%012d", page, (i*7919)%size)
			row := values[10*i : 10*i+10]
			row[0] = kedge.String(id)
			records[i] = kedge.Record{Fields: wide, Values: row, Key: kedge.Key(id)}
		}
		return records
	}
	d := inPages(slices.Collect(func(yield func([]kedge.Record) bool) {
		for i := range pages {
			if !yield(make1(i)) {
				return
			}
		}
	})...)
	cached := d.page
	e := things
	for i := range 8 {
		e.Fields = append(e.Fields, kedge.Field{Name: fmt.Sprint("f", i), Type: kedge.TypeInt})
	}
	d.entities = []kedge.Entity{e}
	decode := func(ctx context.Context, req connectors.ReadRequest) (*connectors.Page, error) {
		make1(1) // stands for the decoder, which no driver can do without
		return cached(ctx, req)
	}
	d.page = decode
	req := connectors.ReadRequest{Entity: "things", Fields: wide.Names(), Size: size}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			req := req
			for {
				p, err := d.ReadPage(b.Context(), req)
				if err != nil {
					b.Fatal(err)
				}
				if req.Token = p.Next; p.Next == "" {
					break
				}
			}
		}
	})
	b.Run("conn", func(b *testing.B) {
		conn := connectors.New(d, &connectors.Options{ReadAhead: -1})
		for b.Loop() {
			for _, err := range conn.Pages(b.Context(), req) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

var wide = kedge.NewFields("id", "n", "f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7")
