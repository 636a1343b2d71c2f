package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

func TestMetricsOfRuns(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00003"), "Balance", kedge.JSON(`"much"`))); err != nil {
			t.Fatal(err)
		}
		s.run("filed", "")
		resp, err := http.Get(s.url + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`kedge_sync_rows_total{direction="download",entity="customers",integration="filed",result="created"} 14`,
			`kedge_sync_rows_total{direction="download",entity="customers",integration="filed",result="quarantined"} 1`,
			`kedge_sync_run_seconds_count{integration="filed",op="sync",state="partial"} 1`,
			`kedge_anchor_age_seconds{direction="download",entity="customers",integration="filed"} `,
			`kedge_quarantine_rows{integration="filed"} 1`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("no %s", want)
			}
		}
		if strings.Contains(string(text), "C00003") {
			t.Error("a key is in the metrics")
		}
	})
}

func TestAPIOfRecords(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		bad := odatatest.Row("No", kedge.String("C00003"), "Balance", kedge.JSON(`"much"`))
		if err := s.service.Patch("customers", bad); err != nil {
			t.Fatal(err)
		}
		if state := s.run("filed", ""); state != "partial" {
			t.Errorf("state %s", state)
		}
		rows := s.items("/quarantine?filter=entity%20eq%20'customers'")
		if len(rows) != 1 {
			t.Fatalf("quarantine %v", rows)
		}
		id := rows[0]["id"].(string)
		if got := s.do(200, "GET", "/quarantine/"+id, ""); !strings.Contains(fmt.Sprint(got["payload"]), "much") {
			t.Errorf("record %v", got)
		}
		s.do(404, "GET", "/quarantine/none", "")
		s.do(422, "POST", "/quarantine/retry", `{}`)
		s.do(422, "POST", "/quarantine/retry", `{"ids": ["x"], "all": true}`)
		s.do(422, "POST", "/quarantine/retry", `{"ids": ["x"], "entity": "customers"}`)
		s.do(422, "POST", "/quarantine/retry", `{"all": true, "integration": "none"}`)
		s.do(422, "POST", "/quarantine/retry", `{"ids": [`+strings.Repeat(`"x",`, most)+`"x"]}`)
		s.do(409, "POST", "/quarantine/retry", `{"ids": [`+strings.Repeat(`"x",`, most-1)+`"x"]}`)
		got := s.do(202, "POST", "/quarantine/retry", `{"all": true, "integration": "filed", "entity": "customers"}`)
		if state := s.follow(got["runs"].([]any)[0].(map[string]any)["id"].(string)); state != "partial" {
			t.Errorf("retry %v", got)
		}
		s.do(409, "POST", "/quarantine/drop", `{"ids": ["x"]}`)
		s.do(422, "POST", "/quarantine/drop", `{}`)
		s.do(200, "POST", "/quarantine/drop", `{"ids": ["`+id+`"]}`)
		if open, all := s.items("/quarantine"), s.items("/quarantine?all=true"); len(open) != 0 || len(all) != 1 {
			t.Errorf("open %v, all %v", open, all)
		}

		// A conflict waits, is shown and resolved; what is sent has a transaction.
		s.run("filed", "")
		s.sql("UPDATE customer SET name = 'Ours' WHERE no = 'C00001'")
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00001"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		s.run("filed", "")
		conflicts := s.items("/conflicts")
		if len(conflicts) != 1 {
			t.Fatalf("conflicts %v", conflicts)
		}
		id = conflicts[0]["id"].(string)
		if got := s.do(200, "GET", "/conflicts/"+id, ""); !strings.Contains(fmt.Sprint(got["fields"]), "Ours") {
			t.Errorf("conflict %v", got)
		}
		s.do(404, "GET", "/conflicts/none", "")
		s.do(404, "POST", "/conflicts/none/resolve", `{"take": "local"}`)
		s.do(422, "POST", "/conflicts/"+id+"/resolve", `{"take": "mine"}`)
		s.do(422, "POST", "/conflicts/"+id+"/resolve", `{"take": "local", "set": {"name": "x"}}`)
		if got := s.do(200, "POST", "/conflicts/"+id+"/resolve", `{"take": "local"}`); got["sends"] != true {
			t.Errorf("resolved %v", got)
		}
		s.run("filed", "")
		sent := s.items("/transactions?filter=state%20eq%20'applied'&orderby=createdAt")
		if len(sent) == 0 {
			t.Fatal("no transaction")
		}
		if got := s.do(200, "GET", "/transactions/"+sent[len(sent)-1]["id"].(string), ""); !strings.Contains(fmt.Sprint(got["sent"]), "Ours") {
			t.Errorf("transaction %v", got)
		}
		s.do(404, "GET", "/transactions/none", "")
		for _, verb := range []string{"retry", "archive"} {
			s.do(422, "POST", "/transactions/"+verb, `{}`)
			s.do(409, "POST", "/transactions/"+verb, `{"ids": ["none"]}`)
			s.do(200, "POST", "/transactions/"+verb, `{"allFailed": true, "integration": "filed"}`)
		}
		if got := s.items("/deletes"); len(got) != 0 {
			t.Errorf("deletes %v", got)
		}
		s.do(422, "POST", "/deletes/discard", `{}`)
		s.do(422, "POST", "/deletes/discard", `{"integration": "none"}`)
		s.do(200, "POST", "/deletes/discard", `{"integration": "filed"}`)
	})
}

