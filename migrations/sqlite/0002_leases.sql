-- An edit that is about to be made: what the file was, what it becomes, and what the brain will be told. On record with
-- the call, so that after a crash the file can say whether it was made.
ALTER TABLE tasks ADD COLUMN intent TEXT;

-- How many workers have died over the task since its last iteration.
ALTER TABLE tasks ADD COLUMN losses INTEGER NOT NULL DEFAULT 0 CHECK (losses >= 0);

-- The one service that writes to this file. Every commit makes sure that it is still the holder's.
CREATE TABLE lease (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- Grows each time the file changes hands.
    epoch INTEGER NOT NULL,
    -- Milliseconds since 1970 UTC. Whoever has not renewed by then may be taken the file from.
    until INTEGER NOT NULL
) STRICT;
INSERT INTO lease (one, epoch, until) VALUES (1, 0, 0);

-- For the tasks that are old enough to be forgotten.
CREATE INDEX tasks_finished ON tasks (finished_at) WHERE finished_at IS NOT NULL;
