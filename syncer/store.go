package syncer

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// An entityRow gives an entity of an integration its number.
type entityRow struct {
	bun.BaseModel `bun:"table:integration_entity"`

	ID          int64 `bun:",pk,autoincrement"`
	Integration string
	Name        string
	State       string // active, held, disabled
	Reason      string
	Linked      int64
}

// An Anchor is how far one entity of an integration got.
type Anchor struct {
	bun.BaseModel `bun:"table:integration_syncanchor" json:"-"`

	Integration string     `bun:",pk" json:"integration"`
	Entity      string     `bun:",pk" json:"entity"`
	Direction   Direction  `bun:",pk" json:"direction"`
	Partition   string     `bun:",pk" json:"partition,omitempty"`
	Phase       string     `json:"phase"` // snapshot: a full read is under way; delta: changes are followed
	Anchor      string     `json:"-"`
	PageToken   string     `json:"-"`
	LastVersion string     `json:"lastVersion,omitempty"`
	Generation  int64      `json:"generation"`
	Fingerprint string     `json:"-"`
	SourceEpoch string     `json:"-"`
	Clean       bool       `json:"clean"`
	Acked       bool       `json:"acked"`
	ForgottenAt *time.Time `json:"forgottenAt,omitempty"`
	Rows        int64      `json:"rows"`
	LastFullAt  *time.Time `json:"lastFullAt,omitempty"`
	UpdatedAt   time.Time  `json:"updatedAt"`
	RunID       string     `json:"run"`
}

// The phases of an anchor.
const (
	phaseSnapshot = "snapshot"
	phaseDelta    = "delta"
)

// newID returns a UUIDv7, which sorts by time.
func newID() string {
	id, err := uuid.NewV7FromReader(rand.Reader)
	if err != nil {
		panic(err) // the system has no randomness
	}
	return id.String()
}

// loadEntity returns the row of an entity, making it on first use.
func loadEntity(ctx context.Context, db bun.IDB, integration, name string) (*entityRow, error) {
	row, err := findEntity(ctx, db, integration, name)
	if err != nil || row.ID != 0 {
		return row, err
	}
	_, err = db.NewInsert().Model(row).On("CONFLICT (integration, name) DO NOTHING").Exec(ctx)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return findEntity(ctx, db, integration, name)
}

// findEntity returns the row of an entity; without one, a row without a number.
func findEntity(ctx context.Context, db bun.IDB, integration, name string) (*entityRow, error) {
	row := &entityRow{Integration: integration, Name: name, State: "active"}
	err := db.NewSelect().Model(row).Where("integration = ? AND name = ?", integration, name).Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return row, err
}

func loadAnchor(ctx context.Context, db bun.IDB, integration, entity string, d Direction) (*Anchor, error) {
	a := &Anchor{Integration: integration, Entity: entity, Direction: d}
	err := db.NewSelect().Model(a).WherePK().Scan(ctx)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return a, err
}

func (a *Anchor) save(ctx context.Context, db bun.IDB) error {
	_, err := db.NewInsert().Model(a).
		On("CONFLICT (integration, entity, direction, partition) DO UPDATE").
		Set("phase = EXCLUDED.phase, anchor = EXCLUDED.anchor, page_token = EXCLUDED.page_token").
		Set("last_version = EXCLUDED.last_version, generation = EXCLUDED.generation, fingerprint = EXCLUDED.fingerprint").
		Set("source_epoch = EXCLUDED.source_epoch, clean = EXCLUDED.clean, acked = EXCLUDED.acked, rows = EXCLUDED.rows").
		Set("last_full_at = EXCLUDED.last_full_at, updated_at = EXCLUDED.updated_at, run_id = EXCLUDED.run_id").
		Set("forgotten_at = EXCLUDED.forgotten_at").
		Exec(ctx)
	return err
}

// orNull returns at, or nil for the zero time.
func orNull(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at
}

// jsonTexts returns texts as a JSON array, to be unpacked by [unpack].
func jsonTexts[T ~string](texts []T) string {
	b, _ := json.Marshal(texts) // strings always marshal
	return string(b)
}

// unpack returns a subquery over the elements of a JSON array argument: one
// argument whatever the number of keys.
func (s *Syncer) unpack() string {
	if s.postgres() {
		return "(SELECT jsonb_array_elements_text(?::jsonb))"
	}
	return "(SELECT value FROM json_each(?))"
}