// walk returns how many different items the pages of a list have.
func (s *site) walk(path, id string) int {
	s.t.Helper()
	seen, cursor := map[any]bool{}, ""
	for {
		_, text := s.send(200, "GET", path+"&limit=2&cursor="+cursor, "")
		var v struct {
			Items []map[string]any
			Next  string
		}
		if err := json.Unmarshal(text, &v); err != nil {
			s.t.Fatal(err)
		}
		for _, item := range v.Items {
			if seen[item[id]] {
				s.t.Errorf("%s: an item comes twice", path)
			}
			seen[item[id]] = true
		}
		if cursor = v.Next; cursor == "" {
			return len(seen)
		}
	}
}

func TestPagesOfAPI(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		for _, no := range []string{"C00001", "C00002", "C00003", "C00004", "C00005"} {
			if err := s.service.Patch("customers", odatatest.Row("No", kedge.String(no), "Balance", kedge.JSON(`"much"`))); err != nil {
				t.Fatal(err)
			}
		}
		s.run("filed", "")
		for _, order := range []string{"", "at", "at%20desc", "key", "entity", "attempts%20desc", "id"} {
			if n := s.walk("/quarantine?orderby="+order, "id"); n != 5 {
				t.Errorf("%d rows by %q", n, order)
			}
		}
		if n := s.walk("/log?orderby=at", "id"); n < 6 {
			t.Errorf("%d log rows", n)
		}

		// Deletes over the limit wait for a person.
		var gone []kedge.Key
		for i := 7; i <= 15; i++ {
			gone = append(gone, kedge.Key(fmt.Sprintf("C%05d", i)))
		}
		if err := s.service.Delete("customers", gone...); err != nil {
			t.Fatal(err)
		}
		if state := s.run("filed", `{"full": true}`); state != "stopped" {
			t.Errorf("state %s", state)
		}
		for _, order := range []string{"", "localKey", "reason%20desc"} {
			if n := s.walk("/deletes?orderby="+order, "externalKey"); n != 9 {
				t.Errorf("%d deletes by %q", n, order)
			}
		}
		if state := s.run("filed", `{"forceDeletes": true}`); state == "stopped" {
			t.Errorf("state %s", state)
		}
		if n := s.walk("/deletes?", "externalKey"); n != 0 {
			t.Errorf("%d deletes", n)
		}

		// Uploads and conflicts.
		for i := 1; i <= 5; i++ {
			no := fmt.Sprintf("C%05d", i)
			if err := s.service.Patch("customers", odatatest.Row("No", kedge.String(no), "Balance", kedge.Decimal("1.00"))); err != nil {
				t.Fatal(err)
			}
		}
		s.run("filed", "")
		s.sql("UPDATE customer SET name = 'Ours'")
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00001"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00002"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		if err := s.service.Patch("customers", odatatest.Row("No", kedge.String("C00003"), "Name", kedge.String("Theirs"))); err != nil {
			t.Fatal(err)
		}
		s.run("filed", "")
		for _, order := range []string{"", "at", "localKey", "policy"} {
			if n := s.walk("/conflicts?orderby="+order, "id"); n != 3 {
				t.Errorf("%d conflicts by %q", n, order)
			}
		}
		for _, order := range []string{"", "createdAt", "localKey", "state", "attempts"} {
			if n := s.walk("/transactions?orderby="+order, "id"); n < 5 {
				t.Errorf("%d transactions by %q", n, order)
			}
		}
	})
}

