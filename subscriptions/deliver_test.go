package subscriptions_test

import (
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

// The thinnest path: a subscription to the tasks of one project gets those and
// no others, signed, with account, user and event object.
func TestPush(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		sub, secret := w.subscribe(x.URL+"/k/8f3a", `{"url":"%s","resource":"projects/proj1","events":["tasks.create"]}`)
		w.publish(
			event(kedge.OpCreate, "tasks", "t-2", "id", "t-2", "project", "proj2", "status", "new"),
			event(kedge.OpCreate, "tasks", "t-1", "id", "t-1", "project", "proj1", "status", "new", "secret_note", "x"),
			event(kedge.OpDelete, "tasks", "t-1", "id", "t-1", "project", "proj1"),
		)
		p := x.next()
		verify(t, secret, p)
		if p.Method != "POST" || p.Header.Get("Content-Type") != "application/json" || p.URL != "/k/8f3a" {
			t.Errorf("%s %s %s", p.Method, p.URL, p.Header.Get("Content-Type"))
		}
		if p.Type != "tasks.create" || p.Account != "acme" || p.User != "u7" || p.Subscription != sub.ID || p.Data.Resource != "tasks/t-1" ||
			p.Data.Parent != "projects/proj1" || p.Data.Key["id"] != "t-1" || p.Data.Record["status"] != "new" || p.Data.Operation != "create" || p.ID != p.Header.Get("webhook-id") {
			t.Errorf("got %s", p.Body)
		}
		if _, ok := p.Data.Record["secret_note"]; ok {
			t.Error("a field that is not offered was sent")
		}
		x.none()
	})
}
