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
	bytes := []byte(body)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		page, err := plan.Decode(string(bytes), benchRows)
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
