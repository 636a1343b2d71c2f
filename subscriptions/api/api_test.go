package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

const tasksOfOne = `{"url":"URL","resource":"projects/proj1","events":["tasks.create"]}`

// Acceptance 3: after PATCH only deletes arrive; after DELETE nothing does.
func TestPatchAndDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, _ := w.subscribe(token, tasksOfOne)
		path := "/subscriptions/" + id
		w.publish(task(kedge.OpCreate, "t-1", "proj1"))
		w.hook.next()
		tag := w.call(token, "GET", path, "").header.Get("ETag")
		if tag == "" {
			t.Error("no ETag")
		}
		w.call(token, "PATCH", path, `{"events":["tasks.delete"]}`, "If-Match", `"other"`).says(412, "changed since you read it")
		out := w.call(token, "PATCH", path, `{"events":["tasks.delete"]}`, "If-Match", tag, "Content-Type", "application/merge-patch+json")
		out.says(200, `"events":["tasks.delete"]`)
		if out.header.Get("ETag") == tag {
			t.Error("the ETag is the same after a change")
		}
		w.publish(task(kedge.OpCreate, "t-2", "proj1"), task(kedge.OpUpdate, "t-2", "proj1"), task(kedge.OpDelete, "t-1", "proj1"))
		if p := w.hook.next(); p.Type != "tasks.delete" || p.Data.Resource != "tasks/t-1" {
			t.Errorf("got %s", p.Body)
		}
		w.call(token, "DELETE", path, "").says(200, `"deleted":true`, id)
		w.publish(task(kedge.OpDelete, "t-2", "proj1"))
		w.call(token, "DELETE", path, "").says(404)
		w.call(token, "GET", path, "").says(404)
		w.hook.none()
	})
}

