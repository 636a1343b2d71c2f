package ingest_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/ingest"
	"github.com/kedge-sync/kedge/internal/store"
	"github.com/kedge-sync/kedge/internal/store/storetest"
)

// The subtests are named by the sentences of the document that describes
// custom data integrations; each shows what it says, over HTTP.
func TestDocument(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		test     func(w *world)
	}{
		{"first create a custom schema group, custom schema, and then create the integration (consequently, in this order)", inOrder},
		{"Schema groups have unique names and prefixes", uniqueGroups},
		{"The prefix will be used as a prefix on your custom resources", prefixNames},
		{"Support for only the 2020-12 version", onlyDraft2020},
		{"It cannot be empty or any type other than an object", onlyObjects},
		{"There must be a resmo property inside of the schema's root", metadataObject},
		{"id: the path of the id field, which cannot be empty, must be a string", idPath},
		{"name: the path of the name field, optional; importantFields: paths, optional", optionalPaths},
		{"Those paths support json-path", jsonPaths},
		{"If the schema is valid, services put unevaluatedProperties property to the root path of the schema", closesRoot},
		{"In this part, you can check out example schema, and resource payloads", howto},
		{"groupKey: you have multiple resources with the same identifier; to see more detail you can check _meta of the resource", groupKeys},
		{"event: you can see it on the changes history; actor: you can see it on the changes history as well, it should be a JSON", eventAndActor},
		{"If there is no resource with id (+ groupKey) information before then, there will be a new resource", createsNew},
		{"If there is an existing resource, this request will be considered an update request; if the current resource is the same, then the request will be ignored", updatesOrIgnores},
		{"Be sure that the requested payload is valid with the JSON schema", checksSchema},
		{"Payload with unknown fields will not be processed", unknownFields},
		{"The Actor field can be up to 1000 characters, and the event and groupKey fields can be up to 100 characters", lengths},
		{"Payloads without id field information will be rejected", missingID},
		{"Bulk: if there is a missing resource in the payload, then it will be removed; a, b, c then a, b, d", bulkReplaces},
		{"Bulk: existing resources will be updated, ignored if the resource payload is the same", bulkIgnores},
		{"Bulk: same validations with Sending a resource", bulkChecks},
		{"Delete: requested resource IDs; if there is no resource with ID (+ groupKey) information, then it will be ignored", deletes},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, s *store.Store) { tt.test(newWorld(t, s, ingest.Options{})) }, ingest.Migrations()...)
		})
	}
}

// admin makes a request as an operator, with a JSON body.
func (w *world) admin(method, path, body string, header ...string) answer {
	w.t.Helper()
	return w.send(method, "/api/v1/ingest"+path, body, append([]string{"Content-Type", "application/json"}, header...)...)
}

func schemaBody(group, table, document string) string {
	return fmt.Sprintf(`{"group": %q, "table": %q, "schema": %s}`, group, table, document)
}

const plain = `{"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}, "kedge": {"id": "id"}}`

func inOrder(w *world) {
	w.admin("POST", "/schemas", schemaBody("IT", "device", plain)).is(422).says("there is no group", "create it first")
	w.admin("POST", "/integrations", `{"name": "it", "tables": ["it_device"]}`).is(422).says("there is no schema", "create the group and the schema first")
	w.admin("POST", "/groups", `{"name": "IT", "prefix": "it"}`).is(201)
	w.admin("POST", "/integrations", `{"name": "it", "tables": ["it_device"]}`).is(422)
	w.admin("POST", "/schemas", schemaBody("IT", "device", plain)).is(201)
	w.admin("POST", "/integrations", `{"name": "it", "tables": ["it_device"]}`).is(201).has("tables", "[it_device]")
	key := w.admin("POST", "/integrations/it/keys", `{"name": "k"}`).is(201).body["key"].(string)
	w.send("POST", base+"/event/it_device", `{"id": "x"}`, "X-Ingest-Key", key).is(200).has("result", "created")
	// A table without an integration takes nothing.
	w.schema(ingest.Schema{Group: "IT", Table: "loose", Schema: json.RawMessage(plain)})
	w.send("POST", base+"/event/it_loose", `{"id": "x"}`, "X-Ingest-Key", key).is(404).says("attached to no integration")
}

