package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
)

// These tests show the sentences of the reference document on push APIs that
// state a behaviour; the name of each says which.

// "there has to be the ability to List Projects. This is usually implemented
// via a GET call …, this should return a list of Project Objects."
func TestReferenceListProjectsByGET(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		if got := strings.Join(w.records(token, "/resources/projects"), " "); got != "projects/proj1 projects/proj2 projects/proj3 projects/proj4" {
			t.Errorf("projects: %s", got)
		}
	})
}

// "whenever a Task is created under proj1, we want a Push event", created with
// webhook URL, user access token, resource and selected events; "In response
// the rest api will return a unique subscription id."
func TestReferenceCreateWithURLTokenResourceEvents(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		ids := map[any]bool{}
		for range 3 {
			out := w.call("", "POST", "/subscriptions", w.doc(`{"url":"URL","accessToken":"`+token+`","resource":"projects/proj1","events":["tasks.create"]}`)).must(201)
			ids[out["id"]] = true
		}
		if len(ids) != 3 {
			t.Errorf("ids %v are not unique", ids)
		}
		w.publish(task(kedge.OpCreate, "t-9", "proj1"))
		for range 3 {
			if p := w.hook.next(); p.Type != "tasks.create" {
				t.Errorf("got %s", p.Type)
			}
		}
	})
}

// "The subscription creation will then add an entry in database and will start
// sending data out to the subscribed webhook url when any of the selected event
// occurs." "Typical events include: create, delete and update."
func TestReferenceAnySelectedEventIsSent(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create","delete","update"]}`)
		if w.count("push_subscription") != 1 {
			t.Error("there is no entry in the database")
		}
		w.publish(task(kedge.OpCreate, "t-1", "proj1"), task(kedge.OpUpdate, "t-1", "proj1"), task(kedge.OpDelete, "t-1", "proj1"))
		for _, want := range []string{"create", "update", "delete"} {
			if p := w.hook.next(); p.Data.Operation != want {
				t.Errorf("got %s, want %s", p.Data.Operation, want)
			}
		}
	})
}

// "URL: The URL to which you are pushing to. This is coupled with a HTTP verb
// like POST or GET." "you can push the json payload to the Integry URL via POST."
func TestReferenceURLWithVerb(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		for _, verb := range []string{"", "POST", "PUT", "PATCH", "GET"} {
			id, secret := w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create"],"method":"`+verb+`"}`)
			w.publish(task(kedge.OpCreate, "t-1", "proj1"))
			p := w.hook.next()
			verify(t, secret, p)
			want := verb
			if verb == "" {
				want = "POST"
			}
			if p.Method != want || !strings.HasPrefix(p.URL, "/k/8f3a") || (len(p.Body) == 0) != (want == "GET") {
				t.Errorf("%q: %s %s with %d bytes", verb, p.Method, p.URL, len(p.Body))
			}
			if want == "GET" && (!strings.Contains(p.URL, "kedge_type=tasks.create") || strings.Contains(p.URL, "proj1")) {
				t.Errorf("GET %s", p.URL)
			}
			w.call(token, "DELETE", "/subscriptions/"+id, "").must(200)
		}
	})
}

// "Authentication: Authentication information (headers, unlisted URL or key in
// query parameters)"
func TestReferenceAuthentication(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		for _, tt := range []struct{ auth, header, value, url string }{
			{`{"type":"none"}`, "Authorization", "", "/k/8f3a"},
			{`{"type":"bearer","token":"abc"}`, "Authorization", "Bearer abc", "/k/8f3a"},
			{`{"type":"basic","username":"u","password":"p"}`, "Authorization", "Basic dTpw", "/k/8f3a"},
			{`{"type":"header","headers":{"X-Api-Key":"k 1"}}`, "X-Api-Key", "k 1", "/k/8f3a"},
			{`{"type":"query","name":"key","value":"a&b=c"}`, "Authorization", "", "/k/8f3a?key=a%26b%3Dc"},
		} {
			id, _ := w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create"],"auth":`+tt.auth+`}`)
			w.publish(task(kedge.OpCreate, "t-1", "proj1"))
			if p := w.hook.next(); p.Header.Get(tt.header) != tt.value || p.URL != tt.url {
				t.Errorf("%s: %s, %s %q", tt.auth, p.URL, tt.header, p.Header.Get(tt.header))
			}
			w.call(token, "DELETE", "/subscriptions/"+id, "").must(200)
		}
	})
}

// "Payload: This is a json object you're sending of the event. This can include
// the event object itself, a user ID or account ID to which this event belongs
// to". "make sure the content type is "application/json"". "verify that the json
// being sent is correct".
func TestReferencePayloadIsValidJSONWithEventUserAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create"]}`)
		for i, odd := range []string{"plain", "\xff\xfe", `"\`, "\u2028\x00\x01", "line\nbreak", strings.Repeat("ü", 5000)} {
			w.publish(task(kedge.OpCreate, fmt.Sprint("t-", i), "proj1", "subject", odd))
			p := w.hook.next()
			var body map[string]any
			if err := json.Unmarshal(p.Body, &body); err != nil {
				t.Errorf("%q: %v", odd, err)
			}
			if p.Header.Get("Content-Type") != "application/json" || body["user"] != "u7" || body["account"] != "acme" || body["data"].(map[string]any)["operation"] != "create" {
				t.Errorf("%s: %s", p.Header.Get("Content-Type"), p.Body)
			}
		}
	})
}

// "Update subscription endpoint can be helpful to update subscription's selected
// events" by "Subscription id" and "Selected events".
func TestReferenceUpdateSelectedEventsByID(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, _ := w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create"]}`)
		w.call(token, "PATCH", "/subscriptions/"+id, `{"events":["delete"]}`).says(200, `"events":["delete"]`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1"), task(kedge.OpDelete, "t-1", "proj1"))
		if p := w.hook.next(); p.Data.Operation != "delete" {
			t.Errorf("got %s", p.Body)
		}
	})
}

// "A subscription id will be passed to this endpoint and the endpoint will
// delete the subscription and will return either success or failure. This is
// usually using the DELETE verb"
func TestReferenceDeleteByIDSucceedsOrFails(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, _ := w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create"]}`)
		w.call(token, "DELETE", "/subscriptions/"+id, "").says(200, `"deleted":true`)
		w.call(token, "DELETE", "/subscriptions/"+id, "").says(404, "there is no such subscription")
		w.publish(task(kedge.OpCreate, "t-1", "proj1"))
		w.hook.none()
	})
}