// The routes of subscriptions answer as openapi.yaml says; what they do is
// tested with them.
func TestAPIOfSubscriptions(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		token := s.do(201, "POST", "/push-tokens", `{"account": "acme", "grants": [{"entity": "order", "manage": true}]}`)["token"].(string)
		s.items("/push-tokens?account=acme")
		sub := s.do(201, "POST", "/subscriptions", `{"account": "acme", "url": "https://hooks.example.com/x", "resource": "order", "events": ["create"]}`)["id"].(string)
		s.items("/subscriptions?state=active")
		path := "/subscriptions/" + sub
		for _, list := range []string{"/attempts", "/deliveries", "/deliveries?state=dead", "/gaps"} {
			s.items(path + list)
		}
		s.do(200, "GET", path, "")
		s.do(200, "PATCH", path, `{"description": "x"}`)
		s.do(200, "POST", path+"/rotate-secret", "")
		s.do(404, "GET", path+"/events/msg_1", "")
		for _, own := range []string{"/subscriptions", path, path + "/attempts", path + "/gaps", "/resources", "/resources/order", "/resources/order/$schema", "/resources/order/$sample"} {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+own, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 200 {
				t.Errorf("%s: %d", own, resp.StatusCode)
			}
		}
		s.do(200, "DELETE", path, "")
		s.do(404, "GET", path, "")
	})
}

func TestAPIOfConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		if got := s.items("/connections?filter=kind%20eq%20'odata'"); len(got) != 2 || got[0]["from"] != "file" {
			t.Errorf("connections %v", got)
		}
		s.do(200, "GET", "/connections/crm", "")
		if got := s.do(200, "POST", "/connections/crm/test", `{"entity": "customers"}`); got["entities"].(float64) < 2 || got["proofs"] == nil {
			t.Errorf("test %v", got)
		}
		s.do(422, "POST", "/connections/crm/test", `{"entity": "none"}`)
		s.do(422, "POST", "/connections/crm/test", `{"write": true}`)
		if got := s.do(502, "POST", "/connections/down/test", ""); got["type"] != "urn:kedge:problem:transient" {
			t.Errorf("a system that is down: %v", got)
		}
		if got := s.items("/log?filter=operation%20eq%20'connection'"); len(got) < 2 {
			t.Errorf("log %v", got)
		}
		if got := s.do(200, "GET", "/connections/crm/schema?entity=customers", ""); len(got["entities"].([]any)) != 1 {
			t.Errorf("schema %v", got)
		}
		s.do(404, "GET", "/connections/crm/schema?entity=none", "")
		s.do(502, "GET", "/connections/down/schema", "")
		if got := s.do(200, "POST", "/connections/crm/schema/refresh", ""); len(got["changes"].([]any)) == 0 {
			t.Errorf("refresh %v", got)
		}
		s.do(502, "POST", "/connections/down/schema/refresh", "")
		for _, call := range []string{"GET ", "POST /test", "GET /schema", "POST /schema/refresh"} {
			method, path, _ := strings.Cut(call, " ")
			s.do(404, method, "/connections/none"+path, "")
		}
	})
}

func TestAPIOfTokensAndConfig(t *testing.T) {
	onBoth(t, func(t *testing.T, s *site) {
		if got := s.do(200, "POST", "/config/reload", ""); got["integrations"] != 1.0 {
			t.Errorf("reloaded %v", got)
		}
		s.do(422, "POST", "/tokens", `{"name": "ops", "scope": "all"}`)
		secret := s.do(201, "POST", "/tokens", `{"name": "ops", "scope": "admin"}`)["token"].(string)
		auth := []string{"Authorization", "Bearer " + secret}
		s.do(401, "GET", "/tokens", "")
		s.do(409, "POST", "/tokens", `{"name": "ops", "scope": "admin"}`, auth...)
		s.do(201, "POST", "/integrations", `{"name": "new", "external": "crm"}`, auth...)
		if got := s.do(200, "GET", "/integrations/new", "", auth...); got["integration"].(map[string]any)["author"] != "ops" {
			t.Errorf("author of %v", got)
		}
		s.do(200, "GET", "/tokens", "", auth...)
		s.do(404, "DELETE", "/tokens/none", "", auth...)
		s.do(204, "DELETE", "/tokens/ops", "", auth...)
		s.do(401, "GET", "/tokens", "", auth...)
	})
}
