-- Deaths of jobs, from which the queue's dead set is rebuilt (QUEUE.md 9.5), and how many partitions the queue has (2.1).

ALTER TABLE outbox ADD COLUMN ended_at timestamptz;
CREATE INDEX outbox_dead ON outbox (job_id) WHERE state = 'dead';

-- What an operator knows about the dead of one kind.
CREATE TABLE dead_notes (
    -- Code of the error.
    code  text PRIMARY KEY,
    note  text NOT NULL,
    actor text NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Changed while no process works.
ALTER TABLE control ADD COLUMN queue_partitions integer NOT NULL DEFAULT 8 CHECK (queue_partitions IN (1, 2, 4, 8, 16));
