-- The tables of ../sqlite/0004_messages.sql, where they are explained.

ALTER TABLE outbox ADD COLUMN routed_ns BIGINT;

CREATE INDEX outbox_unrouted ON outbox (due_ns) WHERE routed_ns IS NULL;

CREATE TABLE messages (
    id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    recipient TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'sending', 'sent', 'dead')),
    created_ns BIGINT NOT NULL,
    due_ns BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    unsure BIGINT NOT NULL DEFAULT 0,
    owner TEXT COLLATE "C" NOT NULL DEFAULT '',
    lease_ns BIGINT NOT NULL DEFAULT 0,
    ended_ns BIGINT,
    failure TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE INDEX messages_open ON messages (channel, state, due_ns) WHERE ended_ns IS NULL;

CREATE TABLE message_notices (
    message TEXT COLLATE "C" NOT NULL REFERENCES messages (id),
    notice TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (message, notice)
);

CREATE INDEX message_notices_of ON message_notices (notice);

CREATE TABLE message_attempts (
    message TEXT COLLATE "C" NOT NULL REFERENCES messages (id),
    attempt BIGINT NOT NULL,
    started_ns BIGINT NOT NULL,
    ended_ns BIGINT,
    outcome TEXT COLLATE "C" NOT NULL DEFAULT '' CHECK (outcome IN ('', 'sent', 'failed', 'unknown')),
    status BIGINT NOT NULL DEFAULT 0,
    detail TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (message, attempt)
);

CREATE TABLE channels (
    channel TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    paused_ns BIGINT NOT NULL DEFAULT 0,
    disabled_ns BIGINT,
    reason TEXT COLLATE "C" NOT NULL DEFAULT ''
);
