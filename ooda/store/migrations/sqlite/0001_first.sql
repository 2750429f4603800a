-- Everything that must agree lives in this one database. Times are integer nanoseconds since the epoch, UTC;
-- money is integer nano-USD. A migration is never edited after a release: a change is the next number.

CREATE TABLE meta (
    key TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Tells this store from every other: an anchor of one proves nothing about another.
INSERT INTO meta (key, value) VALUES ('store.id', lower(hex(randomblob(16))));

-- One line per run, derived from its events in the transaction that appends them. `last_seq` and `last_hash` are
-- the head of its chain: an append is accepted only on top of them.
CREATE TABLE runs (
    run TEXT PRIMARY KEY NOT NULL,
    agent TEXT NOT NULL,
    task_id TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL DEFAULT '',
    parent TEXT NOT NULL DEFAULT '',
    run_by TEXT NOT NULL DEFAULT '',
    loop_version INTEGER NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    phase TEXT NOT NULL DEFAULT '',
    steps INTEGER NOT NULL DEFAULT 0,
    cost_nano INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    created_ns INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    last_hash TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE events (
    run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    label TEXT NOT NULL,
    body BLOB NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

-- Who may write to a run. The fence goes up with every change of owner; every append names it.
CREATE TABLE leases (
    run TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    fence INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) WITHOUT ROWID;

-- States of a run kept for a quick resume, and of its workspace for a fork. `ref` is a blob digest or a git commit.
CREATE TABLE snapshots (
    run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (run, seq, kind)
) WITHOUT ROWID;

-- Budgets. A window row is one scope in one hour, day or lifetime; the caps are those last seen, for reports.
-- `alerted` is a bit mask of the alerts already given.
CREATE TABLE budget_windows (
    key TEXT PRIMARY KEY NOT NULL,
    scope TEXT NOT NULL,
    span TEXT NOT NULL,
    cap_cost INTEGER,
    cap_tokens INTEGER,
    spent_cost INTEGER NOT NULL DEFAULT 0,
    spent_tokens INTEGER NOT NULL DEFAULT 0,
    reserved_cost INTEGER NOT NULL DEFAULT 0,
    reserved_tokens INTEGER NOT NULL DEFAULT 0,
    alerted INTEGER NOT NULL DEFAULT 0,
    touched_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE reservations (
    key TEXT PRIMARY KEY NOT NULL,
    run TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'sent', 'settled', 'released', 'expired')),
    cost_nano INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    windows TEXT NOT NULL,
    price TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX reservations_open ON reservations (expires_ns) WHERE state IN ('held', 'sent');

-- What was really charged on a reservation: usually one line, one more per repeated attempt or late correction.
CREATE TABLE charges (
    key TEXT NOT NULL REFERENCES reservations (key) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('settled', 'attempt', 'expired', 'correction')),
    cost_nano INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (key, number)
) WITHOUT ROWID;

CREATE TABLE approvals (
    id TEXT PRIMARY KEY NOT NULL,
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    call TEXT NOT NULL,
    tool TEXT NOT NULL,
    ask TEXT NOT NULL,
    definition TEXT NOT NULL,
    arguments TEXT NOT NULL,
    arguments_hash TEXT NOT NULL,
    targets TEXT NOT NULL,
    policy TEXT NOT NULL,
    labels TEXT NOT NULL,
    shown TEXT NOT NULL,
    shown_hash TEXT NOT NULL,
    asked_ns INTEGER NOT NULL,
    expires_ns INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    answered_by TEXT NOT NULL DEFAULT '',
    answered_ns INTEGER,
    note TEXT NOT NULL DEFAULT '',
    edited_arguments TEXT,
    used_ns INTEGER
) WITHOUT ROWID;

CREATE INDEX approvals_waiting ON approvals (asked_ns) WHERE state = 'waiting';

CREATE TABLE agents (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    granted_level TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    details TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;

CREATE TABLE reputation_events (
    id TEXT PRIMARY KEY NOT NULL,
    agent TEXT NOT NULL REFERENCES agents (id),
    capability TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL,
    delta INTEGER NOT NULL,
    score INTEGER NOT NULL,
    run TEXT NOT NULL DEFAULT '',
    cause TEXT NOT NULL DEFAULT '',
    made_by TEXT NOT NULL DEFAULT '',
    details TEXT NOT NULL DEFAULT '{}',
    at_ns INTEGER NOT NULL
);

CREATE INDEX reputation_events_of_agent ON reputation_events (agent, at_ns);

-- Notices to be delivered, written in the transaction of the fact they tell.
CREATE TABLE outbox (
    id TEXT PRIMARY KEY NOT NULL,
    run TEXT NOT NULL DEFAULT '',
    channel TEXT NOT NULL,
    payload TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    due_ns INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    sent_ns INTEGER,
    failure TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE INDEX outbox_waiting ON outbox (due_ns) WHERE sent_ns IS NULL;

CREATE TABLE activities (
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    activity_type TEXT NOT NULL,
    message TEXT NOT NULL,
    details TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    PRIMARY KEY (run, seq)
);

CREATE INDEX activities_of_task ON activities (task_id, timestamp);

-- The name and columns by which operators query them.
CREATE VIEW task_activities AS
    SELECT task_id, activity_type, message, details, timestamp FROM activities;

-- One hash chain over everything governance decided; `meta` holds its head under `audit.head`.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY NOT NULL,
    at_ns INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    run TEXT NOT NULL,
    subject TEXT NOT NULL,
    decision TEXT NOT NULL,
    reason TEXT NOT NULL,
    details TEXT NOT NULL,
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
