-- The words that tasks are found by: their labels and their workspaces.
CREATE TABLE task_words (
    seq BIGINT NOT NULL REFERENCES tasks (seq) ON DELETE CASCADE,
    -- It may have any character in it: kept as the summary is.
    word TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (seq, word)
);
CREATE INDEX task_words_in_order ON task_words (word, seq);

-- Tasks that may have some and have none yet: they get them from a process of this version, since no function here reads all
-- that may stand in a task.
CREATE TABLE wordless (
    seq BIGINT PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE
);
INSERT INTO wordless (seq)
SELECT seq FROM posted
WHERE STRPOS(body, '"labels"') > 0 OR STRPOS(body, '"workspace"') > 0 OR STRPOS(body, E'\\u') > 0;

-- An older version, at work beside this one or after a rollback, knows of no words. This runs when all of the statement that
-- adds the task has been done.
CREATE FUNCTION note_wordless() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM task_words WHERE seq = NEW.seq) THEN
        INSERT INTO wordless (seq) VALUES (NEW.seq) ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER posted_wordless AFTER INSERT ON posted FOR EACH ROW
WHEN (STRPOS(NEW.body, '"labels"') > 0 OR STRPOS(NEW.body, '"workspace"') > 0 OR STRPOS(NEW.body, E'\\u') > 0)
EXECUTE FUNCTION note_wordless();

-- For those that were accepted at some time.
CREATE INDEX tasks_created ON tasks (created_at);
