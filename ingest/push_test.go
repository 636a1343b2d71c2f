package ingest_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/ingest/custom"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

func TestLateData(t *testing.T) {
	each(t, func(w *world) {
		w.event("", `{"employeeId":"a","updatedAt":10,"salary":1}`).is(200).has("result", "created")
		w.event("", `{"employeeId":"a","updatedAt":9,"salary":2}`).is(200).has("result", "stale", "seq", 1)
		w.event("", `{"employeeId":"a","updatedAt":10,"salary":2}`).is(200).has("result", "updated")
		w.bulk("", `[{"employeeId":"a","updatedAt":3},{"employeeId":"b","updatedAt":1}]`).is(200).has("stale", 1, "created", 1, "removed", 0)
		w.remove("", "a").is(200).has("removed", 1)
		w.event("", `{"employeeId":"a","updatedAt":9}`).is(200).has("result", "stale") // older than the deleted one
		w.event("", `{"employeeId":"a"}`).is(200).has("result", "created")             // without a version there is no order
	})
}

func TestDryRun(t *testing.T) {
	each(t, func(w *world) {
		w.event("?dryRun=true", `{"employeeId":"a"}`).is(200).has("result", "created", "dryRun", true, "seq", 0)
		w.bulk("?dryRun=true", `[{"employeeId":"a"},{"employeeId":"b"}]`).is(200).has("created", 2, "seq", 0)
		w.nothingStored()
		w.event("", `{"employeeId":"a"}`).is(200).has("seq", 1)
		w.remove("?dryRun=true", "a").is(200).has("removed", 1, "seq", 1)
		w.event("?dryRun=yes", `{"employeeId":"a"}`).is(400)
		w.admin("GET", "/tables/employee/resources/a", "").is(200).says(`"employeeId":"a"`)
	})
}

func TestIdempotencyKey(t *testing.T) {
	each(t, func(w *world) {
		post := func(key, body string) answer {
			return w.send("POST", base+"/event/employee", body, "Idempotency-Key", key)
		}
		first := post("k1", `{"employeeId":"a"}`).is(200).has("result", "created")
		w.event("", `{"employeeId":"a","salary":5}`).is(200)
		again := post("k1", `{"employeeId":"a"}`).is(200).has("result", "created", "seq", 1)
		if again.raw != first.raw {
			t.Errorf("the answer differs: %s, first %s", again.raw, first.raw)
		}
		post("k1", `{"employeeId":"b"}`).is(422).says("another request was sent with this Idempotency-Key")
		post("k1", `{"employeeId":"b"`).is(422)
		post(strings.Repeat("k", 256), `{"employeeId":"b"}`).is(400)
		// Refusals are not kept.
		post("k2", `{"employeeId":1}`).is(422)
		post("k2", `{"employeeId":"c"}`).is(200).has("result", "created")
		// After a day the key is free again.
		w.clock.add(24 * time.Hour)
		post("k1", `{"employeeId":"b"}`).is(200).has("result", "created")
	})
}

func TestBreaker(t *testing.T) {
	each(t, func(w *world) {
		_, err := w.s.UpdateSchema(t.Context(), "hr_employee", ingest.Schema{MaxRemoved: &ingest.MaxRemoved{Percent: 30, Min: 20}}, func(*ingest.Schema) error { return nil })
		w.must(err)
		list := func(n int) string {
			var parts []string
			for i := range n {
				parts = append(parts, fmt.Sprintf(`{"employeeId":"e%03d"}`, i))
			}
			return "[" + strings.Join(parts, ",") + "]"
		}
		w.bulk("", list(100)).is(200)
		w.bulk("", list(70)).is(200).has("removed", 30) // exactly 30 percent
		w.bulk("", list(100)).is(200)
		w.bulk("", list(69)).is(409).says("would remove 31 of 100; send confirmRemoved=31", "urn:kedge:problem:breaker")
		w.bulk("?confirmRemoved=30", list(69)).is(409).says("would remove 31 of 100, not the 30 of confirmRemoved")
		w.bulk("?confirmRemoved=x", list(69)).is(400)
		w.bulk("?confirmRemoved=31", list(69)).is(200).has("removed", 31)
		w.bulk("", list(40)).is(409)
		w.bulk("?confirmRemoved=29", list(40)).is(200)
		w.bulk("", list(20)).is(200).has("removed", 20) // half, but not more than 20
		w.bulk("?groupKey=new&confirmRemoved=0", list(1)).is(200)
	})
}