// Statuses and texts of everything that is wrong with a document: they name
// the place and the fix.
func TestWrongDocuments(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		base := func(change string) string {
			return w.doc(`{"url":"URL","resource":"projects/proj1","events":["tasks.create"]` + change + `}`)
		}
		for _, tt := range []struct {
			body   string
			status int
			texts  []string
		}{
			{`{`, 400, nil},
			{`[]`, 400, nil},
			{base(`,"evnts":[]`), 400, []string{`"pointer":"/evnts"`}},
			{base(`,"url":"https://a.example/"`), 400, []string{`"pointer":"/url"`}},
			{base(`,"collapse":"yes"`), 400, []string{`"pointer":"/collapse"`}},
			{w.doc(`{"url":"URL","resource":"projects/proj1","events":["tasks.created"]}`), 422, []string{`"pointer":"/events/0"`, `tasks has no event \"created\"; use create, update, delete`}},
			{w.doc(`{"url":"URL","resource":"projects/proj1","events":["lines.create"]}`), 422, []string{`lines is neither projects nor a child of it`}},
			{w.doc(`{"url":"URL","resource":"projects","events":["tasks.create"]}`), 422, []string{`only below one record: projects/…`}},
			{w.doc(`{"url":"URL","resource":"nothing/1","events":["create"]}`), 422, []string{`"pointer":"/resource"`, `nothing/1: not found or not granted`}},
			{w.doc(`{"url":"URL","resource":"projects/proj1","events":[]}`), 422, []string{`select at least one event`}},
			{`{"resource":"projects","events":["create"]}`, 422, []string{`"pointer":"/url"`, "is required"}},
			{`{"url":"ftp://a.example/","resource":"projects","events":["create"]}`, 422, []string{"write an absolute URL"}},
			{`{"url":"https://u:p@a.example/","resource":"projects","events":["create"]}`, 422, []string{"must not hold a user name; use auth"}},
			{`{"url":"https://a.example/#x","resource":"projects","events":["create"]}`, 422, []string{"must not have a fragment"}},
			{`{"url":"https://a.example/` + strings.Repeat("a", 2048) + `","resource":"projects","events":["create"]}`, 422, []string{"longer than 2048 bytes"}},
			{base(`,"auth":{"type":"header","headers":{"Host":"x"}}`), 422, []string{`"pointer":"/auth/headers/Host"`}},
			{base(`,"auth":{"type":"header","headers":{"X-A":"a\r\nB: c"}}`), 422, []string{"is not a valid header"}},
			{base(`,"select":{"tasks":{"fields":["secret_note"]}}`), 422, []string{`"pointer":"/select/tasks/fields/0"`, "is not a field that is granted"}},
			{base(`,"select":{"tasks":{"filter":"secret_note eq 'x'"}}`), 422, []string{`"pointer":"/select/tasks/filter"`}},
			{base(`,"expiresAt":"2020-01-01T00:00:00Z"`), 422, []string{"is in the past"}},
			{base(`,"signing":{"secret":"whsec_short"}`), 422, []string{`"pointer":"/signing/secret"`}},
			{base(`,"concurrency":65`), 422, []string{"above the limit of 64"}},
			{base(`,"description":"` + strings.Repeat("x", 64<<10) + `"`), 413, nil},
		} {
			w.call(token, "POST", "/subscriptions", tt.body).says(tt.status, tt.texts...)
			w.clock.Advance(50 * time.Millisecond) // 20 requests per second
		}
		w.clock.Advance(time.Second)
		w.call(token, "POST", "/subscriptions", base(""), "Content-Type", "text/plain").says(415)
		w.call(token, "POST", "/subscriptions?x=1", base("")).says(400)
		w.call(token, "PUT", "/subscriptions", base("")).says(405)
		if got := w.call(token, "GET", "/subscriptions", "").must(200)["value"].([]any); len(got) != 0 {
			t.Errorf("a refused document left %v", got)
		}
		id, _ := w.subscribe(token, tasksOfOne)
		path := "/subscriptions/" + id
		w.call(token, "PATCH", path, `{"resource":"projects/proj2"}`).says(422, `"pointer":"/resource"`, "is fixed")
		w.clock.Advance(time.Second)
		masked := w.call(token, "GET", path, "").must(200)["url"].(string)
		w.call(token, "PATCH", path, `{"url":"`+masked+`"}`).says(422, `"pointer":"/url"`, "masked form")
		w.call(token, "PATCH", path, `{"signing":{"secret":"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}}`).says(422, "rotate-secret")
		w.call(token, "PATCH", path, `{"nothing":1}`).says(400, `"pointer":"/nothing"`)
		w.call(token, "PATCH", path, `{`).says(400)
		w.call(token, "POST", path+"/rotate-secret", `{"overlap":"8d"}`).says(422, "0 to 7 days")
		w.call(token, "POST", path+"/rotate-secret", `{"overlap":"soon"}`).says(422, `"pointer":"/overlap"`)
		w.call(token, "POST", path+"/rotate-secret", `{"secret":"x"}`).says(422)
		for _, q := range []string{"/attempts?from=x", "/attempts?pageToken=x", "/deliveries?state=lost", "/gaps?pageToken=-1", "/attempts?clas=ok"} {
			w.call(token, "GET", path+q, "").says(400)
		}
	})
}

// An account has as many subscriptions as its limit allows, and not one more.
func TestLimitOfAnAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "", everything)
		other, _ := w.token("globex", "", everything)
		last := ""
		for range 10 {
			last, _ = w.subscribe(token, tasksOfOne)
		}
		w.call(token, "POST", "/subscriptions", w.doc(tasksOfOne)).says(409, "the account has 10 subscriptions, the limit; delete one first")
		w.subscribe(other, tasksOfOne)
		w.call(token, "DELETE", "/subscriptions/"+last, "").must(200)
		w.subscribe(token, tasksOfOne)
	})
}

