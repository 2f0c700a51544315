-- What came back in each iteration, and what it led to: the payload that is sent next stands beside the line that it
-- follows, and the line of the next iteration, which bears the same payload, leaves it out. So each payload is written once.
CREATE TABLE iterations (
    seq BIGINT NOT NULL REFERENCES tasks (seq) ON DELETE CASCADE,
    iteration BIGINT NOT NULL CHECK (iteration > 0),
    -- The offset behind the line's line feed, from the start of the record.
    log_end BIGINT NOT NULL,
    -- Without the payload of the row before, if cut says where that belongs, in bytes.
    line TEXT NOT NULL,
    cut BIGINT CHECK (cut > 0),
    -- The payload that is to be sent next, on record before it is sent.
    next TEXT,
    next_tool_ms BIGINT,
    PRIMARY KEY (seq, iteration)
) WITH (fillfactor = 90); -- the payload comes a moment after its line