func TestEmptyBulkByConfig(t *testing.T) {
	each(t, func(w *world) {
		_, err := w.s.UpdateSchema(t.Context(), "hr_employee", ingest.Schema{EmptyBulk: "accept"}, func(*ingest.Schema) error { return nil })
		w.must(err)
		w.event("", `{"employeeId":"a"}`).is(200)
		w.bulk("", `[]`).is(200).has("removed", 1)
	})
}

func TestParametersAreStrict(t *testing.T) {
	each(t, func(w *world) {
		w.event("?groupkey=x", `{"employeeId":"a"}`).is(400).says(`did you mean \"groupKey\"`)
		w.event("?event=a&event=b", `{"employeeId":"a"}`).is(400).says("give it once")
		w.event("?allowEmpty=true", `{"employeeId":"a"}`).is(400)
		w.bulk("?allowEmpty=1", `[]`).is(400)
		w.bulk("?resourceIds=a", `[{"employeeId":"a"}]`).is(400)
		w.remove("?allowEmpty=true", "a").is(400)
		w.event("?event=%zz", `{"employeeId":"a"}`).is(400)
		w.send("GET", base+"/event/employee", "").is(405)
		w.nothingStored()
	})
}

// Any Content-Type is tried as JSON; if it fails, one that does not claim to be
// JSON is 415.
func TestContentTypes(t *testing.T) {
	each(t, func(w *world) {
		form := "application/x-www-form-urlencoded"
		w.send("POST", base+"/event/employee", `{"employeeId":"a"}`, "Content-Type", form).is(200)
		w.send("POST", base+"/event/employee", `employeeId=a`, "Content-Type", form).is(415)
		w.send("POST", base+"/event/employee", `employeeId=a`, "Content-Type", "application/json").is(400)
		w.send("POST", base+"/event/employee", `employeeId=a`, "Content-Type", "application/vnd.x+json; charset=utf-8").is(400)
		w.send("POST", base+"/event/employee", `employeeId=a`).is(400)
		w.send("POST", base+"/event/employee", ``).is(400).says("the body is empty")
		w.send("POST", base+"/event/employee", `{"employeeId":"a"}`, "Content-Encoding", "br").is(415)
		w.send("POST", base+"/event/employee", `{"employeeId":"a"}`, "Content-Encoding", "gzip").is(400)
		w.send("POST", base+"/event/employee", `{"employeeId":"a"} {}`).is(400)
	})
}

// zip is body in gzip.
func zip(body string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, body)
	_ = z.Close()
	return b.String()
}