// Acceptance 12, first half: another account gets 404 on each route of a
// subscription, and so does a token whose grants do not cover it.
func TestOtherAccountsSeeNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		foreign, _ := w.token("globex", "u7", everything)
		narrow, _ := w.token("acme", "u7", `[{"entity":"lines","manage":true}]`)
		reader, _ := w.token("acme", "u7", strings.ReplaceAll(everything, "true", "false"))
		id, _ := w.subscribe(token, tasksOfOne)
		w.publish(task(kedge.OpCreate, "t-1", "proj1"))
		msg := w.hook.next().ID
		routes := []struct{ method, path, body string }{
			{"GET", "", ""}, {"PATCH", "", `{"state":"paused"}`}, {"DELETE", "", ""}, {"POST", "/rotate-secret", ""}, {"POST", "/test", ""}, {"POST", "/verify", ""},
			{"GET", "/attempts", ""}, {"GET", "/deliveries", ""}, {"GET", "/deliveries?state=dead", ""}, {"GET", "/events/" + msg, ""}, {"GET", "/gaps", ""},
			{"POST", "/replay", `{"state":"dead"}`}, {"GET", "/replays/rpl_1", ""}, {"DELETE", "/replays/rpl_1", ""},
		}
		for _, r := range routes {
			w.call(foreign, r.method, "/subscriptions/"+id+r.path, r.body).says(404)
			w.call(narrow, r.method, "/subscriptions/"+id+r.path, r.body).says(404)
			w.call(reader, r.method, "/subscriptions/"+id+r.path, r.body).says(403, "may list resources only")
			w.call("", r.method, "/subscriptions/"+id+r.path, r.body).says(401)
			w.call(token, r.method, "/subscriptions/sub_0"+r.path, r.body).says(404)
			w.clock.Advance(time.Second) // 20 requests per second
		}
		for _, other := range []string{foreign, narrow} {
			if got := w.call(other, "GET", "/subscriptions", "").must(200)["value"].([]any); len(got) != 0 {
				t.Errorf("a list shows %v", got)
			}
		}
		w.call(token, "GET", "/subscriptions/"+id+"/events/"+msg, "").says(200, `"tasks/t-1"`)
		w.call("-", "GET", "/api/v1/subscriptions/"+id+"/events/"+msg, "").says(200, `"tasks/t-1"`)
		w.hook.none()
	})
}

// A token is one that works or the same 401; where it may stand is one place.
func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, id := w.token("acme", "u7", everything)
		until := w.clock.Now().Add(time.Hour).Format(time.RFC3339)
		short := w.call("-", "POST", "/api/v1/push-tokens", `{"account":"acme","grants":`+everything+`,"expiresAt":"`+until+`"}`).must(201)["token"].(string)
		revoked, revokedID := w.token("acme", "", everything)
		w.call("-", "DELETE", "/api/v1/push-tokens/"+revokedID, "").must(200)
		w.call("-", "DELETE", "/api/v1/push-tokens/"+revokedID, "").says(404)
		w.call(short, "GET", "/subscriptions", "").must(200)
		w.clock.Advance(time.Hour)
		var first string
		for _, bad := range []string{"", "x", "kps_" + strings.Repeat("a", 43), token + "a", short, revoked} {
			out := w.call(bad, "GET", "/subscriptions", "")
			out.says(401, "the access token is missing, unknown, expired or revoked")
			if !strings.HasPrefix(out.header.Get("WWW-Authenticate"), "Bearer") {
				t.Error("no WWW-Authenticate")
			}
			text := string(out.body[:slices.Index(out.body, 'i')])
			if first == "" {
				first = text
			}
			if text != first {
				t.Errorf("%q gets another answer: %s", bad, out.body)
			}
		}
		for _, name := range []string{"token", "accessToken", "access_token"} {
			w.call(token, "GET", "/subscriptions?"+name+"="+token, "").says(400, "put the token in the Authorization header")
		}
		w.call(token, "POST", "/subscriptions", strings.Replace(w.doc(tasksOfOne), "{", `{"accessToken":"`+short+`",`, 1)).says(400, "different tokens", `"pointer":"/accessToken"`)
		w.call(token, "POST", "/subscriptions", strings.Replace(w.doc(tasksOfOne), "{", `{"accessToken":"`+token+`",`, 1)).must(201)
		w.call("", "POST", "/subscriptions", strings.Replace(w.doc(tasksOfOne), "{", `{"accessToken":7,`, 1)).says(400, `"pointer":"/accessToken"`)
		w.call("", "POST", "/subscriptions", w.doc(tasksOfOne)).says(401)

		// Rotation: the same id, both values until the overlap ends.
		out := w.call("-", "POST", "/api/v1/push-tokens/"+id+"/rotate", `{"overlap":"1h"}`).must(200)
		fresh := out["token"].(string)
		if out["id"] != id || fresh == token {
			t.Errorf("rotated to %v", out)
		}
		w.call(token, "GET", "/subscriptions", "").must(200)
		w.call(fresh, "GET", "/subscriptions", "").must(200)
		w.clock.Advance(time.Hour)
		w.call(token, "GET", "/subscriptions", "").says(401)
		w.call(fresh, "GET", "/subscriptions", "").must(200)
		w.call("-", "GET", "/api/v1/push-tokens?account=acme&limit=2", "").says(200, `"next"`, `"lastUsedAt"`)
		for _, tt := range []struct{ body, text string }{
			{`{"grants":[]}`, `"pointer":"/account"`}, {`{"account":"a","grants":[{"entity":"nothing"}]}`, `"pointer":"/grants/0/entity"`},
			{`{"account":"a","grants":[{"entity":"tasks","operations":["made"]}]}`, "made is not offered"}, {`{"account":"a","grants":[{"entity":"tasks","fields":["secret_note"]}]}`, "secret_note is not offered"},
			{`{"account":"a","grants":[{"entity":"tasks","under":"lines/x"}]}`, "/grants/0/under"}, {`{"account":"a","expiresAt":"2020-01-01T00:00:00Z"}`, "is in the past"},
			{`{"account":"` + strings.Repeat("a", 201) + `"}`, "more than 200 bytes"},
		} {
			w.call("-", "POST", "/api/v1/push-tokens", tt.body).says(422, tt.text)
		}
	})
}

