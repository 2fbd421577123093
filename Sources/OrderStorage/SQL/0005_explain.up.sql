-- What `explain` shows beside events, intents and fills (ORDERS.md 9).

-- What a version was made of, as JSON (RecordJSON.swift); null: an older program stored none.
ALTER TABLE events ADD COLUMN record text, ADD COLUMN committed_at timestamptz;
-- A step of its own: with a default in the first one every old event would claim to be committed now.
ALTER TABLE events ALTER COLUMN committed_at SET DEFAULT clock_timestamp();

-- What happened to an order and changed nothing: refused commands, obsolete jobs.
CREATE TABLE order_notes (
    account_id uuid NOT NULL,
    order_id   uuid NOT NULL,
    kind       text NOT NULL CHECK (kind IN ('REFUSED', 'OBSOLETE')),
    subject    text NOT NULL,
    actor_kind text NOT NULL,
    actor_id   text NOT NULL,
    code       text,
    detail     text,
    count      bigint NOT NULL CHECK (count > 0),
    first_at   timestamptz NOT NULL,
    last_at    timestamptz NOT NULL,
    PRIMARY KEY (order_id, kind, subject, account_id)
);

-- Where a feed had no prices (RELIABILITY.md 4.4). Microseconds of venue time.
CREATE TABLE feed_gaps (
    market        text NOT NULL,
    source        text NOT NULL,
    from_time     bigint NOT NULL,
    to_time       bigint NOT NULL,
    reason        text NOT NULL,
    is_backfilled boolean NOT NULL,
    PRIMARY KEY (market, source, from_time),
    CHECK (to_time >= from_time)
);
