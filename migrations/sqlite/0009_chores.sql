-- What one worker at a time does at set times.
CREATE TABLE chores (
    name TEXT PRIMARY KEY,
    -- The time that it was begun for last, in milliseconds since 1970 UTC.
    slot INTEGER NOT NULL,
    -- Who does it, and until when it is that worker's without being renewed.
    worker TEXT,
    until INTEGER,
    -- The last of the times that it was done for.
    done INTEGER,
    CHECK ((worker IS NULL) = (until IS NULL))
) STRICT, WITHOUT ROWID;
