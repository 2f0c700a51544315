-- Tasks that have been deleted: each worker removes the files that it has of them. Kept for a while, for those that are
-- away.
CREATE TABLE removals (
    row BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL,
    removed_at BIGINT NOT NULL
);