func uniqueGroups(w *world) {
	w.admin("POST", "/groups", `{"name": "HR", "prefix": "hr2"}`).is(409).says("a group with this name")
	w.admin("POST", "/groups", `{"name": "HR2", "prefix": "hr"}`).is(409).says("a group with this prefix")
	for _, bad := range []string{"", "HR", "9a", "a_", "a b", "kedge", "ingest_x", "sqlite", strings.Repeat("a", 20), "__a"} {
		w.admin("POST", "/groups", fmt.Sprintf(`{"name": "X", "prefix": %q}`, bad)).is(422)
	}
	w.admin("POST", "/groups", `{"name": "X", "prefix": "_directory"}`).is(201)
	w.admin("POST", "/groups", fmt.Sprintf(`{"name": "Y", "prefix": %q}`, strings.Repeat("a", 19))).is(201)
	if got := w.count("SELECT count(*) FROM ingest_group"); got != 3 {
		w.t.Errorf("%d groups are stored, want 3", got)
	}
}

func prefixNames(w *world) {
	w.admin("GET", "/schemas/employee", "").is(200).has("fullName", "hr_employee", "group", "HR")
	w.send("POST", base+"/event/employee", `{"employeeId": "a"}`).is(200).has("table", "hr_employee")
	// Full names are unique over all groups: hr + a_b is hr_a + b.
	w.admin("POST", "/schemas", schemaBody("HR", "a_b", plain)).is(201)
	w.admin("POST", "/groups", `{"name": "HRA", "prefix": "hr_a"}`).is(201)
	w.admin("POST", "/schemas", schemaBody("HRA", "b", plain)).is(409).says("hr_a_b in the database already")
	// A name that two tables have needs the prefix.
	w.admin("POST", "/schemas", schemaBody("HRA", "employee", plain)).is(201)
	w.admin("PUT", "/integrations/hr-feed", `{"name": "hr-feed", "tables": ["hr_employee", "hr_a_employee"]}`, "If-Match", "*").is(200)
	w.send("POST", base+"/event/employee", `{"employeeId": "a"}`).is(400).says("more than one table has this name")
	w.send("POST", base+"/event/hr_employee", `{"employeeId": "a"}`).is(200)
}

// refusedSchema expects that a document is refused with 422 and a reason, and
// leaves no trace.
func refusedSchema(w *world, document, reason string) {
	w.t.Helper()
	w.admin("POST", "/schemas", schemaBody("HR", "bad", document)).is(422).says(reason)
	w.admin("GET", "/schemas/hr_bad", "").is(404)
}

func onlyDraft2020(w *world) {
	refusedSchema(w, `{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}}`, "only JSON Schema 2020-12 is supported")
	w.admin("POST", "/schemas", schemaBody("HR", "good", `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}}`)).is(201)
}

func onlyObjects(w *world) {
	refusedSchema(w, `{}`, "not empty")
	for _, kind := range []string{`"array"`, `"string"`, `["object", "null"]`, `null`} {
		refusedSchema(w, `{"type": `+kind+`, "properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}}`, "a resource is an object")
	}
	w.event("", `[{"employeeId": "a"}]`).is(422)
	w.event("", `"a"`).is(422)
}

func metadataObject(w *world) {
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}}`, `object named \"kedge\"`)
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}, "kedge": {"id": "id"}, "resmo": {"id": "id"}}`, "keep one of them")
	w.admin("POST", "/schemas", schemaBody("HR", "good", `{"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {"id": "id"}}`)).is(201)
}

func idPath(w *world) {
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {"id": ""}}`, "a string that is not empty")
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {"id": 7}}`, "a string that is not empty")
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {}}`, `needs \"id\"`)
}

