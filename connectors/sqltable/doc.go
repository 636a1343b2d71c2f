// Package sqltable connects kedge to the tables of a SQL database: kedge's
// own, which is the usual local side, or another SQLite or PostgreSQL one.
//
// What a table is comes from the catalog, see package catalog. Rows are read
// in order of their key, so that any page can be the last before a crash and
// no long transaction is held; they are written in bulk, in the transaction of
// the caller where the tables are kedge's own. Both engines behave alike.
//
// Changes are noted by triggers for each integration that listens (capture:
// trigger), or found by a version column (capture: version) or by comparing
// full reads (capture: sweep).
package sqltable
