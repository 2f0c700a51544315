-- Tasks, what was posted, and their iterations. Ids are TEXT, times are milliseconds since 1970 UTC.

CREATE TABLE tasks (
    -- The order of arrival; never used twice, so that a list's cursor stays true.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT UNIQUE,
    workspace TEXT,
    priority INTEGER NOT NULL,
    max_iterations INTEGER NOT NULL CHECK (max_iterations > 0),
    deadline_ms INTEGER CHECK (deadline_ms > 0),
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    -- Grows with each claim; every later write of the worker names it.
    claim INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    iteration INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    -- The payload that is to be sent next, on record before it is sent.
    pending TEXT,
    pending_tool_ms INTEGER,
    summary TEXT,
    error_code TEXT,
    error_message TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    revision INTEGER NOT NULL DEFAULT 1,
    -- Whether the record and its meta file are known to be complete; only of interest once the task has ended.
    filed INTEGER NOT NULL DEFAULT 0 CHECK (filed IN (0, 1)),
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
    CHECK ((error_code IS NOT NULL) = (status = 'failed'))
) STRICT;

-- Claims: only what waits is in it, so that it stays small whatever has ended.
CREATE INDEX tasks_queue ON tasks (priority DESC, seq) WHERE status = 'queued';
CREATE INDEX tasks_cancelled ON tasks (priority DESC, seq) WHERE status = 'queued' AND cancel_requested = 1;
CREATE INDEX tasks_running ON tasks (cancel_requested, seq) WHERE status = 'running';
CREATE INDEX tasks_unfiled ON tasks (seq) WHERE filed = 0 AND finished_at IS NOT NULL;
CREATE INDEX tasks_by_status ON tasks (status, seq);

-- What was posted, apart from the row that changes with each step: it may be a megabyte.
CREATE TABLE posted (
    seq INTEGER PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE iterations (
    seq INTEGER NOT NULL REFERENCES tasks (seq) ON DELETE CASCADE,
    iteration INTEGER NOT NULL CHECK (iteration > 0),
    -- The offset behind the line's line feed, from the start of the record.
    log_end INTEGER NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (seq, iteration)
) STRICT, WITHOUT ROWID;