func optionalPaths(w *world) {
	w.admin("POST", "/schemas", schemaBody("HR", "none", plain)).is(201)
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {"id": "id", "name": 1}}`, "a string that is not empty")
	refusedSchema(w, `{"type": "object", "properties": {"id": {"type": "string"}}, "resmo": {"id": "id", "importantFields": "id"}}`, "a list of paths")
	w.event("", `{"employeeId": "a", "employee": {"username": "Anna"}}`).is(200)
	w.event("", `{"employeeId": "b"}`).is(200) // a missing name is fine
	w.admin("GET", "/tables/employee/resources/a", "").is(200).says(`"name":"Anna"`)
}

func jsonPaths(w *world) {
	w.admin("POST", "/groups", `{"name": "P", "prefix": "p"}`).is(201)
	var tables []string
	for i, path := range []string{"a.b", "$.a.b", "$['a']['b']", `$[\"a\"].b`} {
		table := fmt.Sprintf("t%d", i)
		w.admin("POST", "/schemas", schemaBody("P", table, `{"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}, "resmo": {"id": "`+path+`"}}`)).is(201)
		tables = append(tables, "p_"+table)
	}
	_, err := w.s.CreateIntegration(w.t.Context(), ingest.Integration{Name: "p", Tables: tables})
	w.must(err)
	key := w.newKey("p", "k", ingest.Rights{})
	for _, table := range tables {
		w.send("POST", base+"/event/"+table, `{"a": {"b": "x"}}`, "X-Ingest-Key", key).is(200).has("id", "x")
	}
}

func closesRoot(w *world) {
	w.admin("GET", "/schemas/hr_employee", "").is(200).says(`"unevaluatedProperties":false`)
	// It takes the place of what the user wrote.
	w.admin("POST", "/schemas", schemaBody("HR", "open", `{"type": "object", "properties": {"id": {"type": "string"}}, "unevaluatedProperties": true, "kedge": {"id": "id"}}`)).is(201).says(`"unevaluatedProperties":false`)
}

func howto(w *world) {
	h, err := w.s.Howto(w.t.Context(), "employee", "https://kedge.example")
	w.must(err)
	if !h.Valid || len(h.Curl) < 3 || !strings.Contains(h.Curl[0].Command, "https://kedge.example/integration/custom-data/event/hr_employee") {
		w.t.Errorf("howto: %+v", h)
	}
	w.event("", string(h.Payload)).is(200)
	w.bulk("", string(h.Bulk)).is(200)
}

func groupKeys(w *world) {
	w.event("?groupKey=one", `{"employeeId": "a", "salary": 1}`).is(200).has("result", "created")
	w.event("?groupKey=two", `{"employeeId": "a", "salary": 1}`).is(200).has("result", "created")
	w.event("", `{"employeeId": "a", "salary": 1}`).is(200).has("result", "created")
	w.event("?groupKey=", `{"employeeId": "a", "salary": 1}`).is(200).has("result", "unchanged") // absent and empty are the same
	w.admin("GET", "/tables/employee/resources/a?groupKey=two", "").is(200).says(`"_meta":{"table":"hr_employee","groupKey":"two","id":"a"`)
	w.bulk("?groupKey=one&allowEmpty=true", `[]`).is(200).has("removed", 1) // of its own group only
	w.admin("GET", "/tables/employee/resources/a?groupKey=two", "").is(200)
	w.send("DELETE", base+"/bulk-event/employee?resourceIds=a&groupKey=two", "").is(200).has("removed", 1)
	w.admin("GET", "/tables/employee/resources", "").is(200).says(`"groupKey":""`)
}

func eventAndActor(w *world) {
	q := "?event=" + url.QueryEscape("hired äöü") + "&actor=" + url.QueryEscape(`{"user": "ops"}`)
	w.event(q, `{"employeeId": "a"}`).is(200)
	w.bulk("?event=nightly&actor=%22bot%22", `[{"employeeId": "a", "salary": 2}]`).is(200)
	w.remove("?event=left&actor=7", "a").is(200)
	w.admin("GET", "/tables/employee/resources/a/history", "").is(200).
		says(`"op":"delete"`, `"event":"left","actor":7`, `"op":"update"`, `"event":"nightly","actor":"bot","fields":["salary"]`, `"op":"create"`, `"event":"hired äöü","actor":{"user":"ops"}`)
	w.event("?actor=bot", `{"employeeId": "a"}`).is(400).says("actor is not a JSON value; quote it")
}