// 20 requests per second are allowed for a token; the 21st has to wait.
func TestRateOfAToken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		other, _ := w.token("acme", "u7", everything)
		for range 20 {
			w.call(token, "GET", "/resources", "").must(200)
		}
		out := w.call(token, "GET", "/resources", "")
		out.says(429, "20 requests per second")
		if out.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q", out.header.Get("Retry-After"))
		}
		w.call(other, "GET", "/resources", "").must(200)
		w.clock.Advance(50 * time.Millisecond)
		w.call(token, "GET", "/resources", "").must(200)
		w.call(token, "GET", "/resources", "").says(429)
	})
}

// Acceptance 12, second half: with its token revoked or expired a subscription
// sends no more, until another token of the account adopts it.
func TestRevokedTokenAndAdoption(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, tokenID := w.token("acme", "u7", everything)
		heir, _ := w.token("acme", "u8", everything)
		narrow, _ := w.token("acme", "u9", `[{"entity":"tasks","under":"projects/proj1","fields":["id"],"manage":true}]`)
		foreign, _ := w.token("globex", "", everything)
		id, _ := w.subscribe(token, tasksOfOne)
		w.call("-", "DELETE", "/api/v1/push-tokens/"+tokenID, "").says(200, `"revoked":true`)
		w.publish(task(kedge.OpCreate, "t-1", "proj1"))
		w.call(heir, "GET", "/subscriptions/"+id, "").says(200, `"state":"disabled"`, `"reason":"token"`)
		w.call(foreign, "PATCH", "/subscriptions/"+id, `{"state":"active"}`).says(404)
		w.call(heir, "PATCH", "/subscriptions/"+id, `{"state":"active"}`).says(200, `"state":"active"`, `"user":"u8"`)
		w.publish(task(kedge.OpCreate, "t-2", "proj1", "subject", "Draw"))
		p := w.hook.next()
		if p.Data.Resource != "tasks/t-2" || p.User != "u8" || p.Data.Record["subject"] != "Draw" || p.Gap["reason"] != "disabled" {
			t.Errorf("after adoption: %s", p.Body)
		}
		// One that may see less takes over with what it may see.
		w.call(narrow, "PATCH", "/subscriptions/"+id, `{"description":"mine"}`).says(200, `"user":"u9"`)
		w.publish(task(kedge.OpCreate, "t-3", "proj1", "subject", "Draw"))
		if p := w.hook.next(); p.Data.Record["subject"] != nil || p.Data.Record["id"] != "t-3" {
			t.Errorf("a field that is not granted was sent: %s", p.Body)
		}
		w.hook.none()
	})
}

