-- What came back in each iteration, and what it led to: the payload that is sent next stands beside the line that it
-- follows, and the line of the next iteration, which bears the same payload, leaves it out. So each payload is written once.
--
-- Rows are added in the order of their arrival, whichever task they belong to: what is committed together lies together,
-- and a commit of many tasks fills pages instead of touching one for each of them.
CREATE TABLE steps (
    row INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL REFERENCES tasks (seq) ON DELETE CASCADE,
    iteration INTEGER NOT NULL CHECK (iteration > 0),
    -- The offset behind the line's line feed, from the start of the record.
    log_end INTEGER NOT NULL,
    -- Without the payload of the row before, if cut says where that belongs, in bytes.
    line TEXT NOT NULL,
    cut INTEGER CHECK (cut > 0),
    -- The payload that is to be sent next, on record before it is sent.
    next TEXT,
    next_tool_ms INTEGER
) STRICT;

INSERT INTO steps (seq, iteration, log_end, line, next, next_tool_ms)
SELECT i.seq, i.iteration, i.log_end, i.line, t.pending, t.pending_tool_ms
FROM iterations i LEFT JOIN tasks t ON t.seq = i.seq AND t.iteration = i.iteration
ORDER BY i.seq, i.iteration;

DROP TABLE iterations;
ALTER TABLE steps RENAME TO iterations;
CREATE UNIQUE INDEX iterations_of_tasks ON iterations (seq, iteration);

ALTER TABLE tasks DROP COLUMN pending;
ALTER TABLE tasks DROP COLUMN pending_tool_ms;
