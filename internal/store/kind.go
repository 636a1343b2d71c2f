package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/kedge-sync/kedge"
	"github.com/uptrace/bun/driver/pgdriver"
)

// Kind classifies an error of database/sql or of one of the two drivers. An
// error that holds a [kedge.Error] keeps that one's kind.
//
//	Invalid    not null, check, foreign key, cast, length, range, no such column
//	Conflict   unique, exclusion
//	NotFound   no such table or database, no rows
//	Forbidden  no permission, read-only
//	Transient  deadlock, serialization, lock, busy, disk full, lost connection,
//	           the end of the context
func Kind(err error) kedge.Kind {
	if e, ok := errors.AsType[*kedge.Error](err); ok {
		return e.Kind
	}
	if e, ok := errors.AsType[pgdriver.Error](err); ok {
		return postgresKind(e.Field('C'))
	}
	if code := sqliteCode(err); code != 0 {
		return sqliteKind(code, err.Error())
	}
	_, isNet := errors.AsType[net.Error](err)
	switch {
	case isNet, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, driver.ErrBadConn),
		errors.Is(err, sql.ErrConnDone), errors.Is(err, net.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return kedge.Transient
	case errors.Is(err, sql.ErrNoRows):
		return kedge.NotFound
	}
	return kedge.Internal
}

// Error wraps an error of the database with its [Kind]; nil stays nil, and so
// does what is a [kedge.Error] already. PostgreSQL quotes values in the texts
// of some errors; those texts are replaced by the name of the error.
func Error(op, entity string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*kedge.Error](err); ok {
		return err
	}
	kind := Kind(err)
	if isFull(err) { // where it happened is of no use to anybody
		return &kedge.Error{Kind: kind, Err: fmt.Errorf("the database has no room left; free disk space, then run again: %w", err)}
	}
	if e, ok := errors.AsType[pgdriver.Error](err); ok && quotesValues(e.Field('C')) {
		err = &quietError{err: e}
	}
	return &kedge.Error{Op: op, Entity: entity, Kind: kind, Err: err}
}

// isFull reports whether the disk of the database is full.
func isFull(err error) bool {
	e, ok := errors.AsType[pgdriver.Error](err)
	return ok && e.Field('C') == "53100" || sqliteCode(err)&0xff == sqliteFull
}

// quotesValues reports whether the text of an error may hold values. Class 22
// is data exceptions; a syntax error shows the statement, into which pgdriver
// writes the arguments.
func quotesValues(code string) bool {
	return strings.HasPrefix(code, "22") || code == "42601" || code == "42P02" || code == "42704" || code == "42804"
}

// A quietError is a PostgreSQL error without its text.
type quietError struct{ err pgdriver.Error }

// Error names the state and, if known, the table and column.
func (e *quietError) Error() string {
	text := "SQLSTATE " + e.err.Field('C')
	if name, ok := stateNames[e.err.Field('C')]; ok {
		text = fmt.Sprintf("%s (%s)", name, text)
	}
	if column := e.err.Field('c'); column != "" {
		text += ", column " + column
	}
	return text
}

// Unwrap returns the error with its text.
func (e *quietError) Unwrap() error { return e.err }

// PostgreSQL, appendix A.
var stateNames = map[string]string{
	"22001": "text is too long for its column",
	"22003": "number is out of range",
	"22007": "not a date or time",
	"22008": "date or time is out of range",
	"22012": "division by zero",
	"22021": "not valid UTF-8, or a zero byte",
	"22P02": "value does not fit the column's type",
	"22P04": "bad COPY data",
	"22P05": "character is not in the database's encoding",
	"42601": "syntax error",
}

func postgresKind(code string) kedge.Kind {
	switch code {
	case "23505", "23P01", "42P07", "42P04", "42710":
		return kedge.Conflict
	case "42P01", "3D000", "3F000":
		return kedge.NotFound
	case "42703", "42804", "42846", "42883", "42P10", "42704", "42601":
		return kedge.Invalid
	case "42501", "25006":
		return kedge.Forbidden
	case "55P03", "57014", "58030", "25P03":
		return kedge.Transient
	case "40003":
		return kedge.OutcomeUnknown
	case "57P04":
		return kedge.NotFound
	}
	switch code[:min(2, len(code))] {
	case "22", "23":
		return kedge.Invalid
	case "08", "40", "53", "57":
		return kedge.Transient
	case "28":
		return kedge.Unauthorized
	case "0A":
		return kedge.Unsupported
	case "54":
		return kedge.TooLarge
	}
	return kedge.Internal
}

// Result codes of SQLite, https://sqlite.org/rescode.html.
const (
	sqliteError      = 1
	sqlitePerm       = 3
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteNoMem      = 7
	sqliteReadOnly   = 8
	sqliteInterrupt  = 9
	sqliteIOErr      = 10
	sqliteFull       = 13
	sqliteCantOpen   = 14
	sqliteProtocol   = 15
	sqliteTooBig     = 18
	sqliteConstraint = 19
	sqliteMismatch   = 20
	sqliteAuth       = 23
	sqliteNotADB     = 26

	sqlitePrimaryKey = 1555
	sqliteUnique     = 2067
	sqliteRowID      = 2579
)

// sqliteCode returns the extended result code of err, or 0.
func sqliteCode(err error) int {
	type coder interface {
		error
		Code() int
	}
	if e, ok := errors.AsType[coder](err); ok {
		return e.Code()
	}
	return 0
}

func sqliteKind(code int, text string) kedge.Kind {
	switch code {
	case sqlitePrimaryKey, sqliteUnique, sqliteRowID:
		return kedge.Conflict
	}
	switch code & 0xff {
	case sqliteConstraint, sqliteMismatch, sqliteNotADB:
		return kedge.Invalid
	case sqliteBusy, sqliteLocked, sqliteNoMem, sqliteInterrupt, sqliteIOErr, sqliteFull, sqliteProtocol:
		return kedge.Transient
	case sqlitePerm, sqliteReadOnly, sqliteAuth, sqliteCantOpen:
		return kedge.Forbidden
	case sqliteTooBig:
		return kedge.TooLarge
	case sqliteError: // the code says no more, only the text does
		switch {
		case strings.Contains(text, "no such table"):
			return kedge.NotFound
		case strings.Contains(text, "no such column"), strings.Contains(text, "has no column named"), strings.Contains(text, "syntax error"):
			return kedge.Invalid
		case strings.Contains(text, "already exists"):
			return kedge.Conflict
		}
	}
	return kedge.Internal
}
