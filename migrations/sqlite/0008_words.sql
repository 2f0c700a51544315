-- The words that tasks are found by: their labels and their workspaces.
CREATE TABLE task_words (
    seq INTEGER NOT NULL REFERENCES tasks (seq) ON DELETE CASCADE,
    word TEXT NOT NULL,
    PRIMARY KEY (seq, word)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_words_in_order ON task_words (word, seq);

-- Tasks from before that may have some: they get them when the tables are opened, since no function here reads all that
-- may stand in a task.
CREATE TABLE wordless (
    seq INTEGER PRIMARY KEY REFERENCES tasks (seq) ON DELETE CASCADE
) STRICT;
INSERT INTO wordless (seq)
SELECT seq FROM tasks JOIN posted USING (seq)
WHERE workspace IS NOT NULL OR INSTR(body, '"labels"') > 0 OR INSTR(body, '\u') > 0;

-- For those that were accepted at some time.
CREATE INDEX tasks_created ON tasks (created_at);
