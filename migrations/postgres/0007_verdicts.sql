-- What a person or a program thinks of a task that has ended.
ALTER TABLE tasks
    ADD COLUMN verdict TEXT COLLATE "C" CHECK (verdict IN ('accepted', 'rejected')),
    -- A finite number: NaN is above all others here.
    ADD COLUMN reward DOUBLE PRECISION CHECK (reward > '-Infinity' AND reward < 'Infinity'),
    -- It may have any character in it: kept as the summary is.
    ADD COLUMN note TEXT,
    ADD COLUMN labelled_at BIGINT CHECK (
        CASE WHEN labelled_at IS NULL THEN verdict IS NULL AND reward IS NULL AND note IS NULL
        ELSE finished_at IS NOT NULL AND (verdict IS NOT NULL OR reward IS NOT NULL) END
    );
