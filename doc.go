// Package kedge moves records between systems that were never built to share
// them, and remembers exactly how far it got.
//
// The package itself holds only the vocabulary: [Value], [Record], [Entity],
// [Change], [Anchor] and [Error]. It does no I/O and imports nothing outside
// the standard library, so the author of a connector needs to read this page
// and package connectors, and nothing else.
//
// # Map of the module
//
//	connectors     what a remote system must offer; one folder per kind of system
//	mapping        entity and field rules, checked before they run
//	syncer         runs: full and incremental, anchors, logs, quarantine
//	internal       HTTP with retries, the database, the sample OData service
//	cmd/kedge      the only package that wires the others together
//
// ARCHITECTURE.md at the root of the repository tells how a page travels from
// a remote system into a table.
package kedge
