CREATE TABLE integration_mapping (
  name text NOT NULL,
  revision bigint NOT NULL,
  external text NOT NULL,
  local text NOT NULL,
  source text NOT NULL, -- "" when edited by a command, else the file it comes from
  yaml text NOT NULL,
  hash text NOT NULL,
  author text NOT NULL,
  at {time} NOT NULL,
  PRIMARY KEY (name, revision)
);

CREATE TABLE integration_schema (
  connection text NOT NULL PRIMARY KEY,
  json text NOT NULL,
  hash text NOT NULL,
  seen_at {time} NOT NULL
);

CREATE TABLE integration_entity (
  id {serial},
  integration text NOT NULL,
  name text NOT NULL,
  state text NOT NULL, -- active, held, disabled
  reason text NOT NULL,
  linked bigint NOT NULL, -- records that are known to be on both sides
  UNIQUE (integration, name)
);

CREATE TABLE integration_syncanchor (
  integration text NOT NULL,
  entity text NOT NULL,
  direction text NOT NULL,
  partition text NOT NULL,
  phase text NOT NULL, -- snapshot, delta
  anchor text NOT NULL,
  page_token text NOT NULL,
  last_version text NOT NULL,
  generation bigint NOT NULL,
  fingerprint text NOT NULL,
  source_epoch text NOT NULL,
  clean boolean NOT NULL, -- the running full read has met no error so far
  acked boolean NOT NULL,
  forgotten_at {time},
  rows bigint NOT NULL,
  last_full_at {time},
  updated_at {time} NOT NULL,
  run_id text NOT NULL,
  PRIMARY KEY (integration, entity, direction, partition)
);

CREATE TABLE integration_link (
  ent bigint NOT NULL,
  version bigint NOT NULL, -- hash of the last version seen, 0 if none is known
  at {time}, -- of a mark or tombstone
  ext_key {key} NOT NULL,
  local_key {key} NOT NULL,
  status text NOT NULL, -- "" when linked; deleting, tombstone, frozen
  reason text NOT NULL,
  PRIMARY KEY (ent, ext_key)
){without_rowid};
CREATE UNIQUE INDEX integration_link_local ON integration_link (ent, local_key);
CREATE INDEX integration_link_status ON integration_link (ent, status) WHERE status <> '';

CREATE TABLE integration_hashlog (
  ent bigint NOT NULL,
  seq bigint NOT NULL,
  kind text NOT NULL, -- put, seen
  generation bigint NOT NULL,
  first bigint, -- lowest key hash of a compacted blob, NULL for a small one
  data {blob} NOT NULL,
  PRIMARY KEY (ent, seq)
);
CREATE INDEX integration_hashlog_first ON integration_hashlog (ent, first);

CREATE TABLE integration_pendingref (
  ent bigint NOT NULL,
  ext_key text NOT NULL,
  field text NOT NULL,
  target_ent bigint NOT NULL,
  target_value text NOT NULL,
  PRIMARY KEY (ent, ext_key, field)
);
CREATE INDEX integration_pendingref_target ON integration_pendingref (target_ent, target_value);

CREATE TABLE integration_quarantine (
  id text NOT NULL PRIMARY KEY,
  ent bigint NOT NULL,
  direction text NOT NULL,
  key text NOT NULL,
  payload text NOT NULL,
  stage text NOT NULL, -- decode, map, match, reference, write
  code text NOT NULL,
  field text NOT NULL,
  message text NOT NULL,
  attempts bigint NOT NULL,
  next_at {time} NOT NULL,
  revision bigint NOT NULL,
  state text NOT NULL, -- open, done, dropped
  run_id text NOT NULL,
  at {time} NOT NULL
);
CREATE UNIQUE INDEX integration_quarantine_open ON integration_quarantine (ent, direction, key) WHERE state = 'open';
CREATE INDEX integration_quarantine_at ON integration_quarantine (state, at);

CREATE TABLE integration_transaction (
  id text NOT NULL PRIMARY KEY,
  integration text NOT NULL,
  entity text NOT NULL,
  local_key text NOT NULL,
  ext_key text NOT NULL,
  action text NOT NULL,
  field_mask text NOT NULL,
  payload text NOT NULL,
  base_hash bigint NOT NULL,
  expected_version text NOT NULL,
  idem_key text NOT NULL,
  group_id text NOT NULL,
  seq bigint NOT NULL,
  state text NOT NULL, -- pending, inflight, applied, failed, unknown, conflict, dead, archived
  attempts bigint NOT NULL,
  next_at {time} NOT NULL,
  fence bigint NOT NULL,
  result_key text NOT NULL,
  result_version text NOT NULL,
  error_kind text NOT NULL,
  error_text text NOT NULL,
  run_id text NOT NULL,
  created_at {time} NOT NULL,
  done_at {time}
);
CREATE UNIQUE INDEX integration_transaction_pending ON integration_transaction (integration, entity, local_key) WHERE state = 'pending';

CREATE TABLE integration_run (
  id text NOT NULL PRIMARY KEY,
  integration text NOT NULL,
  op text NOT NULL,
  "trigger" text NOT NULL,
  mode text NOT NULL,
  state text NOT NULL, -- running, succeeded, partial, stopped, failed, cancelled, skipped
  fence bigint NOT NULL,
  started_at {time} NOT NULL,
  finished_at {time},
  cancel boolean NOT NULL,
  result text NOT NULL
);
CREATE INDEX integration_run_integration ON integration_run (integration, started_at);

CREATE TABLE integration_log (
  id text NOT NULL PRIMARY KEY,
  run_id text NOT NULL,
  at {time} NOT NULL,
  integration text NOT NULL,
  operation text NOT NULL,
  entity text NOT NULL,
  direction text NOT NULL,
  mode text NOT NULL,
  status text NOT NULL,
  level text NOT NULL,
  code text NOT NULL,
  total bigint NOT NULL,
  imported bigint NOT NULL,
  updated bigint NOT NULL,
  deleted bigint NOT NULL,
  failed bigint NOT NULL,
  conflicts bigint NOT NULL,
  result_line text NOT NULL,
  message text NOT NULL,
  ref text NOT NULL -- id of a quarantine row, a conflict or a transaction
);
CREATE INDEX integration_log_run ON integration_log (run_id, at);
CREATE INDEX integration_log_at ON integration_log (at);
