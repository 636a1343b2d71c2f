package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kedge-sync/kedge"
	"github.com/kedge-sync/kedge/mapping"
	"github.com/uptrace/bun"
)

// A failure says why one record could not be stored. Its text holds no values.
type failure struct {
	stage string // decode, map, match, reference, write
	code  string
	field string
	err   error
	as    Outcome // Quarantined or Duplicate or Refused
	raw   string  // what was read, if it could not be decoded
}

// Codes of failures that the syncer treats in a way of their own.
const (
	codeUnresolved    = "ref_unresolved" // waits for another record
	codeKeyInvalid    = "key_invalid"
	codeKeyUnreadable = "key_unreadable"
)

func failMap(err error) *failure {
	f := &failure{stage: "map", code: "conversion", err: err, as: Quarantined}
	if fe, ok := errors.AsType[*mapping.FieldError](err); ok {
		f.code, f.field = fe.Code, fe.Field
	}
	return f
}

func failMatch(code string, as Outcome, text string) *failure {
	return &failure{stage: "match", code: code, err: errors.New(text), as: as}
}

// failWrite is for a record that the local side refused.
func failWrite(err *kedge.Error) *failure {
	return &failure{stage: "write", code: err.Kind.String(), err: err, as: Refused}
}

// A Quarantined record could not be stored. It waits here, with what was read
// of it, until a retry succeeds or a person drops it.
type QuarantineRow struct {
	bun.BaseModel `bun:"table:integration_quarantine" json:"-"`

	ID        string    `bun:",pk" json:"id"`
	Ent       int64     `json:"-"`
	Direction Direction `json:"direction"`
	Key       string    `json:"key"`
	Payload   string    `json:"-"` // personal data; shown by "quarantine show" only
	Stage     string    `json:"stage"`
	Code      string    `json:"code"`
	Field     string    `json:"field,omitempty"`
	Message   string    `json:"message"`
	Attempts  int64     `json:"attempts"`
	NextAt    time.Time `json:"nextAt"`
	Revision  int64     `json:"revision"`
	State     string    `json:"state"` // open, done, dropped
	RunID     string    `json:"run"`
	At        time.Time `json:"at"`

	Integration string `bun:",scanonly" json:"integration"`
	Entity      string `bun:",scanonly" json:"entity"`
}

// quarantineDelay is how long an open row waits for its next try: an hour,
// doubled with each attempt, a day at most.
func quarantineDelay(attempts int64) time.Duration {
	return min(time.Hour<<min(attempts, 10), 24*time.Hour)
}

// openQuarantine returns the keys of the open rows of an entity.
func openQuarantine(ctx context.Context, db bun.IDB, ent int64) (map[string]int64, error) {
	var rows []QuarantineRow
	err := db.NewSelect().Model(&rows).Column("key", "attempts").
		Where("ent = ? AND direction = ? AND state = 'open'", ent, Download).Scan(ctx)
	open := make(map[string]int64, len(rows))
	for _, r := range rows {
		open[r.Key] = r.Attempts
	}
	return open, err
}

// maxKey is the greatest length in bytes of a key or of a lookup's values. It
// is below what an index of PostgreSQL takes, a third of a page of 8 KiB.
const maxKey = 2000

// checkKey tells why both databases could not hold a key.
func checkKey(k kedge.Key) error {
	switch {
	case len(k) > maxKey:
		return fmt.Errorf("the key has %d bytes, more than %d", len(k), maxKey)
	case strings.IndexByte(string(k), 0) >= 0:
		return errors.New("the key has a NUL character")
	case !utf8.ValidString(string(k)):
		return errors.New("the key is not valid UTF-8")
	}
	return nil
}

// quarantineKey names a record in the quarantine, also one with a key that
// cannot be stored.
func quarantineKey(k kedge.Key) string {
	if checkKey(k) != nil {
		return fmt.Sprintf("(key not storable, %016x)", mapping.KeyHash(k))
	}
	return string(k)
}

// payload is what was read of a record, as a JSON object.
func (it *item) payload() string {
	raw := strings.ToValidUTF8(it.fail.raw, "\uFFFD")
	switch {
	case raw == "":
		return payloadText(it.rec)
	case raw[0] == '{' && json.Valid([]byte(raw)):
		return raw
	}
	// It was cut, or is in another language.
	text, err := json.Marshal(map[string]string{"raw": raw})
	if err != nil {
		return "{}"
	}
	return string(text)
}

// payloadText is what was read of a record, as a JSON object.
func payloadText(r *kedge.Record) string {
	if r == nil || len(r.Values) == 0 {
		return "{}"
	}
	fields := make(map[string]any, len(r.Values))
	for i, v := range r.Values {
		switch v.Type() {
		case kedge.TypeMissing:
		case kedge.TypeNull:
			fields[r.Fields.Name(i)] = nil
		case kedge.TypeBool:
			fields[r.Fields.Name(i)] = v.Bool()
		case kedge.TypeJSON:
			fields[r.Fields.Name(i)] = json.RawMessage(v.Str())
		default:
			fields[r.Fields.Name(i)] = strings.ReplaceAll(v.Text(), "\x00", "")
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return "{}"
	}
	return string(text)
}

// quarantine stores failures of a page and writes a log row for each.
func (e *entity) quarantine(ctx context.Context, db bun.IDB, failed []*item) error {
	now := e.run.s.now().UTC()
	for _, it := range failed {
		key := quarantineKey(it.rec.Key)
		attempts, known := e.open[key]
		row := &QuarantineRow{
			ID: newID(), Ent: e.row.ID, Direction: Download, Key: key, Payload: it.payload(),
			Stage: it.fail.stage, Code: it.fail.code, Field: it.fail.field, Message: it.fail.err.Error(),
			Attempts: attempts + 1, NextAt: now.Add(quarantineDelay(attempts + 1)), Revision: e.run.revision,
			State: "open", RunID: e.run.id, At: now,
		}
		err := db.NewInsert().Model(row).On("CONFLICT (ent, direction, key) WHERE state = 'open' DO UPDATE").
			Set("payload = CASE WHEN EXCLUDED.payload = '{}' THEN quarantine_row.payload ELSE EXCLUDED.payload END"). // a retry may know less
			Set("stage = EXCLUDED.stage, code = EXCLUDED.code, field = EXCLUDED.field").
			Set("message = EXCLUDED.message, attempts = EXCLUDED.attempts, next_at = EXCLUDED.next_at").
			Set("revision = EXCLUDED.revision, run_id = EXCLUDED.run_id").
			Returning("id").Scan(ctx, &row.ID)
		if err != nil {
			return fmt.Errorf("quarantine: %w", err)
		}
		e.opened = append(e.opened, key)
		if known && e.run.req.Op != Retry {
			continue // logged when it came in
		}
		if err := e.event(ctx, db, "warn", it.fail.code, it.fail.stage+": "+it.fail.err.Error(), row.ID); err != nil {
			return err
		}
	}
	return nil
}

// release closes the open rows of records that have been stored.
func (e *entity) release(ctx context.Context, db bun.IDB, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := db.NewUpdate().Model((*QuarantineRow)(nil)).Set("state = 'done', payload = '{}'").
		Where("ent = ? AND direction = ? AND state = 'open'", e.row.ID, Download).
		Where("key IN "+e.run.s.unpack(), jsonTexts(keys)).Exec(ctx)
	return err
}