// Acceptance 6: sizes at the limit pass, one more byte is 413, also chunked and
// in gzip. Up to 4 KiB of outer space is not counted.
func TestSizes(t *testing.T) {
	each(t, func(w *world) {
		resource := func(id string, size int) string {
			head := `{"employeeId":"` + id + `","employee":{"username":"`
			return head + strings.Repeat("x", size-len(head)-3) + `"}}`
		}
		var elements []string
		for i := range 4 {
			elements = append(elements, resource(fmt.Sprint(i), custom.MaxResource-100))
		}
		full := "[" + strings.Join(elements, ",")
		full += strings.Repeat(" ", custom.MaxBulk-len(full)-1) + "]"
		for _, tt := range []struct {
			name, path, body string
			want             int
		}{
			{"resource at the limit", "/event/employee", resource("a", custom.MaxResource), 200},
			{"resource one past", "/event/employee", resource("a", custom.MaxResource+1), 413},
			{"space around", "/event/employee", strings.Repeat(" ", 4096) + resource("a", custom.MaxResource), 200},
			{"too much space around", "/event/employee", strings.Repeat(" ", 4097) + resource("a", custom.MaxResource), 413},
			{"bulk at the limit", "/bulk-event/employee", full, 200},
			{"bulk one past", "/bulk-event/employee", strings.Replace(full, "x", "xx", 1), 413},
			{"resource in a bulk at the limit", "/bulk-event/employee", "[" + resource("a", custom.MaxResource) + "]", 200},
			{"resource in a bulk one past", "/bulk-event/employee", "[" + resource("b", 100) + "," + resource("a", custom.MaxResource+1) + "]", 413},
		} {
			if got := w.send("POST", base+tt.path, tt.body); got.status != tt.want {
				t.Errorf("%s: %d, want %d: %.200s", tt.name, got.status, tt.want, got.raw)
			}
			if w.store.Engine() == store.Postgres {
				continue // how a body travels has nothing to do with the database
			}
			if got := w.send("POST", base+tt.path, zip(tt.body), "Content-Encoding", "gzip"); got.status != tt.want {
				t.Errorf("%s, gzip: %d, want %d: %.200s", tt.name, got.status, tt.want, got.raw)
			}
			req, err := http.NewRequest("POST", w.url+base+tt.path, struct{ io.Reader }{strings.NewReader(tt.body)})
			w.must(err)
			req.Header.Set("X-Ingest-Key", w.key)
			if got := w.do(req); got.status != tt.want {
				t.Errorf("%s, chunked: %d, want %d: %.200s", tt.name, got.status, tt.want, got.raw)
			}
		}
		bomb := zip(strings.Repeat(" ", 64<<20))
		w.send("POST", base+"/event/employee", bomb, "Content-Encoding", "gzip").is(413)
	})
}

// Acceptance 11: what is hostile is refused quickly, and the server answers
// still. Package jsonguard and ingest/schema test more of it.
func TestHostileBodies(t *testing.T) {
	each(t, func(w *world) {
		deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
		for name, tt := range map[string]struct {
			body string
			want int
		}{
			"exponent":          {`{"employeeId":"a","salary":1e1000001}`, 400},
			"exponent at limit": {`{"employeeId":"a","salary":1e400}`, 200},
			"depth 65":          {deep(65), 400},
			"depth 64":          {deep(64), 422},
			"duplicate":         {`{"employeeId":"a","employeeId":"b"}`, 400},
			"UTF-8":             {"{\"employeeId\":\"\xff\"}", 400},
			"surrogate":         {`{"employeeId":"\ud800"}`, 400},
			"U+0000":            {`{"employeeId":"a\u0000"}`, 400},
			"long number":       {`{"employeeId":"a","salary":` + strings.Repeat("1", 65) + `}`, 400},
			"many members":      {`{"employeeId":"a"` + strings.Repeat(`,"x":1`, 3) + `}`, 400},
			"not an object":     {`17`, 422},
			"cut":               {`{"employeeId":"a"`, 400},
		} {
			began := time.Now()
			if got := w.event("", tt.body); got.status != tt.want {
				t.Errorf("%s: %d, want %d: %s", name, got.status, tt.want, got.raw)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%s took %v", name, took)
			}
		}
		for _, ref := range []string{"file:///etc/passwd", "http://127.0.0.1:1/x", "https://json-schema.org/draft/2020-12/schema#/$defs/x"} {
			refusedSchema(w, `{"type":"object","properties":{"id":{"type":"string"},"x":{"$ref":"`+ref+`"}},"kedge":{"id":"id"}}`, "reference")
		}
		var defs []string
		for i := range 20 {
			defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
		}
		w.admin("POST", "/schemas", schemaBody("HR", "bomb", `{"type":"object","properties":{"id":{"type":"string"},"x":{"$ref":"#/$defs/d0"}},"$defs":{`+strings.Join(defs, ",")+`,"d20":{}},"kedge":{"id":"id"}}`)).is(422)
		w.event("", `{"employeeId":"z"}`).is(200)
	})
}

