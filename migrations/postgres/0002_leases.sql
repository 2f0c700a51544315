-- An edit that is about to be made: what the file was, what it becomes, and what the brain will be told. On record with
-- the call, so that after a crash the file can say whether it was made.
ALTER TABLE tasks ADD COLUMN intent TEXT;

-- How many workers have died over the task since its last iteration.
ALTER TABLE tasks ADD COLUMN losses BIGINT NOT NULL DEFAULT 0 CHECK (losses >= 0);

-- Until when a running task is its worker's, by this server's clock; for one that has ended, until when its files are.
ALTER TABLE tasks ADD COLUMN lease_until BIGINT;

-- For the tasks that are old enough to be forgotten.
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
