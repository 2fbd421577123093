-- The database itself: whose history it is, and what may be done on it.

-- One row. Every decision names the incarnation in which its order was read; a restored or promoted database has
-- another one, so nothing decided before is stored after (RELIABILITY.md 2.10).
CREATE TABLE control (
    single            boolean PRIMARY KEY DEFAULT true CHECK (single),
    incarnation       bigint NOT NULL DEFAULT 1 CHECK (incarnation > 0),
    system_identifier bigint NOT NULL,
    timeline          text NOT NULL,
    -- A venue is asked nothing until its fence has passed since then.
    quarantine_from   timestamptz NOT NULL DEFAULT '-infinity',
    -- What the queue in Redis must name to be open; raised when its content is rebuilt (QUEUE.md 14.3).
    queue_generation  bigint NOT NULL DEFAULT 1 CHECK (queue_generation > 0)
);
INSERT INTO control (system_identifier, timeline)
SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system();

-- The kill switch (RELIABILITY.md 11.1): few rows or none. Read in the statement that gives a send right.
CREATE TABLE halts (
    scope   text NOT NULL CHECK (scope IN ('cluster', 'venue', 'market', 'account', 'order')),
    -- Empty for the cluster.
    subject text NOT NULL,
    level   text NOT NULL CHECK (level IN ('entries', 'sends')),
    reason  text NOT NULL,
    actor   text NOT NULL,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (scope, subject),
    CHECK ((scope = 'cluster') = (subject = ''))
);

-- Confirms commits whose wait for a standby was cut short (RELIABILITY.md 3.1.6).
CREATE TABLE commit_probe (
    session text PRIMARY KEY,
    at      timestamptz NOT NULL
);

-- What operators did. Append only.
CREATE TABLE audit (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text NOT NULL,
    action  text NOT NULL,
    subject text NOT NULL,
    reason  text NOT NULL DEFAULT '',
    detail  jsonb
);
