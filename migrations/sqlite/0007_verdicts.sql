-- What a person or a program thinks of a task that has ended.
ALTER TABLE tasks ADD COLUMN verdict TEXT CHECK (verdict IN ('accepted', 'rejected'));
-- A finite number.
ALTER TABLE tasks ADD COLUMN reward REAL CHECK (reward BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308);
ALTER TABLE tasks ADD COLUMN note TEXT;
ALTER TABLE tasks ADD COLUMN labelled_at INTEGER CHECK (
    CASE WHEN labelled_at IS NULL THEN verdict IS NULL AND reward IS NULL AND note IS NULL
    ELSE finished_at IS NOT NULL AND (verdict IS NOT NULL OR reward IS NOT NULL) END
);
