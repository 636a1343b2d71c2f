package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/kedge-sync/kedge"
)

// benchRows is how many rows the page of the benchmarks has.
const benchRows = 1000

// benchPage is a page of 12 fields as Business Central sends them.
func benchPage() (*Plan, string) {
	cols := []Column{
		{Path: "id", Type: kedge.TypeString, Format: kedge.FormatGUID},
		{Path: "number", Type: kedge.TypeString},
		{Path: "displayName", Type: kedge.TypeString},
		{Path: "email", Type: kedge.TypeString},
		{Path: "balance", Type: kedge.TypeDecimal},
		{Path: "creditLimit", Type: kedge.TypeDecimal},
		{Path: "blocked", Type: kedge.TypeBool},
		{Path: "orders", Type: kedge.TypeInt},
		{Path: "rowVersion", Type: kedge.TypeInt},
		{Path: "phone", Type: kedge.TypeString},
		{Path: "city", Type: kedge.TypeString},
		{Path: "lastModifiedDateTime", Type: kedge.TypeTime},
	}
	plan, err := NewPlan(Spec{Set: "customers", Columns: cols, Key: cols[:1], Version: &cols[11]})
	if err != nil {
		panic(err)
	}
	var b strings.Builder
	b.WriteString(`{"@odata.context":"https://example.com/$metadata#customers","value":[`)
	for i := range benchRows {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"@odata.etag":"W/\"JzE5OzE%06d\"","id":"5d115c9c-44e3-ea11-bb43-%012x","number":"C%05d","displayName":"Customer number %d","email":"c%d@example.com","balance":"%d.90","creditLimit":0,"blocked":false,"orders":%d,"rowVersion":"%d","phone":null,"city":"K\u00f6ln","lastModifiedDateTime":"2026-01-%02dT10:20:%02d.%03dZ"}`,
			i, i, i, i, i, i*7, i, 900719925474+i, i%28+1, i%60, i%1000)
	}
	b.WriteString(`],"@odata.nextLink":"https://example.com/customers?$skiptoken=1"}`)
	return plan, b.String()
}

func BenchmarkPage(b *testing.B) {
	plan, body := benchPage()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		page, err := plan.Decode(body, benchRows)
		if err != nil || len(page.Records) != benchRows {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodingJSON(b *testing.B) {
	_, body := benchPage()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var page map[string]any
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJSONText only goes over the tokens: it keeps no value, and takes no
// memory for any.
func BenchmarkJSONText(b *testing.B) {
	_, body := benchPage()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		d := jsontext.NewDecoder(strings.NewReader(body))
		for {
			if _, err := d.ReadToken(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkJSONTextRecords makes the records of BenchmarkPage of the tokens, in
// the plain way.
func BenchmarkJSONTextRecords(b *testing.B) {
	plan, body := benchPage()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if records := recordsOfTokens(b, plan, body); len(records) != benchRows {
			b.Fatal(len(records))
		}
	}
}

func recordsOfTokens(b *testing.B, plan *Plan, body string) (records []kedge.Record) {
	d := jsontext.NewDecoder(strings.NewReader(body))
	next := func() jsontext.Token {
		t, err := d.ReadToken()
		if err != nil {
			b.Fatal(err)
		}
		return t
	}
	skip := func() {
		if err := d.SkipValue(); err != nil {
			b.Fatal(err)
		}
	}
	row := func() {
		r := kedge.Record{Fields: plan.fields, Values: make([]kedge.Value, plan.fields.Len())}
		for next(); d.PeekKind() != '}'; {
			name := next().String()
			switch i := plan.fields.Index(name); {
			case name == "@odata.etag":
				r.Version = next().String()
			case i < 0:
				skip()
			default:
				r.Values[i] = valueOfToken(b, &plan.cols[i], next())
			}
		}
		next()
		r.Key = kedge.NewKey(r.Values[plan.key[0]])
		records = append(records, r)
	}
	for next(); d.PeekKind() != '}'; {
		if next().String() != "value" {
			skip()
			continue
		}
		for next(); d.PeekKind() != ']'; {
			row()
		}
		next()
	}
	return records
}

func valueOfToken(b *testing.B, c *Column, t jsontext.Token) kedge.Value {
	switch t.Kind() {
	case 'n':
		return kedge.Null()
	case 't', 'f':
		return kedge.Bool(t.Bool())
	}
	v, err := fromText(c, t.String())
	if err != nil {
		b.Fatal(err)
	}
	return v
}