// A repeated request has one effect, and the same answer for 24 hours.
func TestIdempotencyKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		other, _ := w.token("acme", "u7", everything)
		create := func(token, key, body string) answer {
			return w.call(token, "POST", "/subscriptions", w.doc(body), "Idempotency-Key", key)
		}
		first := create(token, "k1", tasksOfOne)
		first.must(201)
		again := create(token, "k1", tasksOfOne)
		again.must(201)
		if string(first.body) != string(again.body) || first.header.Get("ETag") != again.header.Get("ETag") || first.header.Get("Location") != again.header.Get("Location") {
			t.Errorf("got %s, then %s", first.body, again.body)
		}
		create(token, "k1", strings.Replace(tasksOfOne, "create", "update", 1)).says(422, "Idempotency-Key was used for another body")
		if got := create(other, "k1", tasksOfOne); string(got.must(201)["id"].(string)) == first.must(201)["id"] {
			t.Error("another token got the secret of this one")
		}
		create(token, strings.Repeat("k", 255), tasksOfOne).must(201)
		create(token, strings.Repeat("k", 256), tasksOfOne).says(400)
		w.clock.Advance(24 * time.Hour)
		if create(token, "k1", tasksOfOne).must(201)["id"] == first.must(201)["id"] {
			t.Error("the key is known after 24 hours")
		}
	})
}

// Acceptance 10, by HTTP: a dead letter shows, the next push carries the gap,
// and each kind of replay brings it with the same id.
func TestDeadLetterAndReplays(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, secret := w.subscribe(token, `{"url":"URL","resource":"tasks","events":["create"]}`)
		path := "/subscriptions/" + id
		dead := func() (msg string) {
			w.hook.answers(status(500))
			w.publish(task(kedge.OpCreate, fmt.Sprint("t-", w.count("push_event")), "proj1"))
			for i := range 4 { // schedule of three waits
				msg = w.hook.next().ID
				w.until("push_attempt WHERE message = '"+msg+"'", i+1)
				w.clock.Advance(time.Second)
			}
			w.until("push_dead", 1)
			w.hook.answers(nil)
			return msg
		}
		from := w.clock.Now().Add(-time.Second).Format(time.RFC3339)
		msg := dead()
		w.call(token, "GET", path+"/deliveries?state=dead", "").says(200, msg, `"class":"server"`, `"attempts":4`)
		w.call(token, "GET", path+"/attempts?class=server&event="+msg, "").says(200, `"status":500`, `"attempt":4`)
		w.publish(task(kedge.OpCreate, "t-after", "proj1"))
		p := w.hook.next()
		if p.Data.Resource != "tasks/t-after" || p.Gap["reason"] != "dead" {
			t.Errorf("the next push: %s", p.Body)
		}
		gaps := w.call(token, "GET", path+"/gaps", "").must(200)["value"].([]any)
		gap := gaps[0].(map[string]any)["id"]
		replay := func(body string) {
			t.Helper()
			rid := w.call(token, "POST", path+"/replay", body).must(202)["replay"].(string)
			p := w.hook.next()
			verify(t, secret, p)
			if p.ID != msg || p.Header.Get("kedge-replay") != "true" {
				t.Errorf("replay %s sent %s, want %s", body, p.ID, msg)
			}
			w.until("push_dead", 0)
			for w.call(token, "GET", path+"/replays/"+rid, "").must(200)["state"] != "done" {
				w.clock.Advance(time.Second)
			}
		}
		replay(fmt.Sprintf(`{"gap":%v}`, gap))
		msg = dead()
		replay(`{"messages":["` + msg + `"]}`)
		msg = dead()
		replay(`{"state":"dead"}`)
		msg = dead()
		replay(`{"from":"` + from + `"}`)
		w.call(token, "POST", path+"/replay", `{"messages":["msg_x"]}`).says(422)
		w.call(token, "POST", path+"/replay", `{"gap":99}`).says(422)
		w.call(token, "POST", path+"/replay", `{}`).says(422)
		w.call(token, "POST", path+"/replay", `{"state":"lost"}`).says(422, `"pointer":"/state"`)
		w.call(token, "GET", path+"/replays/rpl_99", "").says(404)
		w.call(token, "GET", path+"/replays/x", "").says(404)
		w.call(token, "DELETE", path+"/replays/rpl_1", "").must(200)
	})
}