func TestBulkSessions(t *testing.T) {
	each(t, func(w *world) {
		w.bulk("", `[{"employeeId":"old"}]`).is(200)
		start := func(query string) string {
			return base + "/bulk-session/employee/" + w.send("POST", base+"/bulk-session/employee"+query, "").is(201).body["session"].(string)
		}
		s := start("?event=big&actor=1")
		w.send("PUT", s+"/1", `[{"employeeId":"a"},{"employeeId":"b"}]`).is(200).has("received", 2, "part", 1)
		w.send("PUT", s+"/2", `[{"employeeId":"c"},{"employeeId":1}]`).is(422)
		w.send("PUT", s+"/2", `[{"employeeId":"c"}, {"employeeId":"x"}]`).is(200)
		w.send("PUT", s+"/2", `[{"employeeId":"c", "employee": {"username": "C" }}]`).is(200).has("received", 1) // replaces the part
		w.send("POST", s+"/commit?parts=3", "").is(422).says("part 3 of 3 is missing")
		w.send("POST", s+"/commit", "").is(400)
		w.send("PUT", s+"/65", `[]`).is(400)
		w.send("PUT", s+"/0", `[]`).is(400)
		w.send("POST", s+"/commit?parts=2", "", "Idempotency-Key", "big").is(200).has("received", 3, "created", 3, "removed", 1, "seq", 5)
		w.send("POST", s+"/commit?parts=2", "", "Idempotency-Key", "big").is(200).has("created", 3, "seq", 5)
		w.send("POST", s+"/commit?parts=2", "").is(409).says("the session was committed")
		w.send("PUT", s+"/1", `[]`).is(409)
		w.admin("GET", "/tables/employee/resources/c/history", "").is(200).says(`"event":"big","actor":1`, `"employee":{"username":"C"}`)
		if n := w.count("SELECT count(*) FROM ingest_session_part"); n != 0 {
			t.Errorf("%d parts stay after the commit", n)
		}
		// An id in two parts, an abandoned session, one whose hour is over.
		s = start("")
		w.send("PUT", s+"/1", `[{"employeeId":"a"}]`).is(200)
		w.send("PUT", s+"/2", `[{"employeeId":"a"}]`).is(200)
		w.send("POST", s+"/commit?parts=2", "").is(422).says("an id is in parts 1 and 2")
		w.send("DELETE", s, "").is(204)
		w.send("DELETE", s, "").is(404)
		s = start("?dryRun=true")
		w.send("PUT", s+"/1", `[{"employeeId":"a"}]`).is(200)
		w.send("POST", s+"/commit?parts=1", "").is(200).has("dryRun", true, "removed", 2, "seq", 5)
		w.clock.add(time.Hour)
		w.send("POST", s+"/commit?parts=1", "").is(404)
		w.must(w.s.Data().ExpireRequests(t.Context()))
		if n := w.count("SELECT (SELECT count(*) FROM ingest_session) + (SELECT count(*) FROM ingest_session_part)"); n != 0 {
			t.Errorf("%d rows of sessions stay after their time", n)
		}
		w.send("POST", base+"/bulk-session/employee", "", "X-Ingest-Key", w.newKey("hr-feed", "events", ingest.Rights{Operations: []string{"event"}})).is(403)
	})
}

