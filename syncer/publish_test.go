package syncer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/uptrace/bun"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/syncer"
)

// A listener keeps what it is told.
type listener struct {
	interest kedge.Interest
	asked    int
	got      []string
	fail     error
}

func (l *listener) Interest(context.Context, bun.IDB, string) (kedge.Interest, error) {
	l.asked++
	return l.interest, nil
}

func (l *listener) Publish(_ context.Context, _ bun.IDB, events ...kedge.Event) error {
	for _, e := range events {
		text := fmt.Sprintf("%s %s %s %s", e.Op, e.Entity, e.Origin, strings.Join(e.KeyNames, ","))
		for _, r := range []*kedge.Record{e.Before, e.After} {
			if r == nil {
				text += " nil"
				continue
			}
			text += " " + r.Get("name").Text() + "/" + r.Get("balance").Text()
		}
		l.got = append(l.got, text+" "+strings.Join(e.Changed, ","))
	}
	slices.Sort(l.got)
	return l.fail
}

func (l *listener) told() []string {
	got := l.got
	l.got = nil
	return got
}

// Each page tells what it did to local records, with the values before and
// after, in its transaction.
func TestPublish(t *testing.T) {
	eachMapping(t, func(t *testing.T, w *world) {
		l := &listener{interest: kedge.Interest{Any: true, After: []string{"name", "balance"}, Before: []string{"name", "no longer there"}}}
		w.opts.Publisher = l
		w.syncer = syncer.New(w.opts)
		m, err := w.syncer.Mapping(w.t.Context(), "crm")
		w.check(err)
		key := "no"
		if strings.Contains(m.YAML, "erp_no") {
			key = "id"
		}
		want := func(what string, texts ...string) {
			t.Helper()
			for i := range texts {
				texts[i] = strings.Replace(texts[i], "KEY", key, 1)
			}
			if diff := cmp.Diff(texts, l.told()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		w.put("C1 Ann 1.50", "C2 Bob 2.00")
		w.sync("all 2 new 2 updated 0 failed 0")
		want("new records", "create customer crm KEY nil Ann/1.50 ", "create customer crm KEY nil Bob/2.00 ")

		w.put("C2 Bo 2.00")
		w.sync("all 1 new 0 updated 1 failed 0")
		want("an edit", "update customer crm KEY Bob/2.00 Bo/2.00 name")

		w.delete("C1")
		w.sync("all 1 new 0 updated 1 failed 0")
		want("a delete", "delete customer crm KEY nil Ann/1.50 ")

		w.sync("all 0 new 0 updated 0 failed 0")
		want("nothing", []string(nil)...)

		// Events that cannot be stored keep the rows from being stored.
		l.fail = errors.New("no room")
		w.put("C3 Cid 3")
		if res, err := w.syncer.Run(t.Context(), syncer.Request{Integration: "crm"}); err == nil && res.State == syncer.Succeeded {
			t.Error("a run succeeded although its events were not stored")
		}
		w.table("C2 Bo 2.00")
		l.fail = nil
		l.told()
		w.sync("all 1 new 1 updated 0 failed 0")
		want("after the failure", "create customer crm KEY nil Cid/3 ")
	})
}

// While nobody listens, a page asks once and reads nothing more.
func TestPublishToNobody(t *testing.T) {
	each(t, sharedKey, func(t *testing.T, w *world) {
		l := &listener{}
		w.opts.Publisher = l
		w.syncer = syncer.New(w.opts)
		w.put("C1 Ann 1.50", "C2 Bob 2.00")
		w.sync("all 2 new 2 updated 0 failed 0")
		if l.asked != 1 || l.got != nil {
			t.Errorf("asked %d times, told %v; want once and nothing", l.asked, l.got)
		}
	})
}
