-- Which worker has claimed the task last.
ALTER TABLE tasks ADD COLUMN worker TEXT COLLATE "C";

-- Each worker asks each second which of its tasks are to be stopped: mostly none, whatever runs.
CREATE INDEX tasks_stopping ON tasks (worker) WHERE cancel_requested = 1 AND finished_at IS NULL;

-- The workers that live, by their own word.
CREATE TABLE workers (
    id TEXT COLLATE "C" PRIMARY KEY,
    -- How many tasks it can run at a time; none if it is stopping.
    capacity BIGINT NOT NULL CHECK (capacity >= 0),
    started_at BIGINT NOT NULL,
    -- By this server's clock.
    seen_at BIGINT NOT NULL
);

-- One number for an autoscaler: what waits and what runs, so that no worker is taken away while it is at work.
CREATE VIEW codex_agent_load AS
SELECT
    (SELECT COUNT(*) FROM tasks WHERE status = 'queued') + (SELECT COUNT(*) FROM tasks WHERE status = 'running') AS unfinished;
