-- What one worker at a time does at set times.
CREATE TABLE chores (
    name TEXT COLLATE "C" PRIMARY KEY,
    -- The time that it was begun for last, in milliseconds since 1970 UTC.
    slot BIGINT NOT NULL,
    -- Who does it, and until when it is that worker's without being renewed, by this server's clock.
    worker TEXT COLLATE "C",
    until BIGINT,
    -- The last of the times that it was done for.
    done BIGINT,
    CHECK ((worker IS NULL) = (until IS NULL))
);
