-- Prices that become known late (RELIABILITY.md 4.4, 4.6.2). Statements are parted by `-- name:` lines (SQLText.swift).

-- name: claim
-- Open ones of the series $1, $2, oldest first. None is handed out twice in 10 s.
WITH due AS (
    SELECT b.id FROM backfills AS b JOIN unnest($1::text[], $2::text[]) AS s(market, source) USING (market, source)
    WHERE b.done_at IS NULL AND (b.tried_at IS NULL OR b.tried_at < clock_timestamp() - interval '10 s')
    ORDER BY b.id LIMIT 4 FOR UPDATE OF b SKIP LOCKED
)
UPDATE backfills AS b SET tried_at = clock_timestamp() FROM due WHERE b.id = due.id
RETURNING b.id, b.market, b.source, b.from_time, b.to_time

-- name: fail
-- $3: for good. What could not be had for a day is given up.
UPDATE backfills SET
    error = $2::text,
    done_at = CASE WHEN $3::boolean OR asked_at < clock_timestamp() - interval '1 day' THEN clock_timestamp() END
WHERE id = $1::bigint AND done_at IS NULL

-- name: lock_workers
-- First in the transaction: no cursor is written until its end.
SELECT id FROM workers ORDER BY id FOR UPDATE

-- name: hand_out_again
-- Every shard stays with its holder, as a new assignment that begins where the cursors stand now: to be lowered next.
WITH
taken AS MATERIALIZED (
    SELECT id, worker, is_accepted FROM shards
    WHERE worker IS NOT NULL AND EXISTS (SELECT FROM backfills AS b WHERE b.id = $1::bigint AND b.done_at IS NULL)
    ORDER BY id FOR UPDATE OF shards
),
copies AS MATERIALIZED (
    SELECT worker, nextval('handover_ids') AS handover FROM (SELECT DISTINCT worker FROM taken WHERE is_accepted) AS w
),
copied AS (
    INSERT INTO handovers (id, market, source, venue_time, seq, heard)
    SELECT copies.handover, c.market, c.source, c.venue_time, c.seq, c.heard
    FROM copies JOIN cursors AS c USING (worker)
)
UPDATE shards SET
    previous = taken.worker, handover = coalesce(copies.handover, shards.handover), is_accepted = false,
    epoch = shards.epoch + 1
FROM taken LEFT JOIN copies ON copies.worker = taken.worker AND taken.is_accepted
WHERE shards.id = taken.id

-- name: lower_handovers
-- Whoever evaluates the series next begins before its late prices.
UPDATE handovers SET venue_time = $3::bigint, seq = $4::bigint
WHERE market = $1::text AND source = $2::text AND (venue_time, seq) > ($3::bigint, $4::bigint)

-- name: raise_revision
UPDATE control SET price_revision = price_revision + 1

-- name: finish
-- $2: how many prices became known. Gaps that it covers are filled.
WITH done AS (
    UPDATE backfills SET done_at = clock_timestamp(), ticks = $2::bigint, error = NULL
    WHERE id = $1::bigint AND done_at IS NULL
    RETURNING market, source, from_time, to_time
)
UPDATE feed_gaps AS g SET is_backfilled = true FROM done
WHERE g.market = done.market AND g.source = done.source AND g.from_time >= done.from_time AND g.to_time <= done.to_time
    AND NOT g.is_backfilled

-- name: revision
SELECT price_revision FROM control