func createsNew(w *world) {
	w.event("", `{"employeeId": "a"}`).is(200).has("result", "created", "id", "a")
	w.bulk("?groupKey=g", `[{"employeeId": "a"}, {"employeeId": "b"}]`).is(200).has("created", 2)
}

func updatesOrIgnores(w *world) {
	w.event("", `{"employeeId": "a", "salary": 1, "employee": {"username": "x", "email": "y"}}`).is(200).has("result", "created", "seq", 1)
	w.event("", `{ "employee": {"email": "y", "username": "x"}, "salary": 1.0, "employeeId": "\u0061" }`).is(200).has("result", "unchanged", "seq", 1)
	w.event("", `{"employeeId": "a", "salary": 1, "employee": {"username": "x"}}`).is(200).has("result", "updated", "seq", 2)
	w.event("", `{"employeeId": "a", "salary": 1}`).is(200).has("result", "updated", "seq", 3) // it is no patch: what is not sent is gone
	if got := w.admin("GET", "/tables/employee/resources/a", "").is(200); got.body["employee"] != nil {
		w.t.Errorf("a field that was not sent is still there: %s", got.raw)
	}
}

func checksSchema(w *world) {
	w.event("", `{"employeeId": "a", "active": "yes"}`).is(422).says(`"pointer":"/active"`)
	w.event("", `{"employeeId": "a", "salary": "19"}`).is(422).says(`"pointer":"/salary"`)
	w.nothingStored()
}

func (w *world) nothingStored() {
	w.t.Helper()
	if got := w.admin("GET", "/tables/employee/resources?deleted=true", "").is(200); got.raw != `{"items":[]}`+"\n" {
		w.t.Fatalf("something is stored: %s", got.raw)
	}
	for _, table := range []string{"ingest_resource", "ingest_change", "ingest_scope", "ingest_idempotency", "ingest_quarantine"} {
		if n := w.count("SELECT count(*) FROM " + table); n != 0 {
			w.t.Errorf("%s has %d rows", table, n)
		}
	}
}

func unknownFields(w *world) {
	w.event("", `{"employeeId": "a", "nickname": "x"}`).is(422).says(`"pointer":"/nickname"`)
	w.event("", `{"employeeId": "a", "_meta": {}}`).is(422).says(`"pointer":"/_meta"`)
	w.bulk("", `[{"employeeId": "a"}, {"employeeId": "b", "nickname": "x"}]`).is(422).says(`"pointer":"/1/nickname"`)
	w.nothingStored()
}

func lengths(w *world) {
	text := func(n int) string { return strings.Repeat("ä", n) } // characters, not bytes
	for _, tt := range []struct {
		query string
		want  int
	}{
		{"?event=" + url.QueryEscape(text(101)), 400},
		{"?groupKey=" + url.QueryEscape(text(101)), 400},
		{"?actor=" + url.QueryEscape(`"`+text(999)+`"`), 400},
		{"?event=a%0Ab", 400},
		{"?groupKey=%ff", 400},
	} {
		w.event(tt.query, `{"employeeId": "a"}`).is(tt.want)
		w.bulk(tt.query, `[{"employeeId": "a"}]`).is(tt.want)
		w.remove(tt.query, "a").is(tt.want)
	}
	w.nothingStored()
	w.event("?event="+url.QueryEscape(text(100))+"&groupKey="+url.QueryEscape(text(100))+"&actor="+url.QueryEscape(`"`+text(998)+`"`), `{"employeeId": "a"}`).is(200)
}

