package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
)

// No token, signing secret, value of authentication, path of a URL, or value of
// a field that is not granted is in the log, in errors, in the log of attempts
// or anywhere in the database; and what the target says is redacted.
func TestSecretsScan(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		token, tokenID := w.token("acme", "u7", `[{"entity":"projects","manage":true},{"entity":"tasks","fields":["id","subject","project"],"manage":true}]`)
		doc := strings.Replace(tasksOfOne, "}", `,"auth":{"type":"header","headers":{"X-Api-Key":"header-value-1"}},"noticeURL":"https://notices.example.com/path-of-notices"}`, 1)
		doc = strings.Replace(doc, "create", "*", 1)
		out := w.call(token, "POST", "/subscriptions", w.doc(doc), "Idempotency-Key", "key-1").must(201)
		id, secret := out["id"].(string), out["secret"].(string)
		second := w.call(token, "POST", "/subscriptions/"+id+"/rotate-secret", "").must(200)["secret"].(string)
		fresh := w.call("-", "POST", "/api/v1/push-tokens/"+tokenID+"/rotate", "").must(200)["token"].(string)
		w.hook.answers(func(rw http.ResponseWriter, r *http.Request, _ push) {
			rw.WriteHeader(400)
			fmt.Fprint(rw, "no for anna@example.com with "+secret+" and 4111 1111 1111 1111")
		})
		e := task(kedge.OpUpdate, "t-1", "proj1", "subject", "Draw", "secret_note", "note-value-1")
		e.Before = e.After
		w.publish(e, task(kedge.OpDelete, "t-1", "proj1", "secret_note", "note-value-1"))
		p := w.hook.next()
		w.until("push_attempt", 1)
		if p.Header.Get("X-Api-Key") != "header-value-1" || strings.Contains(string(p.Body), "note-value-1") {
			t.Errorf("the push: %v %s", p.Header, p.Body)
		}
		for _, bad := range []string{`{"url":"https://bad.example.com/path-of-bad#x"}`, `{"auth":{"type":"basic","username":"a:b","password":"password-value-1"}}`, `{"url":"path-of-bad"}`,
			`{"signing":{"secret":"whsec_` + strings.Repeat("A", 64) + `"}}`, `{"auth":{"type":"header","headers":{"X":"header-value-2\n"}}}`} {
			answer := w.call(token, "PATCH", "/subscriptions/"+id, bad)
			answer.says(422)
			w.clean("the error", string(answer.body), "path-of-bad", "password-value-1", strings.Repeat("A", 64), "header-value-2")
		}
		hidden := []string{token, fresh, secret, second, strings.TrimPrefix(secret, "whsec_"), "header-value-1", "k/8f3a", "path-of-notices", "path-of-bad", "note-value-1", "anna@", "4111 1111"}
		for _, path := range []string{"", "/attempts", "/deliveries", "/gaps"} {
			w.clean(path, string(w.call(token, "GET", "/subscriptions/"+id+path, "").body), hidden...)
		}
		w.clean("the list of tokens", string(w.call("-", "GET", "/api/v1/push-tokens", "").body), hidden...)
		w.clean("the database", w.dump(), hidden...)
		w.logMu.Lock()
		log := w.log.String()
		w.logMu.Unlock()
		w.clean("the log", log, append(hidden, "Draw", "t-1")...)
		if !strings.Contains(w.dump(), "Draw") {
			t.Error("the scan does not see the database")
		}
		w.clock.Advance(25 * time.Hour)
	})
}

func (w *world) clean(where, text string, hidden ...string) {
	w.t.Helper()
	for _, h := range hidden {
		if i := strings.Index(text, h); i >= 0 {
			w.t.Errorf("%s holds %q: …%s…", where, h, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}

// dump returns all that the tables of subscriptions hold, as text.
func (w *world) dump() string {
	w.t.Helper()
	var b strings.Builder
	for _, table := range []string{"push_token", "push_subscription", "push_event", "push_delivery", "push_queue", "push_attempt", "push_dead", "push_gap", "push_replay", "push_state"} {
		rows, err := w.db.DB().QueryContext(w.t.Context(), "SELECT * FROM "+table)
		if err != nil {
			w.t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			w.t.Fatal(err)
		}
		for rows.Next() {
			values, ptrs := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				ptrs[i] = &values[i]
			}
			if err := rows.Scan(ptrs...); err != nil {
				w.t.Fatal(err)
			}
			for _, v := range values {
				if raw, ok := v.([]byte); ok {
					v = string(raw)
				}
				fmt.Fprintln(&b, v)
			}
		}
		if err := rows.Err(); err != nil {
			w.t.Fatal(err)
		}
		rows.Close()
	}
	return b.String()
}
