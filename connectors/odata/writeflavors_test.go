package odata_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/odatatest"
)

// Records of the demo data are written in each flavor and version: parts of
// complex values, lookups, composite keys.
func TestWriteFlavors(t *testing.T) {
	for name, tt := range map[string]struct {
		service odatatest.Options
		options map[string]any
		lookup  string // the name of the lookup, where it is another one
	}{
		"generic":         {},
		"4.01":            {service: odatatest.Options{Version: odatatest.V401}},
		"businesscentral": {odatatest.Options{Flavor: odatatest.BusinessCentral}, map[string]any{"flavor": "businesscentral", "company": "CRONUS International Ltd."}, ""},
		"in isolation":    {odatatest.Options{Flavor: odatatest.BusinessCentral}, map[string]any{"flavor": "businesscentral", "company": "CRONUS International Ltd.", "atomic": true}, ""},
		"dataverse":       {odatatest.Options{Flavor: odatatest.Dataverse}, map[string]any{"flavor": "dataverse"}, "_primarycontactno_value"},
		"odd constraints": {odatatest.Options{Quirks: []string{odatatest.OddConstraint}}, nil, ""},
		"odd errors":      {odatatest.Options{Quirks: []string{odatatest.OddErrors}}, nil, ""},
		"without ETags":   {odatatest.Options{NoVersion: true}, nil, ""},
		"with If-Match":   {odatatest.Options{NeedIfMatch: true}, nil, ""},
		"ids elsewhere":   {odatatest.Options{Quirks: []string{odatatest.BatchWrongHost}}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := tt.service
			o.Rows = 5
			s := odatatest.New(o)
			d := newDriver(t, s.Start(t), tt.options)
			contact := "PrimaryContactNo"
			setDefault(&contact, tt.lookup)
			full := values{
				"No": str("X1"), "Name": str("Zoë & Co"), "Address/Street": str("High Street"), "Address/City": str("Praha"),
				"Balance": kedge.Decimal("19.90"), "CreditLimit": kedge.Int(9007199254740993), "Blocked": kedge.Bool(true), contact: str("K1"),
			}
			if c := s.Records("contacts"); len(c) > 0 {
				full[contact] = kedge.String(string(c[0].Key))
			}
			line := values{"OrderNo": str("X1"), "LineNo": kedge.Int(5), "Quantity": kedge.Decimal("1.250")}
			wantOutcomes(t, "customers", write(t, d, change(kedge.Insert, "customers", "X1", full), change(kedge.Upsert, "customers", "X2", values{"Blocked": kedge.Bool(false)})), "inserted inserted")
			wantRecord(t, s, "customers", "X1", full)
			orders := s.Records("orders")
			line["OrderNo"] = kedge.String(string(orders[0].Key))
			key := kedge.NewKey(line["OrderNo"], line["LineNo"])
			wantOutcomes(t, "line", write(t, d, change(kedge.Upsert, "orderLines", key, line)), "inserted")
			wantRecord(t, s, "orderLines", key, line)

			part := values{"Address/City": str("Brno"), contact: kedge.Null()}
			wantOutcomes(t, "part", write(t, d, change(kedge.Update, "customers", "X1", part)), "updated")
			for n, v := range part {
				full[n] = v
			}
			wantRecord(t, s, "customers", "X1", full)
			nothing := values{"Address/Street": kedge.Null(), "Address/City": kedge.Null(), "Address/PostCode": kedge.Null(), "Address/CountryRegionCode": kedge.Null()}
			wantOutcomes(t, "no address", write(t, d, change(kedge.Update, "customers", "X1", nothing)), "updated")
			wantRecord(t, s, "customers", "X1", nothing)
			wantOutcomes(t, "taken", write(t, d, change(kedge.Insert, "customers", "X1", full)), "rejected:conflict")
		})
	}
}

func setDefault(p *string, v string) {
	if v != "" {
		*p = v
	}
}

func wantRecord(t testing.TB, s *odatatest.Service, set string, key kedge.Key, want values) {
	t.Helper()
	r := record(t, s, set, key)
	if r == nil {
		t.Errorf("%s has no record with the key", set)
		return
	}
	for name, v := range want {
		if got := r.Get(name); !kedge.Equal(got, v) {
			t.Errorf("%s: got %v %q, want %v %q", name, got.Type(), got.Text(), v.Type(), v.Text())
		}
	}
}

// Options of writing that cannot be are refused by their path.
func TestWriteOptions(t *testing.T) {
	for _, tt := range []struct {
		options map[string]any
		want    string
	}{
		{map[string]any{"batch": "zip"}, `batch: "zip" is not one of auto, multipart, json, none`},
		{map[string]any{"flavor": "graph", "batchSize": 21}, "batchSize: 21 is not between 1 and 20"},
		{map[string]any{"flavor": "businesscentral", "batchSize": 101}, "batchSize: 101 is not between 1 and 100"},
		{map[string]any{"flavor": "graph", "atomic": true}, "atomic: Microsoft Graph has no atomic batches"},
		{map[string]any{"flavor": "graph", "entities": map[string]any{"users": map[string]any{"atomic": true}}}, "entities.users.atomic: Microsoft Graph has no atomic batches"},
		{map[string]any{"atomic": true, "batch": "none"}, "atomic: needs batches, but batch is none"},
		{map[string]any{"upsert": "maybe"}, `upsert: "maybe" is not one of ladder, native, off`},
		{map[string]any{"entities": map[string]any{"x": map[string]any{"ifMatch": "no"}}}, `entities.x.ifMatch: "no" is not one of always, etag_only, never`},
		{map[string]any{"csrf": "on"}, `csrf: "on" is not one of auto, off`},
	} {
		if err := tryOptions(t, tt.options); err == nil || err.Error() != "connections.test."+tt.want {
			t.Errorf("%v: got %v, want connections.test.%s", tt.options, err, tt.want)
		}
	}
	s := odatatest.New(odatatest.Options{Rows: 1})
	d := newDriver(t, s.Start(t), map[string]any{"entities": map[string]any{"customers": map[string]any{"alternateKey": []string{"Nope"}}}})
	if _, err := d.Schema(t.Context()); err == nil || err.Error() != `connections.test.entities.customers.alternateKey: there is no field "Nope"` {
		t.Errorf("an alternate key of no field: got %v", err)
	}
	d = newDriver(t, s.Start(t), map[string]any{"alternateKey": []string{"Email"}})
	if _, err := d.Schema(t.Context()); err != nil {
		t.Errorf("an alternate key that only some entities have: %v", err)
	}
}

// tryOptions makes a driver with options and returns why it cannot.
func tryOptions(t testing.TB, options map[string]any) error {
	t.Helper()
	block := map[string]any{"url": "https://crm.example/odata/"}
	maps.Copy(block, options)
	text, err := json.Marshal(block)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := odata.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	d, err := odata.New(cfg, testEnv())
	if err == nil {
		d.Close()
	}
	return err
}
