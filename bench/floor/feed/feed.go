// Package feed is the reading half of the floors: the least code that fetches
// the customers of the benchmark's OData service and takes them apart.
//
// It knows the one shape that is asked for, byte by byte, and follows links
// until there are none. It retries nothing, checks no UTF-8, and would fail on
// a service that orders members in another way: what kedge does beyond this is
// what the ratios measure.
package feed

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Select is the query for the shape that a [Customer] has.
const Select = "customers?%24select=No,Name,Street,City,PostCode,Country,Email,Phone,Balance,Blocked,RowVersion,ModifiedAt"

// PageSize is how many rows a page has.
const PageSize = 1000

// CommitRows is how many rows the floors that write commit at once, as kedge's
// sync.commitRows.
const CommitRows = 20000

// A Summary is what a floor prints at its end, as JSON.
type Summary struct {
	Rows  int
	Delta string // where the next incremental read begins
	Sum   uint64 // of whatever the floor computes from the rows
}

// A Reader fetches pages one after the other. A page is valid until the next.
type Reader struct {
	URL   string // of the next page; "" after the last one
	Delta string // link of the last page

	page []Customer
	body strings.Builder
}

// Flags returns the reader that the command line describes, and the DSN of the
// sink if it has one.
func Flags() (*Reader, string) {
	url := flag.String("url", "", "first page, or a delta link")
	dsn := flag.String("dsn", "", "where to write")
	flag.Parse()
	return &Reader{URL: *url, page: make([]Customer, 0, PageSize)}, *dsn
}

// Next returns the next page, or nil after the last one.
func (r *Reader) Next() ([]Customer, error) {
	if r.URL == "" {
		return nil, nil
	}
	body, err := r.fetch()
	if err != nil {
		return nil, err
	}
	d := decoder{s: body}
	r.page = d.page(r.page[:0])
	if d.bad {
		return nil, fmt.Errorf("the page has another shape at byte %d", d.i)
	}
	r.URL, r.Delta = d.next, d.delta
	return r.page, nil
}

// Batch returns the next pages, until they make a commit, or nil after the last one.
func (r *Reader) Batch(batch []Customer) ([]Customer, error) {
	batch = batch[:0]
	for len(batch) < CommitRows {
		page, err := r.Next()
		if err != nil {
			return nil, err
		}
		if batch = append(batch, page...); r.URL == "" {
			break
		}
	}
	return batch, nil
}

// Body returns the page as it was sent.
func (r *Reader) Body() string { return r.body.String() }

func (r *Reader) fetch() (string, error) {
	resp, err := Get(r.URL)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	r.body = strings.Builder{}
	r.body.Grow(int(max(resp.ContentLength, 0)))
	_, err = io.Copy(&r.body, resp.Body)
	return r.body.String(), err
}

// Get sends the request that kedge sends, so that both get the very same bytes.
func Get(url string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json;odata.metadata=minimal;IEEE754Compatible=true")
	req.Header.Set("OData-MaxVersion", "4.01")
	req.Header.Set("Prefer", fmt.Sprintf("odata.track-changes,odata.maxpagesize=%d", PageSize))
	return http.DefaultClient.Do(req)
}
