package api_test

import (
	"testing"

	"github.com/kedge-sync/kedge"
)

// Acceptance 2: a subscription to the tasks created below proj1 gets those of
// proj1 and not those of proj2, whichever way the token came.
func TestCreate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		const doc = `{"url":"URL","resource":"projects/proj1","events":["tasks.create"]`
		id, secret := w.subscribe(token, doc+`}`)
		out := w.call("", "POST", "/subscriptions", w.doc(doc)+`,"accessToken":"`+token+`"}`).must(201)
		if out["id"] == id {
			t.Error("two subscriptions have one id")
		}
		w.publish(task(kedge.OpCreate, "t-8", "proj2"), task(kedge.OpCreate, "t-9", "proj1", "status", "new"), task(kedge.OpDelete, "t-9", "proj1"))
		for range 2 {
			p := w.hook.next()
			if p.Subscription == id {
				verify(t, secret, p)
			} else {
				verify(t, out["secret"].(string), p)
			}
			if p.Type != "tasks.create" || p.Account != "acme" || p.User != "u7" || p.Data.Resource != "tasks/t-9" || p.Data.Parent != "projects/proj1" {
				t.Errorf("got %s", p.Body)
			}
		}
		w.hook.none()
	})
}
