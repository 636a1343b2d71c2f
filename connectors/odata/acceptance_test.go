package odata_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// Each page is asked for with the same Accept and Prefer, and each query names
// its fields.
func TestRequestsOfAFullRead(t *testing.T) {
	for _, paging := range []string{"server", "keyset"} {
		s := odatatest.New(odatatest.Options{Rows: 2000, NoDelta: true})
		d := newDriver(t, s.Start(t), map[string]any{"tracking": "watermark", "paging": paging})
		fields := []string{"Name", "Balance"}
		l := local{}
		readAll(t, d, connectors.ReadRequest{Entity: "customers", Fields: fields, Size: 100}, l, nil) // probes are cached now
		same(t, s, "customers", fields, l)
		s.ForgetRequests()
		l = local{}
		readAll(t, d, connectors.ReadRequest{Entity: "customers", Fields: fields, Size: 100}, l, nil)
		same(t, s, "customers", fields, l)
		pages := 0
		for _, r := range s.Requests() {
			if r.Accept != "application/json;odata.metadata=minimal;IEEE754Compatible=true" {
				t.Errorf("Accept %q of %s?%s", r.Accept, r.Path, r.Query)
			}
			if strings.Contains(r.Query, "$top=1&") || strings.HasSuffix(r.Query, "$top=1") {
				continue // the handoff
			}
			pages++
			want := ""
			if paging == "server" {
				want = "odata.maxpagesize=100"
			}
			if r.Prefer != want {
				t.Errorf("%s: Prefer %q of %s?%s, want %q", paging, r.Prefer, r.Path, r.Query, want)
			}
			if !strings.Contains(r.Query, "$select=") && !strings.Contains(r.Query, "skiptoken") {
				t.Errorf("no $select in %s?%s", r.Path, r.Query)
			}
		}
		if n := len(s.Requests()); pages < 20 || n > pages+2 {
			t.Errorf("%s: %d requests for %d pages, want at most 2 more", paging, n, pages)
		}
	}
}

// 10 rows are deleted before the read comes to its second page. Next links that
// count rows would skip 10 live ones.
func TestOffsetTokensWithDeletes(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 300, NoDelta: true, Quirks: []string{odatatest.OffsetTokens}})
	d := newDriver(t, s.Start(t), nil)
	fields := fieldsOf(t, d, "customers")
	l := local{}
	readAll(t, d, connectors.ReadRequest{Entity: "customers", Fields: fields, Size: 50}, l, func(page int) {
		if page == 1 {
			for _, r := range s.Records("customers")[5:15] {
				if err := s.Delete("customers", r.Key); err != nil {
					t.Fatal(err)
				}
				delete(l, r.Key)
			}
		}
	})
	same(t, s, "customers", fields, l)
}

func TestOnlyChangesAreTransferred(t *testing.T) {
	for _, or := range []bool{true, false} {
		quirks := []string{}
		if !or {
			quirks = append(quirks, odatatest.NoOr)
		}
		s := odatatest.New(odatatest.Options{Rows: 200, NoDelta: true, Quirks: quirks})
		d := newDriver(t, s.Start(t), map[string]any{"overlapVersions": 0, "orFilters": or})
		req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 10}
		l := local{}
		req.Anchor, _ = readAll(t, d, req, l, nil)
		all := s.Records("customers")
		var edits []kedge.Record
		for i := range 25 { // one commit
			edits = append(edits, odatatest.Row("No", kedge.String(string(all[i*3].Key)), "Name", kedge.String(fmt.Sprint("new ", i))))
		}
		if err := s.Patch("customers", edits...); err != nil {
			t.Fatal(err)
		}
		anchor, n := readAll(t, d, req, l, nil)
		if n != 25 {
			t.Errorf("or %v: %d rows transferred after 25 edits", or, n)
		}
		same(t, s, "customers", []string{"Name"}, l)
		s.ForgetRequests()
		req.Anchor = anchor
		if _, n := readAll(t, d, req, l, nil); n != 0 || len(s.Requests()) > 2 || or && len(s.Requests()) != 1 {
			t.Errorf("or %v: without edits %d rows in %d requests, want 0 in 1 (2 without or)", or, n, len(s.Requests()))
		}
	}
}

