-- Delivery of notices. A notice of the outbox becomes one message for each receiver; a message has attempts.

-- When the notice was turned into messages, also when nobody wants it; NULL until then.
ALTER TABLE outbox ADD COLUMN routed_ns INTEGER;

CREATE INDEX outbox_unrouted ON outbox (due_ns) WHERE routed_ns IS NULL;

CREATE TABLE messages (
    -- Made of its first notice, channel and recipient: routing twice makes one. Receivers see it as the message's id.
    id TEXT PRIMARY KEY NOT NULL,
    -- mail, slack, teams, webhook.
    channel TEXT NOT NULL,
    -- A mail address; empty where a channel has one receiver.
    recipient TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sending', 'sent', 'dead')),
    created_ns INTEGER NOT NULL,
    due_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Of these, those of which nobody knows whether they arrived.
    unsure INTEGER NOT NULL DEFAULT 0,
    -- Who sends it now, and until when that may take.
    owner TEXT NOT NULL DEFAULT '',
    lease_ns INTEGER NOT NULL DEFAULT 0,
    ended_ns INTEGER,
    failure TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE INDEX messages_open ON messages (channel, state, due_ns) WHERE ended_ns IS NULL;

-- Several notices may go as one message.
CREATE TABLE message_notices (
    message TEXT NOT NULL REFERENCES messages (id),
    notice TEXT NOT NULL,
    PRIMARY KEY (message, notice)
) WITHOUT ROWID;

CREATE INDEX message_notices_of ON message_notices (notice);

-- Written before the first byte leaves; an attempt without an end was cut off.
CREATE TABLE message_attempts (
    message TEXT NOT NULL REFERENCES messages (id),
    attempt INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    ended_ns INTEGER,
    outcome TEXT NOT NULL DEFAULT '' CHECK (outcome IN ('', 'sent', 'failed', 'unknown')),
    -- What the receiver answered: a status of HTTP or SMTP; 0 without an answer.
    status INTEGER NOT NULL DEFAULT 0,
    detail TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, attempt)
) WITHOUT ROWID;

-- Channels that were told to wait or to stop.
CREATE TABLE channels (
    channel TEXT PRIMARY KEY NOT NULL,
    -- Digest of where the channel leads: another address begins afresh.
    endpoint TEXT NOT NULL,
    paused_ns INTEGER NOT NULL DEFAULT 0,
    disabled_ns INTEGER,
    reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
