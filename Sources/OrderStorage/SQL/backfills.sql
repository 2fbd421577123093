-- Prices that become known late (RELIABILITY.md 4.4, 4.6.2). Statements are parted by `-- name:` lines (SQLText.swift).

-- name: claim
-- Open ones of the series $1, $2, oldest first. Whoever has one has a minute.
WITH due AS (
    SELECT b.id FROM backfills AS b JOIN unnest($1::text[], $2::text[]) AS s(market, source) USING (market, source)
    WHERE b.done_at IS NULL AND b.next_at <= clock_timestamp()
    ORDER BY b.id LIMIT 4 FOR UPDATE OF b SKIP LOCKED
)
UPDATE backfills AS b SET tried_at = clock_timestamp(), next_at = clock_timestamp() + interval '1 minute'
FROM due WHERE b.id = due.id
RETURNING b.id, b.market, b.source, b.from_time, b.to_time

-- name: fail
-- $3: for good. What could not be had for a day is given up.
UPDATE backfills SET
    error = $2::text, next_at = clock_timestamp() + interval '10 s',
    done_at = CASE WHEN $3::boolean OR asked_at < clock_timestamp() - interval '1 day' THEN clock_timestamp() END
WHERE id = $1::bigint AND done_at IS NULL

-- name: close_gaps
-- Those that lie in the stretch.
UPDATE feed_gaps AS g SET is_backfilled = true FROM backfills AS b
WHERE b.id = $1::bigint AND b.done_at IS NULL AND g.market = b.market AND g.source = b.source
    AND g.from_time >= b.from_time AND g.to_time <= b.to_time AND NOT g.is_backfilled

-- name: lock_workers
-- No cursor is written, and no lease renewed, until the end of the transaction, which is near.
SELECT id FROM workers ORDER BY id FOR UPDATE

-- name: give_back
-- After `release` (cluster.sql): every shard goes to its holder as a new assignment, which begins where its cursors stood.
-- What is left free is the leader's to give.
UPDATE shards SET worker = w.id FROM workers AS w
WHERE shards.worker IS NULL AND w.id = shards.previous AND w.lease_until > clock_timestamp()

-- name: lower_handovers
-- Whoever evaluates the series next begins before its late prices.
UPDATE handovers SET venue_time = $3::bigint, seq = $4::bigint
WHERE market = $1::text AND source = $2::text AND (venue_time, seq) > ($3::bigint, $4::bigint)

-- name: raise_revision
UPDATE control SET price_revision = price_revision + 1

-- name: finish
-- $2: how many prices became known.
UPDATE backfills SET done_at = clock_timestamp(), ticks = $2::bigint, error = NULL
WHERE id = $1::bigint AND done_at IS NULL

-- name: revision
SELECT price_revision FROM control