// test and verify answer 200 also when the target fails, tell nothing of its
// answer, and 6 of them are allowed in a minute.
func TestTestAndVerify(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, secret := w.subscribe(token, tasksOfOne)
		path := "/subscriptions/" + id
		w.call(token, "POST", path+"/test", "").says(200, `"ok":true,"status":204,"class":"ok"`)
		p := w.hook.next()
		verify(t, secret, p)
		if p.Type != "kedge.test" || p.Account != "acme" {
			t.Errorf("got %s", p.Body)
		}
		w.hook.answers(func(rw http.ResponseWriter, _ *http.Request, _ push) {
			rw.WriteHeader(500)
			_, _ = rw.Write([]byte("internal hostnames and such"))
		})
		out := w.call(token, "POST", path+"/test", "")
		out.says(200, `"ok":false,"status":500,"class":"server"`)
		if strings.Contains(string(out.body), "hostnames") {
			t.Errorf("the answer of the target is told: %s", out.body)
		}
		for range 4 {
			w.call(token, "POST", path+"/verify", "").must(200)
		}
		w.call(token, "POST", path+"/verify", "").says(429, "6 tests and verifications per minute")
		w.clock.Advance(10 * time.Second)
		w.call(token, "POST", path+"/verify", "").must(200)
		w.call(token, "GET", path+"/attempts", "").says(200, `"class":"server"`)
	})
}

// Handshakes of section 5: nothing is sent before the target has shown that it
// wants it.
func TestHandshakes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		allow := ""
		w.hook.answers(func(rw http.ResponseWriter, r *http.Request, p push) {
			switch {
			case r.Method == "OPTIONS" && r.Header.Get("WebHook-Request-Origin") == "kedge.example.com":
				rw.Header().Set("WebHook-Allowed-Origin", "kedge.example.com")
				rw.Header().Set("WebHook-Allowed-Rate", "120")
			case p.Type == "kedge.verify" && allow == "plain":
				_, _ = rw.Write([]byte(p.Data.Challenge))
			case p.Type == "kedge.verify" && allow == "json":
				_, _ = rw.Write([]byte(`{"challenge":"` + p.Data.Challenge + `"}`))
			case p.Type == "kedge.verify":
				_, _ = rw.Write([]byte("no"))
			}
		})
		state := func(id, want string) {
			t.Helper()
			for range 1000 {
				got := w.call("-", "GET", "/api/v1/subscriptions/"+id, "").must(200)["state"]
				if got == want {
					return
				}
				time.Sleep(5 * time.Millisecond) // the handshake runs beside the answer
			}
			t.Fatalf("%s is not %s", id, want)
		}
		for _, form := range []string{"plain", "json"} {
			allow = form
			id, _ := w.subscribe(token, strings.Replace(tasksOfOne, "}", `,"verify":"challenge"}`, 1))
			w.hook.next()
			state(id, "active")
		}
		allow = ""
		id, _ := w.subscribe(token, strings.Replace(tasksOfOne, "}", `,"verify":"challenge"}`, 1))
		w.hook.next()
		w.call("-", "POST", "/api/v1/subscriptions/"+id+"/verify", "").says(200, `"verified":false`)
		w.hook.next()
		w.call("-", "GET", "/api/v1/subscriptions/"+id, "").says(200, `"state":"unverified"`)
		allow = "json"
		w.call("-", "POST", "/api/v1/subscriptions/"+id+"/verify", "").says(200, `"verified":true`)
		w.hook.next()
		state(id, "active")
		id, _ = w.subscribe(token, strings.Replace(tasksOfOne, "}", `,"verify":"cloudevents"}`, 1))
		if p := w.hook.next(); p.Method != "OPTIONS" {
			t.Errorf("%s came first", p.Method)
		}
		state(id, "active")
		w.call("-", "GET", "/api/v1/subscriptions/"+id, "").says(200, `"ratePerSecond":2`)
	})
}

