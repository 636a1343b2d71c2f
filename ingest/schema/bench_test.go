package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/kedge-sync/kedge/ingest/schema"
	"github.com/kedge-sync/kedge/internal/jsonguard"
)

// oneKilobyte is a resource of about 1 KB for the schema of the employees.
func oneKilobyte(t testing.TB) (*schema.Schema, []byte) {
	s, err := schema.Parse([]byte(read(t, examples+"employee.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for i := range 40 {
		groups = append(groups, fmt.Sprintf(`"group-number-%02d"`, i))
	}
	var small bytes.Buffer
	if err := json.Compact(&small, []byte(read(t, examples+"employee.json"))); err != nil {
		t.Fatal(err)
	}
	return s, []byte(strings.Replace(small.String(), `"finance"`, strings.Join(groups, ","), 1))
}

// wide is a resource of about 1 KB with 60 scalars.
func wide(t testing.TB) (*schema.Schema, []byte) {
	var properties, values strings.Builder
	for i := range 60 {
		typ, value := "string", fmt.Sprintf(`"value %d"`, i)
		if i%3 == 0 {
			typ, value = "number", fmt.Sprintf("%d.50", i*1000)
		}
		fmt.Fprintf(&properties, `, "field%d": {"type": %q}`, i, typ)
		fmt.Fprintf(&values, `,"field%d":%s`, i, value)
	}
	s, err := schema.Parse([]byte(with(properties.String(), "")))
	if err != nil {
		t.Fatal(err)
	}
	return s, []byte(`{"id":"1"` + values.String() + `}`)
}

// The guards are what is done besides decoding and validating: scan and hash
// should take at most 1.25 times as long as those two.
func BenchmarkGuards(b *testing.B) {
	for name, resource := range map[string]func(testing.TB) (*schema.Schema, []byte){"nested": oneKilobyte, "wide": wide} {
		s, data := resource(b)
		v, counts, err := jsonguard.Decode(data, 0)
		if err != nil {
			b.Fatal(err)
		}
		run := func(what string, f func()) {
			b.Run(name+"/"+what, func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
		plainDecode := func() any {
			d := json.NewDecoder(bytes.NewReader(data))
			d.UseNumber()
			var v any
			if err := d.Decode(&v); err != nil {
				b.Fatal(err)
			}
			return v
		}
		run("scan", func() { _, _ = jsonguard.Scan(data, 0) })
		run("hash", func() { jsonguard.Hash(v) })
		run("scan+hash", func() { _, _ = jsonguard.Scan(data, 0); jsonguard.Hash(v) })
		run("decode+validate", func() {
			v, c, _ := jsonguard.Decode(data, 0)
			if err := s.Validate(v, &c); err != nil {
				b.Fatal(err)
			}
		})
		run("decode", func() { _, _, _ = jsonguard.Decode(data, 0) })
		run("validate", func() { _ = s.Validate(v, &counts) })
		run("decode by encoding-json", func() { plainDecode() })
		run("decode by encoding-json+validate", func() { _ = s.Validate(plainDecode(), &counts) })
		run("minify", func() { _, _ = jsonguard.Minify(nil, data) })
	}
}
