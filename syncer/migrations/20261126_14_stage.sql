-- What a reset has read and not stored yet. It is removed with the reset.
CREATE TABLE integration_stage (
  ent bigint NOT NULL,
  seq bigint NOT NULL,
  data {blob} NOT NULL,
  PRIMARY KEY (ent, seq)
);
