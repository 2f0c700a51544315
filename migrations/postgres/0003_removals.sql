-- Tasks that have been deleted: each worker removes the files that it has of them. Kept for a while, for those that are
-- away.
CREATE TABLE removals (
    row BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL,
    removed_at BIGINT NOT NULL,
    -- Rows get their numbers before they are committed; by this whoever reads them in order misses none.
    transaction XID8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX removals_in_order ON removals (transaction, row);