// Thin pushes and those by GET have the whole message at events; others do not
// find it, nor what the subscription did not select.
func TestMessage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, _ := w.subscribe(token, strings.Replace(tasksOfOne, "}", `,"payload":"thin","select":{"tasks":{"fields":["id","subject"]}}}`, 1))
		w.publish(task(kedge.OpCreate, "t-1", "proj1", "subject", "Draw", "status", "new"))
		p := w.hook.next()
		if p.Data.Record != nil || !strings.HasSuffix(p.Data.Link, "/subscriptions/"+id+"/events/"+p.ID) {
			t.Errorf("thin: %s", p.Body)
		}
		out := w.call(token, "GET", "/subscriptions/"+id+"/events/"+p.ID, "")
		out.says(200, `"subject":"Draw"`, `"id":"`+p.ID+`"`, `"sequence"`)
		if strings.Contains(string(out.body), "new") {
			t.Errorf("a field that is not selected: %s", out.body)
		}
		other, _ := w.subscribe(token, strings.Replace(tasksOfOne, "create", "delete", 1))
		w.call(token, "GET", "/subscriptions/"+other+"/events/"+p.ID, "").says(404)
		w.call(token, "GET", "/subscriptions/"+id+"/events/msg_x", "").says(404)
		w.call(token, "GET", "/subscriptions/"+id+"/events/"+p.ID+"a", "").says(404)
	})
}

// Operators see and change all accounts' subscriptions, in the form of their
// API.
func TestOperators(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, _ := w.token("acme", "u7", everything)
		id, _ := w.subscribe(token, tasksOfOne)
		w.call("-", "POST", "/api/v1/subscriptions", w.doc(tasksOfOne)).says(422, `"pointer":"/account"`)
		out := w.call("-", "POST", "/api/v1/subscriptions", w.doc(strings.Replace(tasksOfOne, "{", `{"account":"globex","user":"g1",`, 1)))
		own := out.must(201)["id"].(string)
		if out.header.Get("Location") != "/api/v1/subscriptions/"+own {
			t.Errorf("Location %s", out.header.Get("Location"))
		}
		list := w.call("-", "GET", "/api/v1/subscriptions?limit=1", "").must(200)
		if len(list["items"].([]any)) != 1 || list["next"] == nil {
			t.Errorf("list %v", list)
		}
		list = w.call("-", "GET", "/api/v1/subscriptions?cursor="+list["next"].(string), "").must(200)
		if len(list["items"].([]any)) != 1 || list["next"] != nil {
			t.Errorf("second page %v", list)
		}
		if got := w.call("-", "GET", "/api/v1/subscriptions?account=globex&state=active&resource=projects/proj1", "").must(200)["items"].([]any); len(got) != 1 {
			t.Errorf("of globex: %v", got)
		}
		w.call("-", "GET", "/api/v1/subscriptions?filter=x", "").says(400)
		w.call("-", "PATCH", "/api/v1/subscriptions/"+id, `{"state":"paused"}`).says(200, `"state":"paused"`, `"user":"u7"`)
		w.call("-", "GET", "/api/v1/resources/tasks", "").says(200, "tasks/t-3")
		w.call("-", "DELETE", "/api/v1/subscriptions/"+id, "").must(200)
	})
}
