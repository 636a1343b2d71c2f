package syncer

import (
	"fmt"
	"time"
)

// An Outcome is what became of one record in one run.
type Outcome uint8

// The outcomes. Their order is that of the fields of [Counts].
const (
	notSeen Outcome = iota
	Created
	Changed
	Unchanged
	Deleted
	Kept
	Quarantined
	Duplicate
	Refused
	Filtered
	Conflicted // both sides changed it; a person decides
	Echoed     // kedge's own write came back
	Unknown    // the answer to a change was lost
)

// String returns the lower-case name of o.
func (o Outcome) String() string {
	return [...]string{"not seen", "created", "changed", "unchanged", "deleted", "kept", "quarantined", "duplicate", "refused", "filtered", "conflict", "echo", "unknown"}[min(o, Unknown)]
}

// then returns the outcome of a record that had the outcome o earlier in the
// run and next now: a record counts once, with its last outcome, but seeing it
// again does not take back that it was created or changed.
func (o Outcome) then(next Outcome) Outcome {
	switch {
	case next == Unchanged && (o == Created || o == Changed || o == Echoed), next == Changed && o == Created:
		return o
	}
	return next
}

// Counts says how many records ended in which way. The fields after Read sum
// to Read. The fields for uploads stay zero in downloads.
type Counts struct {
	Read        int64 `json:"read"`
	Created     int64 `json:"created"`
	Changed     int64 `json:"changed"`
	Unchanged   int64 `json:"unchanged"`
	Deleted     int64 `json:"deleted"`
	Echo        int64 `json:"echo"`
	Kept        int64 `json:"kept"`
	Quarantined int64 `json:"quarantined"`
	Conflicts   int64 `json:"conflicts"`
	Duplicates  int64 `json:"duplicates"`
	Refused     int64 `json:"refused"`
	Unknown     int64 `json:"unknown"`
	Filtered    int64 `json:"filtered"`
	Suppressed  int64 `json:"suppressed"`
}

// count moves one record from outcome prev to outcome next.
func (c *Counts) count(prev, next Outcome) {
	c.add(prev, -1)
	c.add(next, 1)
}

func (c *Counts) add(o Outcome, n int64) {
	switch o {
	case notSeen, seenEarlier:
		return
	case Created:
		c.Created += n
	case Changed:
		c.Changed += n
	case Unchanged:
		c.Unchanged += n
	case Deleted:
		c.Deleted += n
	case Kept:
		c.Kept += n
	case Quarantined:
		c.Quarantined += n
	case Duplicate:
		c.Duplicates += n
	case Refused:
		c.Refused += n
	case Filtered:
		c.Filtered += n
	case Conflicted:
		c.Conflicts += n
	case Echoed:
		c.Echo += n
	case Unknown:
		c.Unknown += n
	}
	c.Read += n
}

// Add adds the numbers of d.
func (c *Counts) Add(d Counts) {
	c.Read += d.Read
	c.Created += d.Created
	c.Changed += d.Changed
	c.Unchanged += d.Unchanged
	c.Deleted += d.Deleted
	c.Echo += d.Echo
	c.Kept += d.Kept
	c.Quarantined += d.Quarantined
	c.Conflicts += d.Conflicts
	c.Duplicates += d.Duplicates
	c.Refused += d.Refused
	c.Unknown += d.Unknown
	c.Filtered += d.Filtered
	c.Suppressed += d.Suppressed
}

// Imported is the number of records created at the target.
func (c Counts) Imported() int64 { return c.Created }

// Updated is the number of all other records that ended well.
func (c Counts) Updated() int64 { return c.Changed + c.Unchanged + c.Deleted + c.Echo + c.Kept }

// Failed is the number of records that a person may have to look at.
func (c Counts) Failed() int64 {
	return c.Quarantined + c.Conflicts + c.Duplicates + c.Refused + c.Unknown
}

// Line returns the result line. Filtered and suppressed records are outside
// ALL, so that ALL = IMPORTED + UPDATED + FAILED.
func (c Counts) Line() string {
	return fmt.Sprintf("RESULTS: ALL (%d) : IMPORTED (%d); UPDATED (%d); FAILED (%d)",
		c.Imported()+c.Updated()+c.Failed(), c.Imported(), c.Updated(), c.Failed())
}

// A Direction is the way records go.
type Direction string

// The directions.
const (
	Download Direction = "download"
	Upload   Direction = "upload"
)

// A RunState says how a run ended.
type RunState string

// The states of a run.
const (
	Running   RunState = "running"
	Succeeded RunState = "succeeded"
	Partial   RunState = "partial"   // some records or entities failed
	Stopped   RunState = "stopped"   // a person must confirm: too many deletes
	Failed    RunState = "failed"    // nothing could be done
	Cancelled RunState = "cancelled" // by a person; the next run goes on
	Skipped   RunState = "skipped"   // another run is active
)

// An EntityResult says what a run did with one entity.
type EntityResult struct {
	Entity    string    `json:"entity"`
	Direction Direction `json:"direction"`
	Mode      string    `json:"mode"`             // full, incremental, import
	Reason    string    `json:"reason,omitempty"` // why the read is full
	State     RunState  `json:"state"`
	Counts
	NearMisses int64    `json:"echoNearMisses,omitempty"` // records that came back otherwise than they were sent
	Pending    int64    `json:"pendingDeletes,omitempty"` // marked, not applied
	Warnings   []string `json:"warnings,omitempty"`       // about the entity, not about single records
	Error      string   `json:"error,omitempty"`
	Kind       string   `json:"errorKind,omitempty"`
}

// A Result says what a run did.
type Result struct {
	Run         string         `json:"run"`
	Integration string         `json:"integration"`
	Op          Op             `json:"op"`
	State       RunState       `json:"state"`
	Started     time.Time      `json:"started"`
	Took        time.Duration  `json:"took"`
	Entities    []EntityResult `json:"entities"`
	Message     string         `json:"message,omitempty"`
}

// Counts returns the sum over the entities of one direction.
func (r Result) Counts(d Direction) Counts {
	var sum Counts
	for _, e := range r.Entities {
		if e.Direction == d {
			sum.Add(e.Counts)
		}
	}
	return sum
}