func TestTimesComparedAsText(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 50, NoDelta: true, Quirks: []string{odatatest.TextTimeCompare}})
	url := s.Start(t)
	own := func(tracking string) map[string]any {
		return map[string]any{"entities": map[string]any{"customers": map[string]any{"versionField": "ModifiedAt", "tracking": tracking}}}
	}
	req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 50}
	const text = `time filter on "ModifiedAt" does not find its own row`

	_, err := newDriver(t, url, own("watermark")).ReadPage(t.Context(), req)
	if kedge.KindOf(err) != kedge.Invalid || !strings.Contains(err.Error(), text) {
		t.Errorf("watermark: got %v, want Invalid: %s", err, text)
	}
	d := newDriver(t, url, own("auto"))
	readAll(t, d, req, local{}, nil)
	schema, err := d.Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e := schema.Entity("customers"); e.Delta || !strings.Contains(e.Tracking, "full") || !strings.Contains(e.Tracking, text) {
		t.Errorf("auto: Delta %v, tracking %q; want full reads and the reason", e.Delta, e.Tracking)
	}
}

func TestExpiredDeltaLinks(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 50})
	d := newDriver(t, s.Start(t), map[string]any{"tracking": "delta"})
	req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 50}
	a, _ := readAll(t, d, req, local{}, nil)
	s.Expire()
	req.Anchor = a
	if _, err := d.ReadPage(t.Context(), req); kedge.KindOf(err) != kedge.AnchorExpired {
		t.Errorf("got %v, want AnchorExpired", err)
	}
}

// Statuses and codes of delta links, and what they mean.
func TestStatusOfDeltaLink(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		setBad bool // the set cannot be read either
		want   kedge.Kind
	}{
		{410, ``, false, kedge.AnchorExpired},
		{404, ``, false, kedge.AnchorExpired},
		{404, ``, true, kedge.NotFound},
		{400, `{"error":{"code":"bad","message":"x"}}`, false, kedge.AnchorExpired},
		{400, `{"error":{"code":"bad","message":"x"}}`, true, kedge.Invalid},
		{403, `{"error":{"code":"resyncRequired","message":"x"}}`, true, kedge.AnchorExpired},
		{403, `{"error":{"code":"myCode","message":"x"}}`, true, kedge.AnchorExpired},
		{403, ``, false, kedge.Forbidden},
		{500, ``, false, kedge.AnchorExpired},
		{500, ``, true, kedge.Transient},
		{501, ``, false, kedge.AnchorExpired},
		{503, ``, false, kedge.Transient},
	} {
		server := plainService(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.Contains(r.URL.RawQuery, "deltatoken"):
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.body)
			case tt.setBad && r.Header.Get("Prefer") == "":
				w.WriteHeader(tt.status)
			default:
				fmt.Fprint(w, `{"value":[{"No":"a","Name":"x"}],"@odata.deltaLink":"things?$deltatoken=1"}`)
			}
		})
		d := newDriver(t, server.URL, map[string]any{"tracking": "delta", "anchorExpiredCodes": []string{"myCode"}})
		req := connectors.ReadRequest{Entity: "things", Fields: []string{"Name"}, Size: 10}
		req.Anchor, _ = readAll(t, d, req, local{}, nil)
		_, err := d.ReadPage(t.Context(), req)
		if kedge.KindOf(err) != tt.want {
			t.Errorf("%d %s, set bad %v: got %v (%v), want %v", tt.status, tt.body, tt.setBad, kedge.KindOf(err), err, tt.want)
		}
	}
}

