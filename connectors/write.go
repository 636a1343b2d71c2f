package connectors

import (
	"context"
	"errors"
	"strings"

	"github.com/kedge-sync/kedge"
)

const opWrite = "connectors.Write"

// Write writes changes in order, in batches of one entity, of distinct keys
// and of at most Entity.WriteBatch changes, halving a batch that is TooLarge;
// one change that is still TooLarge is Rejected. It returns one Result per
// change, also beside an error: those still Unset were not sent, or may be
// applied if the kind is OutcomeUnknown. Kind Unsupported if the driver is not
// a [Writer].
func (c *Conn) Write(ctx context.Context, changes []kedge.Change) ([]Result, error) {
	writer, ok := c.driver.(Writer)
	if !ok {
		return make([]Result, len(changes)), &kedge.Error{Op: opWrite, Kind: kedge.Unsupported, Err: errors.New("this kind of system cannot be written to")}
	}
	results := make([]Result, len(changes))
	for done := 0; done < len(changes); {
		rest := changes[done:]
		e, err := c.entity(ctx, opWrite, rest[0].Entity)
		if err != nil {
			return results, err
		}
		n := batchLen(rest, e.WriteBatch)
		if err := c.writeBatch(ctx, writer, rest[:n], results[done:]); err != nil {
			return results, err
		}
		done += n
	}
	return results, nil
}

// batchLen returns how many of changes can go into one call, which is at least 1.
func batchLen(changes []kedge.Change, limit int) int {
	seen := map[kedge.Key]bool{}
	for i, ch := range changes {
		if limit > 0 && i == limit || ch.Entity != changes[0].Entity || seen[ch.Key] {
			return i
		}
		if ch.Key != "" {
			seen[ch.Key] = true
		}
	}
	return len(changes)
}

// writeBatch writes one batch, in halves if it is too large. What was applied
// before the system found the batch too large is not sent again.
func (c *Conn) writeBatch(ctx context.Context, w Writer, batch []kedge.Change, results []Result) error {
	got, err := c.writeOnce(ctx, w, batch)
	copy(results, got)
	if kedge.KindOf(err) != kedge.TooLarge {
		return err
	}
	if len(batch) == 1 {
		e := &kedge.Error{Op: opWrite, Kind: kedge.TooLarge, Entity: batch[0].Entity, Key: batch[0].Key, Err: err}
		results[0] = Result{State: Rejected, Key: batch[0].Key, Err: e}
		return nil
	}
	var rest []kedge.Change
	var at []int // their places in batch
	for i := range got {
		if got[i].State == Unset {
			rest, at = append(rest, batch[i]), append(at, i)
		}
	}
	size := min(len(rest), (len(batch)+1)/2)
	for len(rest) > 0 {
		n := min(size, len(rest))
		part := make([]Result, n)
		err := c.writeBatch(ctx, w, rest[:n], part)
		for i := range part {
			results[at[i]] = part[i]
		}
		if err != nil {
			return err
		}
		rest, at = rest[n:], at[n:]
	}
	return nil
}

// writeOnce makes one call to the driver and returns one result per change.
func (c *Conn) writeOnce(ctx context.Context, w Writer, batch []kedge.Change) ([]Result, error) {
	var results []Result
	err := c.call(ctx, opWrite, batch[0].Entity, kedge.OutcomeUnknown, func(ctx context.Context) (err error) {
		results, err = w.Write(ctx, batch)
		return err
	})
	if e := checkResults(results, batch, err); e != nil {
		return make([]Result, len(batch)), e
	}
	if len(results) == 0 {
		results = make([]Result, len(batch))
	}
	for i := range results {
		if results[i].Key == "" && results[i].State != Unset {
			results[i].Key = batch[i].Key
		}
		results[i].Remote = truncate(results[i].Remote, maxRemote)
	}
	return results, err
}

// truncate cuts text to at most n bytes, between characters.
func truncate(text string, n int) string {
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "")
	}
	return text
}