func missingID(w *world) {
	w.admin("POST", "/schemas", schemaBody("HR", "free", `{"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer"}}, "kedge": {"id": "id"}}`)).is(201)
	w.admin("POST", "/schemas", schemaBody("HR", "num", `{"type": "object", "properties": {"id": {"type": "integer"}}, "kedge": {"id": "id"}}`)).is(201)
	_, err := w.s.CreateIntegration(w.t.Context(), ingest.Integration{Name: "free", Tables: []string{"hr_free", "hr_num"}})
	w.must(err)
	w.key = w.newKey("free", "k", ingest.Rights{})
	for _, body := range []string{`{"n": 1}`, `{"id": ""}`, `{"id": "` + strings.Repeat("x", 256) + `"}`, `{"id": "a\u0007"}`} {
		w.send("POST", base+"/event/free", body).is(422).says("id is missing or not a string or integer")
	}
	w.send("POST", base+"/bulk-event/free", `[{"id": "a"}, {"n": 1}]`).is(422).says(`"pointer":"/1`)
	w.send("POST", base+"/bulk-event/free", `[{"id": "a"}, {"id": "a", "n": 1}]`).is(422).says("has the id of /0")
	w.nothingStored()
	w.send("POST", base+"/event/free", `{"id": "`+strings.Repeat("x", 255)+`"}`).is(200)
	w.send("POST", base+"/event/num", `{"id": 5.0}`).is(200).has("id", "5")
	w.send("POST", base+"/event/num", `{"id": 9007199254740993}`).is(200).has("id", "9007199254740993")
}

func bulkReplaces(w *world) {
	w.bulk("", `[{"employeeId":"a"},{"employeeId":"b"},{"employeeId":"c"}]`).is(200).has("received", 3, "created", 3, "seq", 3)
	w.bulk("?event=nightly&actor=%22bot%22", `[{"employeeId":"d"},{"employeeId":"a","salary":1},{"employeeId":"b","salary":1}]`).is(200).
		has("received", 3, "created", 1, "updated", 2, "removed", 1, "unchanged", 0, "seq", 7)
	w.admin("GET", "/tables/employee/resources/c/history", "").is(200).says(`{"items":[{"seq":7,"op":"delete"`, `"event":"nightly","actor":"bot"`, `{"seq":3,"op":"create"`)
	w.admin("GET", "/tables/employee/resources/d/history", "").is(200).says(`{"seq":4,"op":"create"`) // in payload order
	w.admin("GET", "/tables/employee/resources/c", "").is(200).says(`{"_meta":`, `"deleted":true`)
	w.bulk("", `[]`).is(422).says("allowEmpty=true")
	w.bulk("?allowEmpty=true", `[]`).is(200).has("removed", 3)
}

func bulkIgnores(w *world) {
	w.bulk("", `[{"employeeId":"a","salary":1},{"employeeId":"b"}]`).is(200)
	w.bulk("", `[{"employeeId":"b"},{"salary":1.00,"employeeId":"a"}]`).is(200).has("unchanged", 2, "updated", 0, "seq", 2)
}

func bulkChecks(w *world) {
	w.bulk("", `{"employeeId":"a"}`).is(400)
	w.bulk("", `[{"employeeId":"a"},{"employeeId":"b","active":1},{"employeeId":"c","nickname":1},{}]`).is(422).
		says(`"pointer":"/1/active"`, `"pointer":"/2/nickname"`, `"/3`)
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf(`{"employeeId":"e%d","salary":%d}`, i, i))
	}
	list[617] = `{"employeeId":"e617","salary":"x"}`
	w.bulk("", "["+strings.Join(list, ",")+"]").is(422).says(`"pointer":"/617/salary"`)
	w.nothingStored()
}

func deletes(w *world) {
	w.bulk("", `[{"employeeId":"a"},{"employeeId":"b,c"},{"employeeId":"[x"},{"employeeId":"d"}]`).is(200)
	w.event("?groupKey=g", `{"employeeId":"a"}`).is(200)
	del := func(query string) answer { return w.send("DELETE", base+"/bulk-event/employee"+query, "") }
	del("").is(400).says("resourceIds is missing")
	del("?resourceIds=").is(400)
	del("?resourceIds=a,,d").is(400)
	del("?resourceIds=a&resourceIds=nobody").is(200).has("removed", 1, "ignored", 1, "ignoredIds", "[nobody]")
	del("?resourceIds="+url.QueryEscape(`["b,c","[x"]`)).is(200).has("removed", 2)
	del("?resourceIds=d%2Ca").is(200).has("removed", 1, "ignored", 1) // deleted before; the other group's stays
	w.admin("GET", "/tables/employee/resources", "").is(200).says(`"groupKey":"g"`)
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprint(i))
	}
	del("?resourceIds="+strings.Join(ids, ",")).is(200).has("ignored", 1000)
	del("?resourceIds=" + strings.Join(append(ids, "x"), ",")).is(400)
}
