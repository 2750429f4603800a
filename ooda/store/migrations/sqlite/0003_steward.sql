-- What the workspace steward keeps: every build it asked for, holds, timers, violations, warnings, past use.
-- `deployment` is the address of the Coder deployment a row is about.

-- One row per build asked for, written before the request: `asked` until its outcome is known. A start that undoes a
-- stop names it in `undoes`.
CREATE TABLE steward_builds (
    key TEXT PRIMARY KEY NOT NULL,
    run TEXT NOT NULL,
    deployment TEXT NOT NULL,
    workspace TEXT NOT NULL,
    title TEXT NOT NULL,
    owner TEXT NOT NULL,
    template TEXT NOT NULL,
    transition TEXT NOT NULL CHECK (transition IN ('start', 'stop')),
    cause TEXT NOT NULL,
    after_build TEXT NOT NULL,
    after_number INTEGER NOT NULL,
    template_version TEXT NOT NULL,
    would_end_ns INTEGER,
    undoes TEXT NOT NULL DEFAULT '',
    asked_ns INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('asked', 'made', 'done', 'failed', 'left', 'error')),
    build TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    ended_ns INTEGER
) WITHOUT ROWID;

CREATE INDEX steward_builds_by_time ON steward_builds (deployment, asked_ns);
CREATE INDEX steward_builds_of_run ON steward_builds (run);

CREATE TABLE steward_holds (
    id TEXT PRIMARY KEY NOT NULL,
    deployment TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('workspace', 'owner', 'fleet')),
    target TEXT NOT NULL,
    until_ns INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_ns INTEGER NOT NULL,
    released_ns INTEGER,
    released_by TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE steward_timers (
    deployment TEXT NOT NULL,
    job TEXT NOT NULL,
    next_ns INTEGER NOT NULL,
    last_ns INTEGER,
    last_run TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (deployment, job)
) WITHOUT ROWID;

CREATE TABLE steward_violations (
    deployment TEXT NOT NULL,
    workspace TEXT NOT NULL,
    kind TEXT NOT NULL,
    since_ns INTEGER NOT NULL,
    title TEXT NOT NULL,
    detail TEXT NOT NULL,
    first_seen_ns INTEGER NOT NULL,
    last_seen_ns INTEGER NOT NULL,
    PRIMARY KEY (deployment, workspace, kind, since_ns)
) WITHOUT ROWID;

-- An owner is told once of the stop of one build for one cause, however often it is put off.
CREATE TABLE steward_warnings (
    deployment TEXT NOT NULL,
    workspace TEXT NOT NULL,
    build TEXT NOT NULL,
    cause TEXT NOT NULL,
    stop_ns INTEGER NOT NULL,
    warned_ns INTEGER NOT NULL,
    PRIMARY KEY (deployment, workspace, build, cause)
) WITHOUT ROWID;

CREATE TABLE steward_uses (
    deployment TEXT NOT NULL,
    workspace TEXT NOT NULL,
    used_ns INTEGER NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (deployment, workspace, used_ns)
) WITHOUT ROWID;

CREATE INDEX steward_uses_of_owner ON steward_uses (deployment, owner, used_ns);
