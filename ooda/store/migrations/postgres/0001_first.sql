-- The tables of ../sqlite/0001_first.sql, where they are explained. Texts are compared byte by byte, as there, whatever
-- the database's locale. A migration is never edited after a release: a change is the next number.

CREATE TABLE meta (
    key TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    value TEXT COLLATE "C" NOT NULL
);

INSERT INTO meta (key, value) VALUES ('store.id', replace(gen_random_uuid()::text, '-', ''));

CREATE TABLE runs (
    run TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    agent TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL DEFAULT '',
    title TEXT COLLATE "C" NOT NULL DEFAULT '',
    model TEXT COLLATE "C" NOT NULL DEFAULT '',
    parent TEXT COLLATE "C" NOT NULL DEFAULT '',
    run_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    loop_version BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL DEFAULT '',
    phase TEXT COLLATE "C" NOT NULL DEFAULT '',
    steps BIGINT NOT NULL DEFAULT 0,
    cost_nano BIGINT NOT NULL DEFAULT 0,
    tokens BIGINT NOT NULL DEFAULT 0,
    created_ns BIGINT NOT NULL,
    updated_ns BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    last_hash TEXT COLLATE "C" NOT NULL
);

CREATE TABLE events (
    run TEXT COLLATE "C" NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    schema_version BIGINT NOT NULL,
    at_ns BIGINT NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    prev_hash TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE TABLE leases (
    run TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    fence BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL
);

CREATE TABLE snapshots (
    run TEXT COLLATE "C" NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    ref TEXT COLLATE "C" NOT NULL,
    at_ns BIGINT NOT NULL,
    PRIMARY KEY (run, seq, kind)
);

CREATE TABLE budget_windows (
    key TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    span TEXT COLLATE "C" NOT NULL,
    cap_cost BIGINT,
    cap_tokens BIGINT,
    spent_cost BIGINT NOT NULL DEFAULT 0,
    spent_tokens BIGINT NOT NULL DEFAULT 0,
    reserved_cost BIGINT NOT NULL DEFAULT 0,
    reserved_tokens BIGINT NOT NULL DEFAULT 0,
    alerted BIGINT NOT NULL DEFAULT 0,
    touched_ns BIGINT NOT NULL
);

CREATE TABLE reservations (
    key TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('held', 'sent', 'settled', 'released', 'expired')),
    cost_nano BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    windows TEXT COLLATE "C" NOT NULL,
    price TEXT COLLATE "C" NOT NULL,
    created_ns BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL
);

CREATE INDEX reservations_open ON reservations (expires_ns) WHERE state IN ('held', 'sent');

CREATE TABLE charges (
    key TEXT COLLATE "C" NOT NULL REFERENCES reservations (key) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    why TEXT COLLATE "C" NOT NULL CHECK (why IN ('settled', 'attempt', 'expired', 'correction')),
    cost_nano BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (key, number)
);

CREATE TABLE approvals (
    id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    call TEXT COLLATE "C" NOT NULL,
    tool TEXT COLLATE "C" NOT NULL,
    ask TEXT COLLATE "C" NOT NULL,
    definition TEXT COLLATE "C" NOT NULL,
    arguments TEXT COLLATE "C" NOT NULL,
    arguments_hash TEXT COLLATE "C" NOT NULL,
    targets TEXT COLLATE "C" NOT NULL,
    policy TEXT COLLATE "C" NOT NULL,
    labels TEXT COLLATE "C" NOT NULL,
    shown TEXT COLLATE "C" NOT NULL,
    shown_hash TEXT COLLATE "C" NOT NULL,
    asked_ns BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL DEFAULT 'waiting',
    answered_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    answered_ns BIGINT,
    note TEXT COLLATE "C" NOT NULL DEFAULT '',
    edited_arguments TEXT COLLATE "C",
    used_ns BIGINT
);

CREATE INDEX approvals_waiting ON approvals (asked_ns) WHERE state = 'waiting';

CREATE TABLE agents (
    id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    kind TEXT COLLATE "C" NOT NULL,
    granted_level TEXT COLLATE "C" NOT NULL,
    created_ns BIGINT NOT NULL,
    details TEXT COLLATE "C" NOT NULL DEFAULT '{}'
);

CREATE TABLE reputation_events (
    id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    agent TEXT COLLATE "C" NOT NULL REFERENCES agents (id),
    capability TEXT COLLATE "C" NOT NULL DEFAULT '',
    kind TEXT COLLATE "C" NOT NULL,
    delta BIGINT NOT NULL,
    score BIGINT NOT NULL,
    run TEXT COLLATE "C" NOT NULL DEFAULT '',
    cause TEXT COLLATE "C" NOT NULL DEFAULT '',
    made_by TEXT COLLATE "C" NOT NULL DEFAULT '',
    details TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    at_ns BIGINT NOT NULL
);

CREATE INDEX reputation_events_of_agent ON reputation_events (agent, at_ns);

CREATE TABLE outbox (
    id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    run TEXT COLLATE "C" NOT NULL DEFAULT '',
    channel TEXT COLLATE "C" NOT NULL,
    payload TEXT COLLATE "C" NOT NULL,
    created_ns BIGINT NOT NULL,
    due_ns BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    sent_ns BIGINT,
    failure TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE INDEX outbox_waiting ON outbox (due_ns) WHERE sent_ns IS NULL;

CREATE TABLE activities (
    run TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    activity_type TEXT COLLATE "C" NOT NULL,
    message TEXT COLLATE "C" NOT NULL,
    details TEXT COLLATE "C" NOT NULL,
    timestamp TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE INDEX activities_of_task ON activities (task_id, timestamp);

CREATE VIEW task_activities AS
    SELECT task_id, activity_type, message, details, timestamp FROM activities;

CREATE TABLE audit (
    seq BIGINT PRIMARY KEY NOT NULL,
    at_ns BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    details TEXT COLLATE "C" NOT NULL,
    prev_hash TEXT COLLATE "C" NOT NULL,
    hash TEXT COLLATE "C" NOT NULL
);