func TestKeys(t *testing.T) {
	each(t, func(w *world) {
		as := func(key string) answer {
			return w.send("POST", base+"/event/employee", `{"employeeId":"a"}`, "X-Ingest-Key", key)
		}
		second := w.admin("POST", "/integrations/hr-feed/keys", `{"name":"second","expiresAt":"2026-12-01T11:00:00Z"}`).is(201).body["key"].(string)
		as(w.key).is(200)
		as(second).is(200)
		w.admin("POST", "/integrations/hr-feed/keys", `{"name":"nightly"}`).is(409)
		// Rotation: the old key works until its grace is over.
		renewed := w.admin("POST", "/integrations/hr-feed/keys/nightly/rotate?grace=10m", "").is(201).body["key"].(string)
		as(w.key).is(200)
		as(renewed).is(200)
		w.clock.add(10*time.Minute - time.Millisecond)
		as(w.key).is(200)
		w.clock.add(time.Millisecond)
		as(w.key).is(401)
		as(renewed).is(200)
		// Expiry, revocation: one text for all that do not work.
		w.clock.add(50 * time.Minute)
		text := as(second).is(401).body["detail"]
		w.admin("POST", "/integrations/hr-feed/keys/nightly/revoke", "").is(204)
		as(renewed).is(401).has("detail", text)
		as("").is(401).has("detail", text)
		as("kdgi_x").is(401).has("detail", text)
		list := w.admin("GET", "/integrations/hr-feed/keys", "").is(200)
		for _, key := range []string{w.key, second, renewed} {
			if strings.Contains(list.raw, key) || strings.Contains(w.log.String(), key) {
				t.Error("a key is shown")
			}
			if n := w.count("SELECT count(*) FROM ingest_key WHERE name = ? OR rights = ?", key, key); n > 0 {
				t.Error("a key is stored")
			}
		}
		w.admin("POST", "/integrations/hr-feed/keys/nobody/rotate", "").is(404)
		w.admin("POST", "/integrations/hr-feed/keys/second/rotate?grace=31d", "").is(422)
		for i := range 10 {
			w.newKey("hr-feed", fmt.Sprint("k", i), ingest.Rights{})
		}
		w.admin("POST", "/integrations/hr-feed/keys", `{"name":"eleventh"}`).is(409).says("10 keys already")
	})
}

func TestRights(t *testing.T) {
	each(t, func(w *world) {
		w.admin("POST", "/schemas", schemaBody("HR", "other", plain)).is(201)
		w.admin("PUT", "/integrations/hr-feed", `{"name":"hr-feed","tables":["hr_employee","hr_other"]}`, "If-Match", "*").is(200)
		with := func(r ingest.Rights) { w.key = w.newKey("hr-feed", fmt.Sprintf("%v", r), r) }
		with(ingest.Rights{Operations: []string{"event"}})
		w.event("", `{"employeeId":"a"}`).is(200)
		w.bulk("", `[{"employeeId":"a"}]`).is(403).says("the operation bulk")
		w.remove("", "a").is(403)
		with(ingest.Rights{Tables: []string{"hr_other"}})
		w.event("", `{"employeeId":"a"}`).is(403)
		w.send("POST", base+"/event/other", `{"id":"a"}`).is(200)
		w.send("POST", base+"/event/nobody", `{"id":"a"}`).is(404)
		with(ingest.Rights{GroupKeys: []string{"dept-a"}})
		w.event("", `{"employeeId":"a"}`).is(403)
		w.event("?groupKey=dept-b", `{"employeeId":"a"}`).is(403)
		w.event("?groupKey=dept-a", `{"employeeId":"a"}`).is(200)
		w.send("POST", base+"/bulk-session/employee?groupKey=dept-b", "").is(403)
		w.admin("POST", "/integrations/hr-feed/keys", `{"name":"x","operations":["write"]}`).is(422)
		w.admin("POST", "/integrations/hr-feed/keys", `{"name":"x","tables":["hr_nobody"]}`).is(422)
	})
}

// 20 failed authentications a minute from one address pass as 401; more get
// 429. A valid key still passes.
func TestFailedAuthentications(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, ingest.Migrations()...), ingest.Options{})
	wrong := func() answer { return w.send("POST", base+"/event/employee", `{}`, "X-Ingest-Key", "kdgi_wrong") }
	for range 20 {
		wrong().is(401)
	}
	if got := wrong().is(429).header.Get("Retry-After"); got == "" {
		t.Error("429 without Retry-After")
	}
	w.event("", `{"employeeId":"a"}`).is(200)
	w.clock.add(time.Minute)
	wrong().is(401)
}

