// Command hash is the floor of a full re-sync: it fetches and decodes every
// row and hashes its fields, and writes nothing.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/kedge-sync/kedge/bench/floor/feed"
)

func main() {
	r, _ := feed.Flags()
	var s feed.Summary
	var buf []byte
	for r.URL != "" {
		page, err := r.Next()
		if err != nil {
			log.Fatal(err)
		}
		for i := range page {
			c := &page[i]
			buf = buf[:0]
			for _, text := range [...]string{c.No, c.Name, c.Street, c.City, c.PostCode, c.Country, c.Email, c.Phone, c.Balance, c.ModifiedAt} {
				buf = append(append(buf, text...), 0)
			}
			buf = strconv.AppendInt(strconv.AppendBool(buf, c.Blocked), c.RowVersion, 10)
			s.Sum += xxhash.Sum64(buf)
		}
		s.Rows += len(page)
	}
	s.Delta = r.Delta
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		log.Fatal(err)
	}
}
