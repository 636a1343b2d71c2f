package subscriptions_test

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/internal/store"
)

func TestSpeed(t *testing.T) {
	if os.Getenv("SPEED") == "" {
		t.Skip("only by hand")
	}
	subs, _ := strconv.Atoi(os.Getenv("SPEED"))
	each(t, func(t *testing.T, db *store.Store) {
		w := newWorld(t, db)
		w.cfg.Limits.PerAccount = 100000
		w.s = w.service(newOptions())
		x := newReceiver(t, func(w http.ResponseWriter, r *http.Request, p push) { w.WriteHeader(204) })
		for range subs {
			w.subscribe(x.URL, `{"url":"%s","resource":"tasks","events":["create"],"concurrency":32}`)
		}
		w.run(w.s)
		n := 10000 / subs
		begin := time.Now()
		var list []kedge.Event
		for i := range n {
			k := fmt.Sprintf("t-%d", i)
			list = append(list, event(kedge.OpCreate, "tasks", k, "id", k, "project", "proj1", "status", "new", "subject", fmt.Sprintf("%0800d", i)))
			if len(list) == 500 || i == n-1 {
				w.publish(list...)
				list = nil
			}
		}
		published := time.Since(begin)
		for range n * subs {
			x.next()
		}
		took := time.Since(begin)
		t.Logf("published in %v, all in %v: %.0f/s", published, took, float64(n*subs)/took.Seconds())
	})
}