const plainMetadata = `<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="S" xmlns="http://docs.oasis-open.org/odata/ns/edm"><EntityType Name="T"><Key><PropertyRef Name="No"/></Key>
<Property Name="No" Type="Edm.String" Nullable="false"/><Property Name="Name" Type="Edm.String"/><Property Name="Amount" Type="Edm.Decimal"/>
<Property Name="Size" Type="Edm.Int64"/><Property Name="Ratio" Type="Edm.Double"/><Property Name="Data" Type="Edm.Binary"/></EntityType>
<EntityContainer Name="C"><EntitySet Name="things" EntityType="S.T"/></EntityContainer></Schema></edmx:DataServices></edmx:Edmx>`

// plainService is a service with the set things whose rows are answered by rows.
func plainService(t testing.TB, rows http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/$metadata") {
			fmt.Fprint(w, plainMetadata)
			return
		}
		rows(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// All digits survive, and a row that does not fit does not hold up the others.
func TestValuesAndBadRows(t *testing.T) {
	server := plainService(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Accept"), "IEEE754") {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		fmt.Fprint(w, `{"value":[{"No":"a","Size":9007199254740993,"Amount":19.90,"Ratio":"INF","Data":"-_8","Name":null},{"No":"b","Amount":1e-7},`+
			`{"No":"c","Name":7},{"No":"d","Name":"`+"\xff"+`"},{"No":"e","Name":"ok"}]}`)
	})
	d := newDriver(t, server.URL, map[string]any{"tracking": "full"})
	p, err := d.ReadPage(t.Context(), connectors.ReadRequest{Entity: "things", Fields: fieldsOf(t, d, "things"), Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Records) != 3 || len(p.Rejected) != 2 {
		t.Fatalf("got %d records, %d rejected; want 3 and 2", len(p.Records), len(p.Rejected))
	}
	a, b := p.Records[0], p.Records[1]
	for _, tt := range []struct{ got, want string }{
		{a.Get("Size").Text(), "9007199254740993"}, {a.Get("Amount").Text(), "19.90"}, {a.Get("Ratio").Text(), "INF"}, {a.Get("Data").Text(), "-_8"},
		{b.Get("Amount").Text(), "1e-7"}, {string(p.Rejected[0].Key), "c"}, {string(p.Rejected[1].Key), "d"}, {p.Rejected[0].Field, "Name"}, {p.Rejected[1].Field, "Name"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if !a.Get("Name").IsNull() || !b.Get("Name").IsMissing() {
		t.Errorf("Name: got %v and %v, want null and missing", a.Get("Name").Type(), b.Get("Name").Type())
	}
}

func TestForeignLinks(t *testing.T) {
	var asked atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	s := odatatest.New(odatatest.Options{Rows: 100, Quirks: []string{odatatest.ForeignLinks}, ForeignURL: other.URL})
	d := newDriver(t, s.Start(t), map[string]any{"paging": "server", "tracking": "full"})
	req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 10}
	p, err := d.ReadPage(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	req.Token = p.Next
	if _, err := d.ReadPage(t.Context(), req); kedge.KindOf(err) != kedge.Forbidden {
		t.Errorf("got %v, want Forbidden", err)
	}
	if asked.Load() != 0 {
		t.Errorf("the other host saw %d requests, want none", asked.Load())
	}
}

// The links of the service go in a circle.
func TestCircleOfLinks(t *testing.T) {
	for length := 1; length <= 7; length++ {
		server := plainService(t, func(w http.ResponseWriter, r *http.Request) {
			n := 0
			fmt.Sscanf(r.URL.Query().Get("page"), "%d", &n)
			fmt.Fprintf(w, `{"value":[{"No":"k%d"}],"@odata.nextLink":"things?page=%d"}`, n, n%length+1)
		})
		d := newDriver(t, server.URL, map[string]any{"tracking": "full", "paging": "server"})
		req := connectors.ReadRequest{Entity: "things", Fields: []string{"Name"}, Size: 10}
		var err error
		for range 50 {
			var p *connectors.Page
			if p, err = d.ReadPage(t.Context(), req); err != nil {
				break
			}
			req.Token = p.Next
		}
		if kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("circle of %d: got %v, want Invalid", length, err)
		}
	}
}

func TestSchemaOfXMLAndJSON(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 1})
	url := s.Start(t)
	xml, err := newDriver(t, url, nil).Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "application/json" {
			w.WriteHeader(http.StatusNotAcceptable)
			return
		}
		r.Host = ""
		s.Handler().ServeHTTP(w, r)
	}))
	defer proxy.Close()
	json, err := newDriver(t, proxy.URL, nil).Schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if xml.Hash != json.Hash || len(json.Entities) == 0 {
		t.Errorf("hashes %s and %s, want the same", xml.Hash, json.Hash)
	}
}

