package subscriptions_test

import (
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/subscriptions"
	"github.com/kedge-sync/kedge/subscriptions/spec"
)

// When a token expires its subscriptions are disabled, those of others go on.
func TestTokenExpires(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, nil)
		ids := map[string]string{}
		for name, until := range map[string]*time.Time{"short": new(w.clock.Now().Add(time.Hour)), "long": nil} {
			_, value, err := w.s.IssueToken(t.Context(), subscriptions.TokenRequest{Account: "acme", Grants: []spec.Grant{{Entity: "tasks", Manage: true}}, ExpiresAt: until})
			if err != nil {
				t.Fatal(detail(err))
			}
			by, err := w.s.Authenticate(t.Context(), value)
			if err != nil {
				t.Fatal(detail(err))
			}
			d, err := spec.Parse([]byte(`{"url":"` + x.URL + `","resource":"tasks","events":["create"]}`))
			if err != nil {
				t.Fatal(detail(err))
			}
			sub, _, err := w.s.Create(t.Context(), by, d)
			if err != nil {
				t.Fatal(detail(err))
			}
			ids[name] = sub.ID
		}
		w.clock.Advance(time.Hour)
		if err := w.s.KeepHouse(t.Context()); err != nil {
			t.Fatal(detail(err))
		}
		w.state(ids["short"], "disabled", "token")
		w.state(ids["long"], "active", "")
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "new"))
		if p := x.next(); p.Subscription != ids["long"] {
			t.Errorf("a push of %s", p.Subscription)
		}
		x.none()
	})
}

// A change that does not speak of the state leaves a disabled subscription
// disabled; one that says active ends that.
func TestPatchOfADisabledOne(t *testing.T) {
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.run(w.s)
		x := newReceiver(t, (&status{code: 410}).answer)
		sub, _ := w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"]}`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "new"))
		x.next()
		w.state(sub.ID, "disabled", "gone")
		w.patch(sub.ID, `{"description":"changed"}`)
		w.state(sub.ID, "disabled", "gone")
		w.patch(sub.ID, `{"state":"paused"}`)
		w.state(sub.ID, "paused", "")
		w.patch(sub.ID, `{"description":"again"}`)
		w.state(sub.ID, "paused", "")
		w.patch(sub.ID, `{"state":"active"}`)
		w.state(sub.ID, "active", "")
	})
}
