-- Who works on what. All times are this server's clock.

CREATE TABLE workers (
    id            text PRIMARY KEY,
    lease_until   timestamptz NOT NULL,
    is_quiet      boolean NOT NULL DEFAULT false,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- One row.
CREATE TABLE leader (
    single      boolean PRIMARY KEY DEFAULT true CHECK (single),
    worker      text,
    epoch       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO leader DEFAULT VALUES;

CREATE TABLE shards (
    id          smallint PRIMARY KEY CHECK (id BETWEEN 0 AND 1023),
    worker      text,
    epoch       bigint NOT NULL DEFAULT 0,
    previous    text,
    -- Cursors to go on from; see handovers.
    handover    bigint,
    -- The holder has lowered its own cursors to those of the handover.
    is_accepted boolean NOT NULL DEFAULT false,
    CHECK (worker IS NOT NULL OR NOT is_accepted)
) WITH (fillfactor = 50);
INSERT INTO shards (id) SELECT generate_series(0, 1023);
CREATE INDEX shards_by_worker ON shards (worker) WHERE worker IS NOT NULL;

-- How far each holder has evaluated each series of prices.
CREATE TABLE cursors (
    worker     text NOT NULL,
    market     text NOT NULL,
    source     text NOT NULL,
    venue_time bigint NOT NULL,
    seq        bigint NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (worker, market, source)
) WITH (fillfactor = 50);

-- Cursors of a holder as they stood when shards were taken from it.
CREATE SEQUENCE handover_ids;
CREATE TABLE handovers (
    id         bigint NOT NULL,
    market     text NOT NULL,
    source     text NOT NULL,
    venue_time bigint NOT NULL,
    seq        bigint NOT NULL,
    PRIMARY KEY (id, market, source)
);

-- Ordered local extremes of a series over at most 500 ms of venue time, one row each (RELIABILITY.md 3.3, 4.1).
CREATE TABLE price_extremes (
    market    text NOT NULL,
    source    text NOT NULL,
    from_time bigint NOT NULL,
    from_seq  bigint NOT NULL,
    to_time   bigint NOT NULL,
    to_seq    bigint NOT NULL,
    -- venue time, sequence, price; venue time, sequence, price; ...
    points    bigint[] NOT NULL CHECK (cardinality(points) > 0 AND cardinality(points) % 3 = 0),
    PRIMARY KEY (market, source, from_time, from_seq, to_time, to_seq),
    CONSTRAINT price_extremes_span CHECK ((to_time, to_seq) >= (from_time, from_seq) AND to_time - from_time <= 500000)
);