func TestMetadataThatIsNone(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   string
		kind   kedge.Kind
	}{
		{200, `<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"><edmx:DataServices/></edmx:Edmx>`,
			"this is an OData V2 service; kedge speaks OData 4.0 and 4.01", kedge.Invalid},
		{200, "<!DOCTYPE html><html><body>Sign in</body></html>", "HTML page", kedge.Invalid},
		{401, "", "check auth", kedge.Unauthorized},
		{403, "", "without the right", kedge.Forbidden},
		{404, "", "there is no $metadata at the url", kedge.NotFound},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		}))
		_, err := newDriver(t, server.URL, nil).Schema(t.Context())
		if err == nil || !strings.Contains(err.Error(), tt.want) || kedge.KindOf(err) != tt.kind {
			t.Errorf("%d %.30s: got %v (kind %v), want %v with %q", tt.status, tt.body, err, kedge.KindOf(err), tt.kind, tt.want)
		}
		server.Close()
	}
}

func TestCompany(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 20, Flavor: odatatest.BusinessCentral, Companies: []string{"CRONUS International Ltd.", "Other & Sons"}})
	url := s.Start(t)
	options := func(company string) map[string]any {
		return map[string]any{"flavor": "businesscentral", "company": company}
	}
	req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 10}
	for _, name := range []string{"CRONUS International Ltd.", "cronus international ltd."} {
		d := newDriver(t, url, options(name))
		l := local{}
		readAll(t, d, req, l, nil)
		same(t, s, "customers", []string{"Name"}, l)
	}
	for _, name := range []string{"Nobody", ""} {
		_, err := newDriver(t, url, options(name)).ReadPage(t.Context(), req)
		if err == nil || !strings.Contains(err.Error(), "CRONUS International Ltd., Other & Sons") || kedge.KindOf(err) != kedge.Invalid {
			t.Errorf("company %q: got %v, want the list of companies", name, err)
		}
	}
}

// A token is good for some requests only, so that it expires at every step of
// the read. No page is lost.
func TestTokenExpiresDuringTheRead(t *testing.T) {
	for uses := 1; uses <= 8; uses++ {
		s := odatatest.New(odatatest.Options{Rows: 60, Faults: []string{fmt.Sprint("auth-expiry=", uses)},
			Auth: odatatest.Auth{Kind: "oauth2", ClientID: "c", ClientSecret: "s"}})
		url := s.Start(t)
		d := newDriver(t, url, map[string]any{"auth": map[string]any{
			"type": "oauth2_client", "clientId": "c", "clientSecret": "s", "tokenURL": url + "oauth/token",
		}})
		l := local{}
		req := connectors.ReadRequest{Entity: "customers", Fields: []string{"Name"}, Size: 10}
		req.Anchor, _ = readAll(t, d, req, l, nil)
		edit(t, s, 1)
		readAll(t, d, req, l, nil)
		same(t, s, "customers", []string{"Name"}, l)
	}
}

