-- Of a task's prompt tokens, how many the model's server had in its cache: they cost less. Null: nobody said.
ALTER TABLE tasks ADD COLUMN cached_tokens BIGINT;
