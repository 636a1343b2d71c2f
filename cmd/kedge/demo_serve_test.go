package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/kedge-sync/kedge/cmd/kedge/jobs"
)

// TestDemoServe: the demo can go on as a server whose job syncs with the sample
// service.
func TestDemoServe(t *testing.T) {
	t.Parallel()
	s := &site{t: t, dir: t.TempDir()}
	p := s.start("demo", "--serve", "--rows", "20", "--listen", "127.0.0.1:0")
	url := p.served() + "/api/v1/jobs/demo"
	resp, err := http.Post(url+"/run", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatalf("run: status %d", resp.StatusCode)
	}
	var job jobs.Job
	for poll := time.NewTicker(50 * time.Millisecond); job.Runs == 0 && t.Context().Err() == nil; <-poll.C {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&job)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	// One record of the demo is in quarantine, and waits there.
	if job.LastRun.State != jobs.Succeeded || job.NextRun == nil {
		t.Errorf("job %+v, last run %+v", job, job.LastRun)
	}
	p.interrupt()
	p.ends(0)
}
