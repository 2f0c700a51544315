-- What is written to tasks, by which life of which node: each says who it is when it connects. A witness in the database
-- sees what no answer tells, and what is rolled back it has not seen.

-- Who claimed a task under which number.
CREATE TABLE holders (
    seq BIGINT,
    claim BIGINT,
    life TEXT NOT NULL,
    PRIMARY KEY (seq, claim)
);

-- Every change of status.
CREATE TABLE changes (
    n BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL,
    what TEXT NOT NULL,
    life TEXT NOT NULL
);

-- What must not happen.
CREATE TABLE crimes (
    what TEXT NOT NULL,
    id TEXT NOT NULL,
    detail TEXT NOT NULL
);

CREATE FUNCTION sees_task() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    me TEXT := COALESCE(current_setting('codex.life', true), 'nobody');
    step TEXT := OLD.status || ' to ' || NEW.status;
    worked BOOLEAN := (NEW.iteration, NEW.log_bytes, NEW.intent) IS DISTINCT FROM (OLD.iteration, OLD.log_bytes, OLD.intent);
    renewed BOOLEAN := NEW.lease_until IS DISTINCT FROM OLD.lease_until;
    taken BOOLEAN := NEW.losses > OLD.losses;
    clock BIGINT := EXTRACT(EPOCH FROM clock_timestamp()) * 1000;
    crime TEXT;
BEGIN
    IF OLD.finished_at IS NOT NULL THEN
        IF (NEW.status, NEW.iteration, NEW.log_bytes, NEW.claim, NEW.attempt, NEW.finished_at, NEW.summary, NEW.error_code, NEW.error_message)
            IS DISTINCT FROM
           (OLD.status, OLD.iteration, OLD.log_bytes, OLD.claim, OLD.attempt, OLD.finished_at, OLD.summary, OLD.error_code, OLD.error_message)
        THEN
            crime := 'an end was changed';
        END IF;
    ELSIF step = 'queued to running' THEN
        IF NEW.claim <> OLD.claim + 1 OR worked THEN
            crime := 'a claim that is none';
        ELSE
            INSERT INTO holders VALUES (NEW.seq, NEW.claim, me);
        END IF;
    ELSIF NEW.claim <> OLD.claim THEN
        crime := 'another claim without its turn';
    ELSIF taken THEN
        IF OLD.status <> 'running' OR OLD.lease_until IS NULL OR OLD.lease_until >= clock THEN
            crime := 'taken from one who holds it';
        END IF;
        step := step || ', lost';
    ELSIF OLD.status = 'running' AND (worked OR renewed OR NEW.status <> OLD.status) THEN
        IF NOT EXISTS (SELECT 1 FROM holders WHERE holders.seq = OLD.seq AND holders.claim = OLD.claim AND holders.life = me) THEN
            crime := 'a write of one who does not hold it';
        ELSIF NEW.iteration NOT IN (OLD.iteration, OLD.iteration + 1) THEN
            crime := 'iterations left out';
        END IF;
    ELSIF OLD.status = 'queued' AND (worked OR NEW.status NOT IN ('queued', 'cancelled')) THEN
        crime := 'a write while it waits';
    END IF;
    IF NEW.status <> OLD.status THEN
        INSERT INTO changes (id, what, life) VALUES (NEW.id, step, me);
    END IF;
    IF crime IS NOT NULL THEN
        INSERT INTO crimes VALUES (crime, NEW.id, me || ': ' || OLD::text || ' became ' || NEW::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER sees_task AFTER UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION sees_task();

-- A line of the record comes in its turn, from who holds the task. It is on record with the task's row, in whatever order.
CREATE FUNCTION sees_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    me TEXT := COALESCE(current_setting('codex.life', true), 'nobody');
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.line, NEW.iteration, NEW.log_end) IS DISTINCT FROM (OLD.line, OLD.iteration, OLD.log_end) THEN
        INSERT INTO crimes VALUES ('a line was changed', NEW.seq, me || ': ' || OLD::text || ' became ' || NEW::text);
    ELSIF TG_OP = 'UPDATE' AND OLD.next IS NOT NULL AND NEW.next IS DISTINCT FROM OLD.next THEN
        INSERT INTO crimes VALUES ('a payload was changed', NEW.seq, me || ': ' || OLD::text || ' became ' || NEW::text);
    ELSIF TG_OP = 'INSERT' AND NEW.iteration <> 1 + COALESCE((SELECT max(iteration) FROM iterations i WHERE i.seq = NEW.seq AND i.iteration <> NEW.iteration), 0) THEN
        INSERT INTO crimes VALUES ('a line out of its turn', NEW.seq, me || ': ' || NEW::text);
    ELSIF NOT EXISTS (
        SELECT 1 FROM tasks JOIN holders ON holders.seq = tasks.seq AND holders.claim = tasks.claim
        WHERE tasks.seq = NEW.seq AND holders.life = me)
    THEN
        INSERT INTO crimes VALUES ('a line of one who does not hold the task', NEW.seq, me || ': ' || NEW::text);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER sees_line AFTER INSERT OR UPDATE ON iterations FOR EACH ROW EXECUTE FUNCTION sees_line();