func TestRate(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t, ingest.Migrations()...), ingest.Options{})
	w.admin("PUT", "/integrations/hr-feed", `{"name":"hr-feed","tables":["hr_employee"],"rate":{"requests":"2/s","burst":3}}`, "If-Match", "*").is(200)
	for range 3 {
		w.event("", `{"employeeId":"a"}`).is(200)
	}
	if got := w.event("", `{"employeeId":"a"}`).is(429).header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q, want 1", got)
	}
	w.clock.add(time.Second)
	w.event("", `{"employeeId":"a"}`).is(200)
	w.event("", `{"employeeId":"a"}`).is(200)
	w.event("", `{"employeeId":"a"}`).is(429)
	for _, bad := range []string{`{"requests":"fast"}`, `{"requests":"0/s"}`, `{"bytes":"1TB/s"}`, `{"burst":-1}`} {
		w.admin("PUT", "/integrations/hr-feed", `{"name":"hr-feed","tables":["hr_employee"],"rate":`+bad+`}`, "If-Match", "*").is(422)
	}
}

// The integration of a key is its own: tables of others are forbidden, and a
// table belongs to one integration.
func TestOneOwner(t *testing.T) {
	each(t, func(w *world) {
		w.admin("POST", "/schemas", schemaBody("HR", "other", plain)).is(201)
		w.admin("POST", "/integrations", `{"name":"two","tables":["hr_employee"]}`).is(409).says("belongs to another integration")
		w.admin("POST", "/integrations", `{"name":"two","tables":["hr_other"]}`).is(201)
		w.send("POST", base+"/event/other", `{"id":"a"}`).is(403)
		w.admin("POST", "/integrations", `{"name":"none","tables":[]}`).is(422)
		w.admin("DELETE", "/schemas/hr_other", "", "If-Match", "*").is(409).says("attached to an integration")
		w.admin("DELETE", "/integrations/two", "", "If-Match", "*").is(204)
		w.admin("DELETE", "/schemas/hr_other", "", "If-Match", "*").is(204)
		w.admin("DELETE", "/groups/HR", "", "If-Match", "*").is(409).says("has schemas, such as hr_employee")
	})
}

// Definitions change only for those who saw them as they are.
func TestEntityTags(t *testing.T) {
	each(t, func(w *world) {
		tag := w.admin("GET", "/groups/HR", "").is(200).header.Get("ETag")
		w.admin("PUT", "/groups/HR", `{"name":"HR","prefix":"hr","description":"x"}`).is(428)
		w.admin("PUT", "/groups/HR", `{"name":"HR","prefix":"hr","description":"x"}`, "If-Match", tag).is(200)
		w.admin("PUT", "/groups/HR", `{"name":"HR","prefix":"hr","description":"y"}`, "If-Match", tag).is(412)
		tag = w.admin("GET", "/schemas/hr_employee", "").is(200).header.Get("ETag")
		w.admin("PUT", "/schemas/hr_employee", `{"group":"HR","table":"employee","history":"90d"}`, "If-Match", tag).is(200).has("history", "90d")
		w.admin("PUT", "/schemas/hr_employee", `{"group":"HR","table":"employee"}`, "If-Match", tag).is(412)
		w.admin("PUT", "/schemas/hr_employee", `{"group":"HR","table":"employee","history":"soon"}`, "If-Match", "*").is(422)
		w.admin("POST", "/groups", `{"name":"X","prefix":"x","colour":"red"}`).is(400).says("/colour")
		w.admin("GET", "/groups?limit=0", "").is(400)
		w.admin("GET", "/groups?limit=1", "").is(200)
	})
}

// A failing publisher or suppressor refuses the request: nothing is stored.
func TestFailingNeighbours(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := &publisher{}
		w := newWorld(t, s, ingest.Options{Publisher: p})
		p.fail = errors.New("down")
		w.event("", `{"employeeId":"a"}`).is(503)
		if got := w.bulk("", `[{"employeeId":"a"}]`).is(503).header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After %q, want 1", got)
		}
		w.nothingStored()
		p.fail = nil
		w.event("", `{"employeeId":"a"}`).is(200).has("seq", 1)
	}, ingest.Migrations()...)
}
