package mapping

import (
	"strconv"
	"strings"
	"time"
)

const (
	defaultSkew       = 2 * time.Second
	defaultMaxRows    = 50
	defaultMaxPercent = 5
	maxRound          = 18 // decimals of "round:N"
)

// A DriftPolicy says what a run does when a schema changed since the mapping was saved.
type DriftPolicy string

// The drift policies. Nothing is ever dropped.
const (
	DriftWarn  DriftPolicy = "warn"  // ignore what is new, suspend what is missing
	DriftHold  DriftPolicy = "hold"  // hold the entity at any change to a used item
	DriftAdopt DriftPolicy = "adopt" // as warn, and map new external fields by suggestion
)

// FirstSync says what the first sync does with local rows.
type FirstSync string

// The ways of a first sync.
const (
	FirstMerge FirstSync = "merge" // match and keep them
	FirstReset FirstSync = "reset" // delete them, after a confirmation
)

// A Direction is the way that a sync moves an entity or a field.
type Direction string

// The directions.
const (
	Download      Direction = "download"
	Upload        Direction = "upload"
	Bidirectional Direction = "bidirectional"
)

// Downloads reports whether d includes downloads.
func (d Direction) Downloads() bool { return d == Download || d == Bidirectional }

// Uploads reports whether d includes uploads.
func (d Direction) Uploads() bool { return d == Upload || d == Bidirectional }

// A Policy says which side wins a conflict.
type Policy string

// The conflict policies. Files may also use the names in policyAliases.
const (
	RemoteWins    Policy = "remote_wins"
	LocalWins     Policy = "local_wins"      // changed fields only
	LocalWinsFull Policy = "local_wins_full" // the whole record
	NewestWins    Policy = "newest_wins"     // within the skew or without a stamp: local
	Manual        Policy = "manual"
)

// policyAliases are the names that the reference product shows, and the
// shorter spellings of them that people write.
var policyAliases = map[string]Policy{
	"server wins": RemoteWins, "server_wins": RemoteWins,
	"device wins": LocalWins, "device_wins": LocalWins,
	"device wins (full)": LocalWinsFull, "device_wins_full": LocalWinsFull,
	"manual action": Manual, "manual_action": Manual,
}

// Merge says how double edits are merged.
type Merge string

// The ways of merging.
const (
	MergeField  Merge = "field"  // edits of different fields go together
	MergeRecord Merge = "record" // every double edit is a conflict of the whole record
)

// A DeleteRule says what a deletion does on the other side.
type DeleteRule string

// The delete rules.
const (
	DeleteRemove DeleteRule = "delete"
	DeleteSoft   DeleteRule = "soft"   // set Deletes.Soft
	DeleteUnlink DeleteRule = "unlink" // keep the record, forget the link
	DeleteIgnore DeleteRule = "ignore"
)

// FilterExit says what leaving the download filter does to the local record.
type FilterExit string

// The ways of leaving.
const (
	ExitDelete FilterExit = "delete"
	ExitKeep   FilterExit = "keep"
)

// OnError says what happens to a value that cannot be converted.
type OnError string

// The ways to go on after an error.
const (
	OnErrorQuarantine OnError = "quarantine" // the record is put aside
	OnErrorEmpty      OnError = "empty"      // null
	OnErrorDefault    OnError = "default"    // Field.Default
)

// Otherwise says what happens to a value that a value map does not have.
type Otherwise string

// The ways to treat unmapped values.
const (
	OtherwiseQuarantine Otherwise = "quarantine"
	OtherwiseKeep       Otherwise = "keep"  // convert it like a field without a map
	OtherwiseEmpty      Otherwise = "empty" // null
)

// Compare says when two values of a field count as equal: "exact", "trim",
// "nocase" or "round:N" with N decimals.
type Compare string

// The comparisons without a parameter.
const (
	CompareExact  Compare = "exact"
	CompareTrim   Compare = "trim"   // spaces around text do not matter
	CompareNocase Compare = "nocase" // neither does case
)

// Round returns N of "round:N".
func (c Compare) Round() (decimals int, ok bool) {
	text, ok := strings.CutPrefix(string(c), "round:")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= maxRound && strconv.Itoa(n) == text
}

func (c Compare) valid() bool {
	_, round := c.Round()
	return round || c == CompareExact || c == CompareTrim || c == CompareNocase
}
