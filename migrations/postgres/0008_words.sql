-- The words that tasks are found by: their labels and their workspaces.
CREATE TABLE task_words (
    seq BIGINT NOT NULL REFERENCES tasks (seq) ON DELETE CASCADE,
    -- It may have any character in it: kept as the summary is.
    word TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (seq, word)
);
CREATE INDEX task_words_in_order ON task_words (word, seq);

-- Tasks from before that may have some: they get them when the tables are opened, since no function here reads all that
-- may stand in a task.
CREATE TABLE wordless (
    seq BIGINT PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE
);
INSERT INTO wordless (seq)
SELECT seq FROM tasks JOIN posted USING (seq)
WHERE workspace IS NOT NULL OR STRPOS(body, '"labels"') > 0 OR STRPOS(body, E'\\u') > 0;

-- For those that were accepted at some time.
CREATE INDEX tasks_created ON tasks (created_at);
