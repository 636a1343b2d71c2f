package ingest

import (
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// Where a definition comes from.
const (
	OriginFile = "file" // the config file; read-only in the API
	OriginAPI  = "api"  // the API or the command line
)

// States of integrations and schemas.
const (
	StateActive = "active"
	StatePaused = "paused" // taken out of the config: its data stays, nothing more is taken
)

type groupRow struct {
	bun.BaseModel `bun:"table:ingest_group"`

	ID          string `bun:",pk"`
	Name        string
	Prefix      string
	Description string
	Origin      string
	CreatedAt   int64
	UpdatedAt   int64
}

type integrationRow struct {
	bun.BaseModel `bun:"table:ingest_integration"`

	ID        string `bun:",pk"`
	Name      string
	State     string
	Rate      string // JSON of Rate
	Origin    string
	CreatedAt int64
	UpdatedAt int64
}

type schemaRow struct {
	bun.BaseModel `bun:"table:ingest_schema"`

	No            int64 `bun:",pk,autoincrement"`
	GroupID       string
	TableName     string
	FullName      string
	IntegrationID *string
	State         string
	ActiveVersion int
	Settings      string // JSON of Settings
	Origin        string
	CreatedAt     int64
	UpdatedAt     int64
}

type versionRow struct {
	bun.BaseModel `bun:"table:ingest_schema_version"`

	SchemaNo  int64 `bun:",pk"`
	Version   int   `bun:",pk"`
	Source    string
	Report    string
	CreatedAt int64
	CreatedBy string
}

type keyRow struct {
	bun.BaseModel `bun:"table:ingest_key"`

	ID            string `bun:",pk"`
	IntegrationID string
	Name          string
	Hash          []byte
	Rights        string // JSON of Rights
	Origin        string
	CreatedAt     int64
	ExpiresAt     *int64
	RevokedAt     *int64
	LastUsedAt    *int64
}

// millis is the form of times in the tables.
func millis(t time.Time) int64 { return t.UnixMilli() }

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func optionalTime(ms *int64) *time.Time {
	if ms == nil {
		return nil
	}
	t := fromMillis(*ms)
	return &t
}

// mustJSON encodes v, which is one of this package's own types.
func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
