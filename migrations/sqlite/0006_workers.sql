-- Which worker has claimed the task last: what another one left running is taken up.
ALTER TABLE tasks ADD COLUMN worker TEXT;
