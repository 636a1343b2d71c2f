-- Times are milliseconds since 1970, UTC.

-- rev grows with every change of a definition below, so that other processes
-- see that they must read them again.
CREATE TABLE ingest_catalog (
  one integer NOT NULL PRIMARY KEY,
  rev bigint NOT NULL
);
INSERT INTO ingest_catalog (one, rev) VALUES (1, 1);

CREATE TABLE ingest_group (
  id text NOT NULL PRIMARY KEY,
  name text NOT NULL UNIQUE,
  prefix text NOT NULL UNIQUE,
  description text NOT NULL,
  origin text NOT NULL, -- file or api, here and below
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
);

CREATE TABLE ingest_integration (
  id text NOT NULL PRIMARY KEY,
  name text NOT NULL UNIQUE,
  state text NOT NULL, -- active, or paused: taken out of the config
  rate text NOT NULL, -- JSON
  origin text NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL
);

CREATE TABLE ingest_schema (
  no {serial},
  group_id text NOT NULL,
  table_name text NOT NULL,
  full_name text NOT NULL UNIQUE,
  integration_id text, -- null: attached to none
  state text NOT NULL, -- as of integrations
  active_version integer NOT NULL,
  settings text NOT NULL, -- JSON
  origin text NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  UNIQUE (group_id, table_name)
);

-- Rows never change.
CREATE TABLE ingest_schema_version (
  schema_no bigint NOT NULL,
  version integer NOT NULL,
  source text NOT NULL,
  report text NOT NULL, -- JSON: what the change meant for the stored data
  created_at bigint NOT NULL,
  created_by text NOT NULL,
  PRIMARY KEY (schema_no, version)
);

CREATE TABLE ingest_key (
  id text NOT NULL PRIMARY KEY,
  integration_id text NOT NULL,
  name text NOT NULL,
  hash {blob} NOT NULL UNIQUE, -- SHA-256
  rights text NOT NULL, -- JSON
  origin text NOT NULL,
  created_at bigint NOT NULL,
  expires_at bigint,
  revoked_at bigint,
  last_used_at bigint
);
CREATE INDEX ingest_key_integration ON ingest_key (integration_id);

-- The row that serializes the requests of one (table, groupKey).
CREATE TABLE ingest_scope (
  schema_no bigint NOT NULL,
  group_key {bytes_text} NOT NULL,
  live bigint NOT NULL,
  last_event_at bigint,
  last_bulk_at bigint,
  PRIMARY KEY (schema_no, group_key)
);

CREATE TABLE ingest_head (
  schema_no bigint NOT NULL PRIMARY KEY,
  seq bigint NOT NULL,
  floor_seq bigint NOT NULL -- changes up to here may be missing from the feed
);

CREATE TABLE ingest_resource (
  schema_no bigint NOT NULL,
  group_key {bytes_text} NOT NULL,
  id {bytes_text} NOT NULL,
  data {json}, -- null in a tombstone
  hash {blob}, -- null in a tombstone
  name text,
  version text,
  schema_version integer NOT NULL,
  valid boolean NOT NULL,
  seq bigint NOT NULL,
  event text,
  actor text,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  PRIMARY KEY (schema_no, group_key, id)
);
CREATE UNIQUE INDEX ingest_resource_seq ON ingest_resource (schema_no, seq);

CREATE TABLE ingest_change (
  schema_no bigint NOT NULL,
  seq bigint NOT NULL,
  group_key {bytes_text} NOT NULL,
  id {bytes_text} NOT NULL,
  op text NOT NULL,
  event text,
  actor text,
  fields text, -- JSON: names of the changed fields; null but for updates
  -- As it was before the change; null for creates. What came out of a change
  -- is what the next one of the resource found, or what is stored now.
  data {json},
  key_id text,
  request_id text,
  at bigint NOT NULL,
  PRIMARY KEY (schema_no, seq)
){without_rowid};
CREATE INDEX ingest_change_id ON ingest_change (schema_no, group_key, id);

CREATE TABLE ingest_session (
  id text NOT NULL PRIMARY KEY,
  schema_no bigint NOT NULL,
  key_id text NOT NULL,
  params text NOT NULL, -- JSON: those of the bulk, fixed at the start
  state text NOT NULL, -- open or committed
  expires_at bigint NOT NULL
);
CREATE INDEX ingest_session_expires ON ingest_session (expires_at);

CREATE TABLE ingest_session_part (
  session_id text NOT NULL,
  n integer NOT NULL,
  received integer NOT NULL,
  body {blob} NOT NULL,
  PRIMARY KEY (session_id, n)
);

-- Resources that are stored, but not in the local entity of their mapping.
CREATE TABLE ingest_quarantine (
  schema_no bigint NOT NULL,
  group_key {bytes_text} NOT NULL,
  id {bytes_text} NOT NULL,
  seq bigint NOT NULL,
  field text NOT NULL,
  code text NOT NULL,
  message text NOT NULL,
  attempts integer NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (schema_no, group_key, id)
);

CREATE TABLE ingest_idempotency (
  key_id text NOT NULL,
  idem_key text NOT NULL,
  body_hash {blob} NOT NULL,
  answer text NOT NULL,
  expires_at bigint NOT NULL,
  PRIMARY KEY (key_id, idem_key)
);
CREATE INDEX ingest_idempotency_expires ON ingest_idempotency (expires_at);
