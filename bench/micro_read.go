package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/bench/floor/feed"
	"github.com/kedge-sync/kedge/connectors"
	"github.com/kedge-sync/kedge/connectors/odata"
	"github.com/kedge-sync/kedge/internal/httpclient"
)

// microRead reads all rows through the driver and drops them, and in turn
// decodes as many rows that are in memory already.
func microRead(in microInput) (finding, error) {
	var requests atomic.Int64
	d, err := odata.New(odata.Config{URL: in.url, EntityConfig: odata.EntityConfig{PageSize: feed.PageSize}}, connectors.Env{Name: "shop",
		HTTP: func(o httpclient.Options) (*httpclient.Client, error) {
			o.Observe = func(int, time.Duration) { requests.Add(1) }
			return httpclient.New(o)
		}})
	if err != nil {
		return finding{}, err
	}
	defer d.Close()
	req := connectors.ReadRequest{Entity: "customers", Size: feed.PageSize}
	for _, f := range customers(0).Entity.Fields {
		req.Fields = append(req.Fields, f.Name)
	}
	conn := connectors.New(d, &connectors.Options{PageSize: feed.PageSize})
	var rows int
	var heap uint64
	var wall time.Duration
	var anchor kedge.Anchor
	first := int64(0) // requests of the first read
	readAll := func() error {
		rows = 0
		begin := time.Now()
		for page, err := range conn.Pages(context.Background(), req) {
			if err != nil {
				return err
			}
			rows += len(page.Records)
			heap = max(heap, heapNow())
			anchor = page.Anchor
		}
		wall = time.Since(begin)
		first = cmp.Or(first, requests.Load())
		return nil
	}
	body, plan, err := firstPage(in)
	if err != nil {
		return finding{}, err
	}
	times, err := cpuOf(readAll, decodePage(plan, body))
	if err != nil {
		return finding{}, err
	}
	requests.Store(0)
	req.Anchor = anchor
	if err := readNothing(conn, req); err != nil {
		return finding{}, err
	}
	cpu, decode := times[0], times[1]*time.Duration(rows)/feed.PageSize
	r := atLeast(fmt.Sprintf("driver read of %s rows, no store, rows per CPU-second ÷ decode alone", thousands(rows)), ratio(decode, cpu), 0.6, "%.2f")
	r.Kedge, r.Floor = short(cpu)+" CPU, "+short(wall), short(decode)+" CPU"
	// What 4 pages take: their buffers and what was decoded from them.
	each, err := allocated(decodePage(plan, body))
	most := float64(4*(uint64(len(body))+each))/(1<<20) + 32
	return finding{Wall: wall, Rows: []row{r, atMost("its peak heap, MiB, against 4 pages + 32", float64(heap)/(1<<20), most, "%.0f"),
		atMost("its requests beyond one for each page", float64(first-int64(rows+feed.PageSize-1)/feed.PageSize), 2, "%.0f"),
		atMost("requests of an incremental read without changes", float64(requests.Load()), 1, "%.0f")}}, err
}

// readNothing reads on where nothing has changed.
func readNothing(conn *connectors.Conn, req connectors.ReadRequest) error {
	for page, err := range conn.Pages(context.Background(), req) {
		if err != nil || len(page.Records) > 0 {
			return fmt.Errorf("an incremental read without changes: %w", cmp.Or(err, errors.New("there are records")))
		}
	}
	return nil
}

// heapNow is the memory of the heap's objects, garbage included.
func heapNow() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// microFetch reads all pages as bytes.
func microFetch(in microInput) (finding, error) {
	begin := time.Now()
	const link = `"@odata.nextLink":"`
	for url := in.url + feed.Select; url != ""; {
		resp, err := feed.Get(url)
		if err != nil {
			return finding{}, err
		}
		var tail ring
		_, err = io.Copy(&tail, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return finding{}, fmt.Errorf("%s: %w", resp.Status, err)
		}
		_, next, _ := strings.Cut(string(tail.b), link)
		url, _, _ = strings.Cut(next, `"`)
	}
	return finding{Wall: time.Since(begin)}, nil
}

// A ring keeps the end of what is written to it.
type ring struct{ b []byte }

func (r *ring) Write(p []byte) (int, error) {
	const most = 4 << 10 // longer than a link
	r.b = append(r.b, p[max(0, len(p)-most):]...)
	r.b = append(r.b[:0], r.b[max(0, len(r.b)-most):]...)
	return len(p), nil
}
