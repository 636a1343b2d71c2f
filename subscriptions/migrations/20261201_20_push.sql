CREATE TABLE push_state (
	name text NOT NULL PRIMARY KEY, -- generation, delivery, scrub
	value bigint NOT NULL
);
INSERT INTO push_state (name, value) VALUES ('generation', 1), ('delivery', 0), ('scrub', 0);
CREATE TABLE push_token (
	id text NOT NULL PRIMARY KEY,
	account text NOT NULL,
	user_id text NOT NULL,
	hash text NOT NULL, -- hex SHA-256 of the value
	old_hash text NOT NULL,
	old_until bigint NOT NULL, -- milliseconds since 1970, as all times of push tables
	grants text NOT NULL, -- JSON
	generation bigint NOT NULL,
	created_at bigint NOT NULL,
	expires_at bigint NOT NULL, -- 0: never
	revoked_at bigint NOT NULL, -- 0: not revoked
	used_at bigint NOT NULL
);
CREATE UNIQUE INDEX push_token_hash ON push_token (hash);
CREATE INDEX push_token_old ON push_token (old_hash);
CREATE TABLE push_subscription (
	id text NOT NULL PRIMARY KEY,
	account text NOT NULL,
	user_id text NOT NULL,
	token_id text NOT NULL, -- '' for subscriptions of the config and of operators
	spec text NOT NULL, -- JSON without secrets
	sealed {blob} NOT NULL, -- URL, authentication, keys
	entity text NOT NULL,
	record_key text NOT NULL,
	state text NOT NULL,
	reason text NOT NULL,
	start_seq bigint NOT NULL,
	generation bigint NOT NULL,
	created_at bigint NOT NULL,
	changed_at bigint NOT NULL,
	first_fail_at bigint NOT NULL, -- of the failures since the last success; 0: none
	failures bigint NOT NULL,
	last_ok_at bigint NOT NULL,
	expires_at bigint NOT NULL, -- 0: never
	noticed bigint NOT NULL, -- bits: what was announced already
	idem_hash text NOT NULL,
	idem_body {blob} -- sealed; null if there is none
);
CREATE INDEX push_subscription_account ON push_subscription (account, id);
CREATE INDEX push_subscription_generation ON push_subscription (generation);
CREATE INDEX push_subscription_token ON push_subscription (token_id);
CREATE UNIQUE INDEX push_subscription_idem ON push_subscription (account, idem_hash) WHERE idem_hash <> '';
CREATE TABLE push_event (
	seq {identity},
	id text NOT NULL,
	entity text NOT NULL,
	record_key text NOT NULL,
	resource text NOT NULL,
	key_json text NOT NULL,
	op text NOT NULL,
	changed text NOT NULL, -- JSON array, or '' if not known
	image text NOT NULL, -- JSON object, '' once scrubbed
	before text NOT NULL, -- JSON object, or '' if not known
	origin text NOT NULL,
	at bigint NOT NULL
);
CREATE INDEX push_event_record ON push_event (entity, record_key, seq);
CREATE INDEX push_event_at ON push_event (at);
CREATE TABLE push_outbox (seq bigint NOT NULL PRIMARY KEY);
CREATE TABLE push_delivery (
	id bigint NOT NULL PRIMARY KEY,
	sub text NOT NULL,
	event_seq bigint NOT NULL,
	lane bigint NOT NULL,
	op text NOT NULL, -- c, u, d, e (entered), l (left)
	attempt bigint NOT NULL,
	step bigint NOT NULL,
	queued_at bigint NOT NULL,
	due_at bigint NOT NULL,
	replay_id bigint NOT NULL,
	collapsed bigint NOT NULL,
	changed text NOT NULL -- of all the collapsed ones
);
CREATE INDEX push_delivery_sub ON push_delivery (sub, id);
CREATE TABLE push_queue (
	sub text NOT NULL PRIMARY KEY,
	due_at bigint, -- null: nothing to do, or the holder knows
	holder text NOT NULL,
	token bigint NOT NULL,
	pending bigint NOT NULL
);
CREATE INDEX push_queue_due ON push_queue (due_at);
CREATE TABLE push_worker (
	id text NOT NULL PRIMARY KEY,
	session text NOT NULL,
	expires bigint NOT NULL, -- by the database's clock
	seen bigint NOT NULL -- generation that it works with
);
CREATE TABLE push_attempt (
	id {serial},
	sub text NOT NULL,
	event_seq bigint NOT NULL, -- 0: a message of kedge itself
	message text NOT NULL,
	number bigint NOT NULL,
	at bigint NOT NULL,
	took_us bigint NOT NULL,
	status bigint NOT NULL,
	class text NOT NULL,
	head text NOT NULL
);
CREATE INDEX push_attempt_sub ON push_attempt (sub, id);
CREATE INDEX push_attempt_event ON push_attempt (sub, event_seq);
CREATE TABLE push_dead (
	id {serial},
	sub text NOT NULL,
	event_seq bigint NOT NULL,
	op text NOT NULL,
	class text NOT NULL,
	attempts bigint NOT NULL,
	at bigint NOT NULL
);
CREATE INDEX push_dead_sub ON push_dead (sub, id);
CREATE INDEX push_dead_event ON push_dead (event_seq);
CREATE TABLE push_gap (
	id {serial},
	sub text NOT NULL,
	reason text NOT NULL,
	from_seq bigint NOT NULL,
	to_seq bigint NOT NULL, -- 0: still open
	count bigint NOT NULL, -- -1: not known
	at bigint NOT NULL,
	told_at bigint NOT NULL -- 0: the receiver does not know
);
CREATE INDEX push_gap_sub ON push_gap (sub, id);
CREATE TABLE push_replay (
	id {serial},
	sub text NOT NULL,
	query text NOT NULL, -- JSON of what is replayed
	cursor bigint NOT NULL,
	matched bigint NOT NULL,
	queued bigint NOT NULL,
	state text NOT NULL, -- running, done, cancelled
	at bigint NOT NULL
);
CREATE INDEX push_replay_sub ON push_replay (sub, state);
