package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/bench/floor/feed"
	"github.com/kedge-sync/kedge/connectors/filter"
	"github.com/kedge-sync/kedge/connectors/odata/csdl"
	"github.com/kedge-sync/kedge/connectors/odata/wire"
)

// firstPage returns the first page of the service and the plan that decodes it.
func firstPage(in microInput) (string, *wire.Plan, error) {
	r := feed.Reader{URL: in.url + feed.Select}
	if _, err := r.Next(); err != nil {
		return "", nil, err
	}
	ent := customers(0).Entity
	spec := wire.Spec{Set: ent.Name}
	for _, f := range ent.Fields {
		spec.Columns = append(spec.Columns, wire.Column{Path: f.Name, Type: f.Type})
	}
	spec.Key, spec.Version = spec.Columns[:1], &spec.Columns[len(spec.Columns)-2]
	plan, err := wire.NewPlan(spec)
	return r.Body(), plan, err
}

func decodePage(plan *wire.Plan, body string) func() error {
	return func() error {
		page, err := plan.Decode(body, feed.PageSize)
		if err == nil && (len(page.Records) != feed.PageSize || len(page.Rejected) > 0) {
			err = fmt.Errorf("%d records and %d rejected ones in a page", len(page.Records), len(page.Rejected))
		}
		return err
	}
}

// microDecode measures the page decoder.
func microDecode(in microInput) (finding, error) {
	body, plan, err := firstPage(in)
	if err != nil {
		return finding{}, err
	}
	raw := []byte(body)
	decode := decodePage(plan, body)
	times, err := cpuOf(decode,
		func() error {
			var v map[string]any
			return json.Unmarshal(raw, &v)
		},
		func() error { return jsonStream(raw) })
	if err != nil {
		return finding{}, err
	}
	maps := atLeast("decode a page, rows per CPU-second ÷ encoding/json into maps", ratio(times[1], times[0]), 6, "%.1f")
	tokens := atLeast("the same ÷ a jsontext stream that keeps each row's texts", ratio(times[2], times[0]), 2, "%.1f")
	maps.Kedge, maps.Floor = perRow(times[0], feed.PageSize), perRow(times[1], feed.PageSize)
	tokens.Kedge, tokens.Floor = maps.Kedge, perRow(times[2], feed.PageSize)
	beyond, err := allocated(decode)
	if err != nil {
		return finding{}, err
	}
	slab := feed.PageSize * (uint64(unsafe.Sizeof(kedge.Record{})) + 12*uint64(unsafe.Sizeof(kedge.Value{})))
	extra := (float64(beyond) - float64(slab)) / feed.PageSize
	return finding{Rows: []row{maps, tokens, atMost("bytes per row beyond buffer and slab", extra, 32, "%.0f")}}, nil
}

// jsonStream reads a page token by token and keeps the texts of each row, by
// the position of their field.
func jsonStream(raw []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	at := map[string]int{}
	for i, f := range customers(0).Entity.Fields {
		at[f.Name] = i
	}
	var rows [][]string
	for {
		t, err := d.ReadToken()
		if err == io.EOF && len(rows) == feed.PageSize {
			return nil
		} else if err != nil {
			return fmt.Errorf("%d rows: %w", len(rows), err)
		}
		if t.Kind() != '{' || d.StackDepth() != 3 { // a row: in the list, in the page
			continue
		}
		row := make([]string, len(at))
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return err
			}
			i, known := at[name.String()]
			value, err := d.ReadToken()
			if err != nil {
				return err
			}
			if known {
				row[i] = value.String()
			}
		}
		rows = append(rows, row)
	}
}

// allocated returns how many bytes a call allocates.
func allocated(work func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := work()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, err
}

const fiveTerms = "Blocked eq false and RowVersion gt 0 and Country ne 'Nowhere' and (startswith(City,'M') or Balance ge -1)"

// microFilter measures a filter against the decoding of the records it tests.
func microFilter(in microInput) (finding, error) {
	body, plan, err := firstPage(in)
	if err != nil {
		return finding{}, err
	}
	page, err := plan.Decode(body, feed.PageSize)
	if err != nil {
		return finding{}, err
	}
	expr, err := filter.Parse(fiveTerms)
	if err != nil {
		return finding{}, err
	}
	ent := customers(0).Entity
	if expr, err = expr.Bind(&ent, time.Now()); err != nil {
		return finding{}, err
	}
	match := func() error {
		for i := range page.Records {
			if _, err := expr.Match(&page.Records[i]); err != nil {
				return err
			}
		}
		return nil
	}
	times, err := cpuOf(match, decodePage(plan, body))
	if err != nil {
		return finding{}, err
	}
	r := atMost("filter of 5 terms, time ÷ decoding the record", ratio(times[0], times[1]), 0.2, "%.2f")
	r.Kedge, r.Floor = perRow(times[0], feed.PageSize), perRow(times[1], feed.PageSize)
	n, err := mallocs(match)
	return finding{Rows: []row{r, atMost("its allocations per record", float64(n)/feed.PageSize, 0, "%.0f")}}, err
}

func mallocs(work func() error) (uint64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := work()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs, err
}

// microMetadata measures the metadata of Microsoft Graph, 3.4 MB.
func microMetadata(in microInput) (finding, error) {
	body, err := os.ReadFile(filepath.Join(in.root, "..", "shared", "data", "csdl", "msgraph-v1.0.csdl"))
	if err != nil {
		return finding{}, err
	}
	times, err := cpuOf(
		func() error {
			_, err := csdl.Parse(body)
			return err
		},
		func() error { return xmlTokens(string(body)) })
	if err != nil {
		return finding{}, err
	}
	r := atMost("$metadata of Microsoft Graph, time ÷ an encoding/xml token pass", ratio(times[0], times[1]), 2, "%.2f")
	r.Kedge, r.Floor = short(times[0])+" CPU", short(times[1])+" CPU"
	kept, err := retained(body)
	return finding{Rows: []row{r, atMost("its MiB kept", kept/(1<<20), 48, "%.0f")}}, err
}

func xmlTokens(text string) error {
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.RawToken(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// retained returns the bytes that the parsed metadata keeps alive.
func retained(body []byte) (float64, error) {
	before := liveHeap()
	m, err := csdl.Parse(body)
	after := liveHeap()
	runtime.KeepAlive(m)
	return float64(after) - float64(before), err
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
