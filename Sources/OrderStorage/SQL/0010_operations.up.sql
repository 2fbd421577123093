-- What operators do to the queue in bulk, resumable (QUEUE.md 11.1), and what they set there (14.1).

CREATE TABLE bulk_operations (
    id         text PRIMARY KEY,
    kind       text NOT NULL CHECK (kind IN ('requeue', 'discard', 'promote')),
    filter     jsonb NOT NULL,
    -- By the clock of Redis: what dies later belongs to another batch.
    cutoff_ms  bigint NOT NULL,
    actor      text NOT NULL,
    reason     text NOT NULL DEFAULT '',
    -- Listing may be repeated, running is gone on with, the others are final.
    state      text NOT NULL DEFAULT 'listing' CHECK (state IN ('listing', 'running', 'done', 'cancelled')),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz
);

CREATE TABLE bulk_items (
    number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch   text NOT NULL REFERENCES bulk_operations,
    queue   text NOT NULL,
    job_id  text NOT NULL,
    -- Redis was asked; whoever goes on after a kill knows that the job moved with this batch.
    is_sent boolean NOT NULL DEFAULT false,
    outcome text CHECK (outcome IN ('moved', 'obsolete', 'duplicate', 'failed')),
    UNIQUE (batch, queue, job_id)
);
CREATE INDEX bulk_items_open ON bulk_items (batch, number) WHERE outcome IS NULL;

-- Pauses, to survive a rebuild; Redis is the live truth.
CREATE TABLE queue_settings (
    queue        text PRIMARY KEY,
    paused_until timestamptz NOT NULL,
    actor        text NOT NULL,
    reason       text NOT NULL,
    since        timestamptz NOT NULL DEFAULT clock_timestamp()
);