func TestPushedFilters(t *testing.T) {
	for _, tt := range []struct {
		filter string
		noOr   bool
		want   string // in the query, decoded; "" means nothing is pushed
		exact  bool
	}{
		{"CreditLimit gt 5", false, "CreditLimit gt 5", true},
		{"Name eq 'it''s'", false, "Name eq 'it''s'", false},
		{"Name gt 'a' and Blocked", false, "Blocked eq true", false},
		{"Name gt 'a' or Blocked", false, "", false},
		{"CreditLimit eq 1 or Balance eq 2", true, "", false},
		{"CreditLimit eq 1 or CreditLimit eq 2", true, "CreditLimit eq 1 or CreditLimit eq 2", true},
		{"CreditLimit in (1,2)", false, "CreditLimit eq 1 or CreditLimit eq 2", true},
		{"tolower(Name) eq 'a'", false, "", false},
		{"not contains(Name,'x') and ModifiedAt ge 2026-01-31T10:00:00Z", false, "not (contains(Name,'x')) and ModifiedAt ge 2026-01-31T10:00:00Z", false},
		{"Address/City ne null", false, "Address/City ne null", false},
	} {
		s := odatatest.New(odatatest.Options{Rows: 60, NoDelta: true})
		d := newDriver(t, s.Start(t), map[string]any{"tracking": "full", "paging": "server", "orFilters": !tt.noOr})
		schema, err := d.Schema(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		expr, err := filter.Parse(tt.filter)
		if err == nil {
			expr, err = expr.Bind(schema.Entity("customers"), time.Time{})
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.ReadPage(t.Context(), connectors.ReadRequest{Entity: "customers", Fields: expr.Fields(), Filter: expr, Size: 100})
		if err != nil {
			t.Fatalf("%s: %v", tt.filter, err)
		}
		requests := s.Requests()
		query := requests[len(requests)-1].Query
		got := ""
		if i := strings.Index(query, "$filter="); i >= 0 {
			got, _, _ = strings.Cut(query[i+len("$filter="):], "&")
			r, _ := http.NewRequest("GET", "http://x/?f="+got, nil)
			got = r.URL.Query().Get("f")
		}
		if got != tt.want || p.Exact != tt.exact {
			t.Errorf("%s: pushed %q, exact %v; want %q, %v", tt.filter, got, p.Exact, tt.want, tt.exact)
		}
	}
}

// A link that expands a navigation gives the key of the row it leads to.
func TestReadKeys(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 30, Quirks: []string{odatatest.OddConstraint}})
	d := newDriver(t, s.Start(t), nil)
	fields := []string{"Name", "PrimaryContact/No", "Address/City"}
	all := s.Records("customers")
	keys := []kedge.Key{all[3].Key, "no/such'one", all[1].Key}
	found, err := d.ReadKeys(t.Context(), "customers", fields, keys)
	if err != nil {
		t.Fatal(err)
	}
	if !found[0].OK || found[1].OK || !found[2].OK {
		t.Fatalf("got %v %v %v, want found, not, found", found[0].OK, found[1].OK, found[2].OK)
	}
	r := found[0].Record
	if got := r.Fields.Names(); !slices.Equal(got, fields) || !kedge.Equal(r.Get("PrimaryContact/No"), all[3].Get("PrimaryContactNo")) ||
		!kedge.Equal(r.Get("Address/City"), all[3].Get("Address/City")) {
		t.Errorf("got fields %v, contact %q, city %q", got, r.Get("PrimaryContact/No").Text(), r.Get("Address/City").Text())
	}
	// A set that is gone is not a set of deleted rows.
	gone := plainService(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if _, err := newDriver(t, gone.URL, nil).ReadKeys(t.Context(), "things", nil, []kedge.Key{"a", "b"}); kedge.KindOf(err) != kedge.NotFound {
		t.Errorf("every key and the set itself answer 404: got %v, want NotFound", err)
	}
}

func TestCheck(t *testing.T) {
	s := odatatest.New(odatatest.Options{Rows: 100, NoDelta: true})
	proofs, err := newDriver(t, s.Start(t), nil).Check(t.Context(), "customers")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"metadata": "OData 4.0", "auth": "none", "paging": "keyset", "tracking": "watermark on RowVersion", "filter": "pushed", "etag": "sent with rows", "batch": "json"}
	for _, p := range proofs {
		if !p.OK || want[p.Name] != p.Result || p.Reason == "" {
			t.Errorf("%s: %v %q (%s), want %q with a reason", p.Name, p.OK, p.Result, p.Reason, want[p.Name])
		}
		delete(want, p.Name)
	}
	if len(want) > 0 {
		t.Errorf("no proof of %v", want)
	}
}
