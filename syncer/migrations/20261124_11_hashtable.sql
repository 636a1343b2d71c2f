CREATE TABLE integration_hash (
  ent bigint NOT NULL,
  key bigint NOT NULL, -- bits of the key hash
  word bigint NOT NULL, -- hash of the row and its outcome in the run below
  generation bigint NOT NULL, -- of the last full read that met the row
  fence bigint NOT NULL, -- of the run that the outcome is of
  PRIMARY KEY (ent, key)
){without_rowid};
