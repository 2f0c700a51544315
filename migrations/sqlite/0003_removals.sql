-- Tasks that have been deleted and whose files may still be there: noted with the deletion, so that a crash leaves no file
-- that nobody knows of.
CREATE TABLE removals (
    id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
