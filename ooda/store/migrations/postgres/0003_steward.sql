-- The tables of ../sqlite/0003_steward.sql, where they are explained.

CREATE TABLE steward_builds (
    key TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    run TEXT COLLATE "C" NOT NULL,
    deployment TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    template TEXT COLLATE "C" NOT NULL,
    transition TEXT COLLATE "C" NOT NULL CHECK (transition IN ('start', 'stop')),
    cause TEXT COLLATE "C" NOT NULL,
    after_build TEXT COLLATE "C" NOT NULL,
    after_number BIGINT NOT NULL,
    template_version TEXT COLLATE "C" NOT NULL,
    would_end_ns BIGINT,
    undoes TEXT COLLATE "C" NOT NULL DEFAULT '',
    asked_ns BIGINT NOT NULL,
    state TEXT COLLATE "C" NOT NULL CHECK (state IN ('asked', 'made', 'done', 'failed', 'left', 'error')),
    build TEXT COLLATE "C" NOT NULL DEFAULT '',
    detail TEXT COLLATE "C" NOT NULL DEFAULT '',
    ended_ns BIGINT
);

CREATE INDEX steward_builds_by_time ON steward_builds (deployment, asked_ns);
CREATE INDEX steward_builds_of_run ON steward_builds (run);

CREATE TABLE steward_holds (
    id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    deployment TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL CHECK (scope IN ('workspace', 'owner', 'fleet')),
    target TEXT COLLATE "C" NOT NULL,
    until_ns BIGINT NOT NULL,
    made_by TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_ns BIGINT NOT NULL,
    released_ns BIGINT,
    released_by TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE TABLE steward_timers (
    deployment TEXT COLLATE "C" NOT NULL,
    job TEXT COLLATE "C" NOT NULL,
    next_ns BIGINT NOT NULL,
    last_ns BIGINT,
    last_run TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (deployment, job)
);

CREATE TABLE steward_violations (
    deployment TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    since_ns BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    first_seen_ns BIGINT NOT NULL,
    last_seen_ns BIGINT NOT NULL,
    PRIMARY KEY (deployment, workspace, kind, since_ns)
);

CREATE TABLE steward_warnings (
    deployment TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    build TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    stop_ns BIGINT NOT NULL,
    warned_ns BIGINT NOT NULL,
    PRIMARY KEY (deployment, workspace, build, cause)
);

CREATE TABLE steward_uses (
    deployment TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    used_ns BIGINT NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (deployment, workspace, used_ns)
);

CREATE INDEX steward_uses_of_owner ON steward_uses (deployment, owner, used_ns);
