package command

import (
	"testing"

	"github.com/kedge-sync/kedge/syncer"
)

// TestExitOf: what a person must decide comes before what failed, and that
// before records that are in quarantine.
func TestExitOf(t *testing.T) {
	result := func(state syncer.RunState, entities ...syncer.RunState) syncer.Result {
		r := syncer.Result{State: state}
		for _, e := range entities {
			r.Entities = append(r.Entities, syncer.EntityResult{State: e})
		}
		return r
	}
	done, failed, skipped := result(syncer.Succeeded), result(syncer.Failed), result(syncer.Skipped)
	partial, stopped := result(syncer.Partial, syncer.Partial), result(syncer.Stopped, syncer.Stopped, syncer.Partial)
	for _, tt := range []struct {
		name    string
		results []syncer.Result
		want    int
	}{
		{"succeeded", []syncer.Result{done}, 0},
		{"failed", []syncer.Result{failed}, 1},
		{"skipped", []syncer.Result{skipped}, 1},
		{"cancelled", []syncer.Result{result(syncer.Cancelled)}, 1},
		{"records in quarantine", []syncer.Result{partial}, 3},
		{"an entity failed, another has records in quarantine", []syncer.Result{result(syncer.Partial, syncer.Failed, syncer.Partial)}, 1},
		{"too many deletes and records in quarantine", []syncer.Result{stopped}, 4},
		{"each of several", []syncer.Result{done, partial, failed, stopped, skipped}, 4},
		{"one failed, one with records in quarantine", []syncer.Result{partial, failed, done}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := 0
			if err := exitOf(tt.results...); err != nil {
				code = ExitCode(err)
			}
			if code != tt.want {
				t.Errorf("exit code %d, want %d", code, tt.want)
			}
		})
	}
}
