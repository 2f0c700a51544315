-- Tasks and what was posted. The columns are those of SQLite's tables, so that one reader of rows serves both: ids are TEXT,
-- times are milliseconds since 1970 UTC, truth values are 0 and 1.

CREATE TABLE tasks (
    -- The order of arrival; never used twice, so that a list's cursor stays true.
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    idempotency_key TEXT COLLATE "C" UNIQUE,
    workspace TEXT,
    priority BIGINT NOT NULL,
    max_iterations BIGINT NOT NULL CHECK (max_iterations > 0),
    deadline_ms BIGINT CHECK (deadline_ms > 0),
    status TEXT COLLATE "C" NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    cancel_requested BIGINT NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    -- Grows with each claim; every later write of the worker names it.
    claim BIGINT NOT NULL DEFAULT 0,
    attempt BIGINT NOT NULL DEFAULT 0,
    iteration BIGINT NOT NULL DEFAULT 0,
    log_bytes BIGINT NOT NULL DEFAULT 0,
    -- These two may have any character in them, and PostgreSQL has no U+0000: a backslash is written twice, and that as \0.
    summary TEXT,
    error_message TEXT,
    error_code TEXT,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    revision BIGINT NOT NULL DEFAULT 1,
    -- Whether the record and its meta file are known to be complete; only of interest once the task has ended.
    filed BIGINT NOT NULL DEFAULT 0 CHECK (filed IN (0, 1)),
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    CHECK ((finished_at IS NOT NULL) = (status IN ('succeeded', 'failed', 'cancelled'))),
    CHECK ((error_code IS NOT NULL) = (status = 'failed'))
) WITH (
    -- Each step makes a new version of its task's row, which touches no index as long as it finds room on the same page.
    fillfactor = 70,
    -- By default a fifth of the table may be dead before it is cleaned: with a million ended tasks that is a long way for
    -- whoever looks for the few that wait.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000
);

-- Claims: only what waits is in it, so that it stays small whatever has ended.
CREATE INDEX tasks_queue ON tasks (priority DESC, seq) WHERE status = 'queued';
CREATE INDEX tasks_cancelled ON tasks (priority DESC, seq) WHERE status = 'queued' AND cancel_requested = 1;
-- Without the lease's end, which changes with each step.
CREATE INDEX tasks_running ON tasks (seq) WHERE status = 'running';
CREATE INDEX tasks_unfiled ON tasks (seq) WHERE filed = 0 AND finished_at IS NOT NULL;
CREATE INDEX tasks_by_status ON tasks (status, seq);

-- What was posted, apart from the row that changes with each step: it may be a megabyte.
CREATE TABLE posted (
    seq BIGINT PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE,
    body TEXT NOT NULL
);
