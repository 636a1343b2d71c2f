-- What both sides of a record agreed on the last time.
CREATE TABLE integration_base (
  ent bigint NOT NULL,
  local_hash bigint NOT NULL, -- of the local row then; 0 if it was to be sent or is not known
  ext_key {key} NOT NULL,
  ext_version text NOT NULL,
  base text NOT NULL, -- values by local field
  PRIMARY KEY (ent, ext_key)
);

-- What was sent, so that it is known again when it comes back.
CREATE TABLE integration_writelog (
  id {key} NOT NULL PRIMARY KEY, -- of the transaction
  integration text NOT NULL,
  side text NOT NULL,
  entity text NOT NULL,
  key text NOT NULL,
  hash bigint NOT NULL,
  version text NOT NULL,
  expires_at {time} NOT NULL,
  consumed_at {time}
){without_rowid};
CREATE INDEX integration_writelog_live ON integration_writelog (integration, side, entity) WHERE consumed_at IS NULL;
CREATE INDEX integration_writelog_expires ON integration_writelog (expires_at);

CREATE TABLE integration_conflict (
  id text NOT NULL PRIMARY KEY,
  ent bigint NOT NULL,
  ext_key text NOT NULL,
  local_key text NOT NULL,
  base text NOT NULL,
  local text NOT NULL,
  remote text NOT NULL,
  fields text NOT NULL,
  policy text NOT NULL,
  state text NOT NULL, -- open, resolved, superseded
  resolution text NOT NULL,
  "by" text NOT NULL,
  at {time} NOT NULL
);
CREATE UNIQUE INDEX integration_conflict_open ON integration_conflict (ent, ext_key) WHERE state = 'open';
CREATE INDEX integration_conflict_at ON integration_conflict (state, at);

CREATE INDEX integration_transaction_state ON integration_transaction (integration, entity, state, seq);
CREATE INDEX integration_transaction_done ON integration_transaction (done_at) WHERE done_at IS NOT NULL;
