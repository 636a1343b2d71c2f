// Package syncer keeps the entities of one system in step with those of
// another: it reads what changed, maps it, writes it, and commits the rows
// together with the position they were read at, so that a run can be killed
// at any moment and the next one goes on.
//
// The remote side is called external, our side local; a download goes from
// external to local. A [Syncer] is given open connections and a store and runs
// one integration at a time under a lease:
//
//	run.go         one run: lease, check, entities by layers, second pass, deletes, summary
//	download.go    one entity: its read, page by page
//	position.go    which kind of read, and its anchor
//	batch.go       one page transaction: match, resolve, write, remember
//	hashlog.go     what is known of each row, 16 bytes a row
//	sweep.go       what a full read did not bring any more
//	deletes.go     marks, and the breaker before they are applied
//	quarantine.go  records that could not be stored, and their retries
//	preview.go     the same work without its effects
//	merge.go       what becomes of a record that both sides may have changed
//	upload.go      local changes: read, noted in the outbox, sent, settled
//	resolve.go     a person's decision about a conflict
//
// Tables are named integration_*; see migrations.
package syncer
