package conntest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
)

var lifeChecks = []check{
	{"life/Ack", lifeAck},
	{"life/Probe", lifeProbe},
	{"life/Cancel", lifeCancel},
	{"life/Concurrent8", lifeConcurrent8},
	{"life/NoLeak", lifeNoLeak},
	{"life/ErrorKinds", lifeErrorKinds},
	{"life/RetryAfter", lifeRetryAfter},
	{"life/NoSecretInErrors", lifeNoSecretInErrors},
	{"life/NoValueInErrors", lifeNoValueInErrors},
	{"life/Close", lifeClose},
}

// lifeAck acknowledges anchors, also twice and late. What was written after
// an acknowledged anchor still comes, deletions included.
func lifeAck(ctx context.Context, e *env) error {
	acker, ok := e.driver().(connectors.Acker)
	if !ok {
		return cannot("the driver is no Acker")
	}
	ent, anchor, err := e.begin(ctx, widgets(1, 12)...)
	if err != nil {
		return err
	}
	var anchors []kedge.Anchor
	for round := range 3 {
		anchors = append(anchors, anchor)
		edit := widget("w0001", set("int", kedge.Int(int64(100+round))))
		gone := kedge.Key(widgetID(5 + round))
		if err := errors.Join(e.put(ctx, edit), e.delete(ctx, gone)); err != nil {
			return err
		}
		for _, a := range slices.Concat(anchors, anchors[len(anchors)-1:]) { // late and repeated ones too
			if err := acker.Ack(ctx, Widgets.Name, a); err != nil {
				return fmt.Errorf("call Ack: %w", err)
			}
		}
		h, err := e.changed(ctx, anchor)
		if err != nil {
			return fmt.Errorf("after Ack of the same anchor: %w", err)
		}
		if err := wantValues("after Ack", h, []kedge.Record{edit}, "int"); err != nil {
			return err
		}
		if ent.Deletes {
			if err := wantAtLeast("deleted after the anchor that was acknowledged", h.removed(), []kedge.Key{gone}); err != nil {
				return err
			}
		}
		anchor = h.anchor
	}
	return nil
}

func lifeProbe(ctx context.Context, e *env) error {
	prober, ok := e.driver().(connectors.Prober)
	if !ok {
		return cannot("the driver is no Prober")
	}
	first, err := prober.Probe(ctx)
	if err != nil {
		return err
	}
	second, err := e.another().(connectors.Prober).Probe(ctx)
	if err != nil {
		return err
	}
	if first.Epoch != second.Epoch || first.Organization != second.Organization || first.User != second.User {
		return errors.New("two drivers of one system probe different accounts or epochs")
	}
	return nil
}

