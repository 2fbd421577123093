-- Stretches of prices that the venue's history is asked for once more (RELIABILITY.md 4.4): it did not answer its feed in
-- time, or an operator wants it. Microseconds of venue time.
CREATE TABLE backfills (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market    text NOT NULL,
    source    text NOT NULL,
    from_time bigint NOT NULL,
    to_time   bigint NOT NULL,
    actor     text NOT NULL,
    reason    text NOT NULL,
    asked_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- By the feed that follows the series, last, and when again.
    tried_at  timestamptz,
    next_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    error     text,
    -- Prices that became known late; NULL: it could not be done.
    ticks     bigint,
    done_at   timestamptz,
    CHECK (to_time >= from_time)
);
CREATE UNIQUE INDEX backfills_open ON backfills (market, source, from_time, to_time) WHERE done_at IS NULL;
CREATE INDEX backfills_series ON backfills (market, source, id);
REVOKE INSERT, UPDATE, DELETE ON backfills FROM smartorders_api;

-- Filled after the orders in it were told that nothing would.
CREATE INDEX feed_gaps_filled ON feed_gaps (from_time) WHERE is_backfilled AND told_at IS NOT NULL;

-- Raised whenever prices became known late: what a process remembers of the prices from before is void.
ALTER TABLE control ADD COLUMN price_revision bigint NOT NULL DEFAULT 0;
