package kedge

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// A Kind says what a caller can do about an error. Retries, quarantine, exit
// codes and HTTP statuses are decided from the kind and never from the text.
type Kind uint8

// The kinds of errors.
const (
	Internal       Kind = iota // a bug or a broken invariant
	Invalid                    // the input is wrong; retrying will not help
	NotFound                   // no such entity, record or request
	Conflict                   // the record changed since it was read, or exists already
	Unauthorized               // credentials missing, wrong or expired
	Forbidden                  // credentials are fine, the right is missing
	Unsupported                // the system cannot do this, ever
	TooLarge                   // the request or answer is over a limit; smaller ones may pass
	Throttled                  // asked to slow down; see Error.RetryAfter
	Transient                  // may work when tried again
	AnchorExpired              // the anchor or page token is no longer known; read from the beginning
	OutcomeUnknown             // the write may or may not have happened; look before repeating it
)

var kindNames = [...]string{"internal", "invalid", "not_found", "conflict", "unauthorized", "forbidden", "unsupported",
	"too_large", "throttled", "transient", "anchor_expired", "outcome_unknown"}

// String returns the snake-case name that logs and JSON outputs use.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind" + strconv.Itoa(int(k))
}

// An Error reports a failed operation. Its text never holds keys, field
// values, tokens or URLs with a query, which may be personal data or secrets.
type Error struct {
	Op         string // operation, as "package.Func": "odata.ReadPage"; may be ""
	Kind       Kind
	Entity     string        // entity involved, or ""
	Key        Key           // record involved, or ""; not part of the text
	RetryAfter time.Duration // delay that the system asked for, or 0
	Err        error         // cause, or nil
}

// Error formats e as "op entity: cause".
func (e *Error) Error() string {
	var parts []string
	if head := strings.TrimSpace(e.Op + " " + e.Entity); head != "" {
		parts = append(parts, head)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	} else {
		parts = append(parts, strings.ReplaceAll(e.Kind.String(), "_", " "))
	}
	return strings.Join(parts, ": ")
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost [Error] in err's chain, or
// [Internal] if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