// lifeCancel ends the context before a call and between pages.
func lifeCancel(ctx context.Context, e *env) error {
	token, err := e.firstToken(ctx)
	if err != nil {
		return err
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	req := request(10, "")
	for _, req.Token = range []connectors.Token{"", token} {
		page, err := e.driver().ReadPage(canceled, req)
		if !errors.Is(err, context.Canceled) {
			return fmt.Errorf("ReadPage with a canceled context: got page %v and error %w, want context.Canceled", page != nil, err)
		}
	}
	loop, stop := context.WithCancel(ctx)
	defer stop()
	var last error
	for _, err := range connectors.New(e.driver(), nil).Pages(loop, request(2, "")) {
		last = err
		stop()
	}
	if last == nil {
		return errors.New("a read that was canceled between pages ended without an error")
	}
	return nil
}

// lifeConcurrent8 lets 8 readers share a driver while records change.
func lifeConcurrent8(ctx context.Context, e *env) error {
	records := widgets(1, 60)
	if err := e.put(ctx, records...); err != nil {
		return err
	}
	d := e.driver()
	errs := make([]error, 8)
	var readers sync.WaitGroup
	for i := range errs {
		readers.Go(func() {
			h, err := read(ctx, d, request(10, ""), nil)
			if err == nil {
				err = wantAtLeast("one of 8 readers", h.keys(), keysOf(records))
			}
			if _, schemaErr := d.Schema(ctx); err == nil {
				err = schemaErr
			}
			errs[i] = err
		})
	}
	for i := range 20 {
		if err := e.put(ctx, widget(widgetID(1+i), set("int", kedge.Int(int64(1000+i))))); err != nil {
			errs = append(errs, err)
		}
	}
	readers.Wait()
	return errors.Join(errs...)
}

// leakPatience is how long goroutines of a closed driver may take to end.
// Nobody waits that long unless there is a leak.
var leakPatience = 10 * time.Second

// lifeNoLeak counts goroutines before and after a driver's life: reads to the
// end, one that is left in the middle, and one that is canceled.
func lifeNoLeak(ctx context.Context, e *env) error {
	if err := e.put(ctx, widgets(1, 60)...); err != nil {
		return err
	}
	if err := liveOnce(ctx, e.sys.Driver()); err != nil { // fills pools that belong to the system
		return err
	}
	before := runtime.NumGoroutine()
	const lives = 16 // more than can still be ending from the first one
	for range lives {
		if err := liveOnce(ctx, e.sys.Driver()); err != nil {
			return err
		}
	}
	if after := goroutines(before); after > before {
		return fmt.Errorf("%d goroutines after %d more drivers were opened, used and closed; want at most %d", after, lives, before)
	}
	return nil
}

func liveOnce(ctx context.Context, d connectors.Driver) (err error) {
	conn := connectors.New(d, nil)
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, err := range conn.Pages(ctx, request(10, "")) {
		if err != nil {
			return err
		}
	}
	for range conn.Pages(ctx, request(10, "")) {
		break
	}
	canceled, cancel := context.WithCancel(ctx)
	defer cancel()
	for range conn.Pages(canceled, request(10, "")) {
		cancel()
	}
	return nil
}

// goroutines returns the number of goroutines as soon as it is at most want,
// and at the latest when the patience ends.
func goroutines(want int) int {
	for begin := time.Now(); runtime.NumGoroutine() > want && time.Since(begin) < leakPatience; {
		runtime.Gosched()
	}
	return runtime.NumGoroutine()
}

// errorKinds is what HTTP answers must be classified as, and what other
// systems make of their like.
var errorKinds = []struct {
	fault Fault
	want  []kedge.Kind
}{
	{Fault{Status: 400}, []kedge.Kind{kedge.Invalid}},
	{Fault{Status: 401}, []kedge.Kind{kedge.Unauthorized}},
	{Fault{Status: 403}, []kedge.Kind{kedge.Forbidden}},
	{Fault{Status: 404}, []kedge.Kind{kedge.NotFound}},
	{Fault{Status: 408}, []kedge.Kind{kedge.Transient}},
	{Fault{Status: 409}, []kedge.Kind{kedge.Conflict}},
	{Fault{Status: 412}, []kedge.Kind{kedge.Conflict}},
	{Fault{Status: 413}, []kedge.Kind{kedge.TooLarge}},
	{Fault{Status: 422}, []kedge.Kind{kedge.Invalid}},
	{Fault{Status: 425}, []kedge.Kind{kedge.Transient}},
	{Fault{Status: 429}, []kedge.Kind{kedge.Throttled}},
	{Fault{Status: 500}, []kedge.Kind{kedge.Transient}},
	{Fault{Status: 502}, []kedge.Kind{kedge.Transient}},
	{Fault{Status: 503}, []kedge.Kind{kedge.Transient, kedge.Throttled}},
	{Fault{Status: 504}, []kedge.Kind{kedge.Transient}},
	{Fault{Cut: true}, []kedge.Kind{kedge.Transient}},
	{Fault{Garbage: true}, []kedge.Kind{kedge.Invalid, kedge.Transient}},
}

// eachFault gives test the error of a read for each fault that the system has.
func (e *env) eachFault(ctx context.Context, text string, test func(f Fault, want []kedge.Kind, err error) error) error {
	failer, ok := e.sys.(Failer)
	if !ok {
		return cannot("the system cannot be made to fail")
	}
	if err := e.put(ctx, widgets(1, 5)...); err != nil {
		return err
	}
	if _, err := e.driver().Schema(ctx); err != nil {
		return err
	}
	ran := false
	for _, k := range errorKinds {
		f := k.fault
		f.Text = text
		stop, ok := failer.Fail(f)
		if !ok {
			continue
		}
		ran = true
		_, err := e.driver().ReadPage(ctx, request(10, ""))
		stop()
		if err := test(k.fault, k.want, err); err != nil {
			return err
		}
	}
	if !ran {
		return cannot("the system has none of the faults")
	}
	return nil
}

func lifeErrorKinds(ctx context.Context, e *env) error {
	return e.eachFault(ctx, "", func(f Fault, want []kedge.Kind, err error) error {
		if err == nil {
			return fmt.Errorf("fault %+v: got no error, want kind %v", f, want[0])
		}
		if got := kedge.KindOf(err); !slices.Contains(want, got) {
			return fmt.Errorf("fault %+v: got kind %v (%w), want %v", f, got, err, want[0])
		}
		return nil
	})
}

// lifeRetryAfter: the delay that a system asks for reaches the caller.
func lifeRetryAfter(ctx context.Context, e *env) error {
	failer, ok := e.sys.(Failer)
	if !ok {
		return cannot("the system cannot be made to fail")
	}
	ran := false
	for _, status := range []int{429, 503} {
		stop, ok := failer.Fail(Fault{Status: status, RetryAfter: 7 * time.Second})
		if !ok {
			continue
		}
		ran = true
		_, err := e.driver().ReadPage(ctx, request(10, ""))
		stop()
		if err := wantKind(fmt.Sprintf("status %d with Retry-After", status), err, kedge.Throttled); err != nil {
			return err
		}
		if ke, _ := errors.AsType[*kedge.Error](err); ke.RetryAfter != 7*time.Second {
			return fmt.Errorf("status %d with Retry-After 7 s: the error says %v", status, ke.RetryAfter)
		}
	}
	if !ran {
		return cannot("the system never asks for a delay")
	}
	return nil
}

// lifeClose closes a driver twice and uses it afterwards.
func lifeClose(ctx context.Context, e *env) error {
	d := e.driver()
	closer, ok := d.(io.Closer)
	if !ok {
		return cannot("the driver holds nothing to close")
	}
	if err := e.put(ctx, widgets(1, 3)...); err != nil {
		return err
	}
	if _, err := e.readAll(ctx, ""); err != nil {
		return err
	}
	for i := range 2 {
		if err := closer.Close(); err != nil {
			return fmt.Errorf("call Close, time %d: %w", i+1, err)
		}
	}
	d.ReadPage(ctx, request(10, "")) // may work or fail, but returns
	h, err := read(ctx, e.another(), request(10, ""), nil)
	if err != nil {
		return fmt.Errorf("a new driver after another was closed: %w", err)
	}
	return wantKeys("a new driver after another was closed", h.keys(), keysOf(widgets(1, 3)))
}
