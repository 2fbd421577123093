-- What `explain` reads. Statements are parted by `-- name:` lines (SQLText.swift).

-- name: versions
SELECT seq, version, at, committed_at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time, tick_seq, facts,
    state, record
FROM events WHERE order_id = $1::uuid AND version > $2::bigint ORDER BY version LIMIT $3::bigint

-- name: notes
SELECT kind, subject, actor_kind, actor_id, code, detail, count, first_at, last_at
FROM (
    SELECT * FROM order_notes WHERE order_id = $1::uuid ORDER BY last_at DESC, subject LIMIT 1000
) AS n
ORDER BY first_at, subject

-- name: add_notes
-- Arrays. A note of a kind and subject that is there is counted.
INSERT INTO order_notes (
    account_id, order_id, kind, subject, actor_kind, actor_id, code, detail, count, first_at, last_at
)
SELECT o.account_id, o.id, n.kind, n.subject, min(n.actor_kind), min(n.actor_id), min(n.code), min(n.detail),
    sum(n.count)::bigint, min(n.first_at), max(n.last_at)
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
    $10::bigint[]
) AS a(order_id, kind, subject, actor_kind, actor_id, code, detail, count, first_us, last_us)
CROSS JOIN LATERAL (
    SELECT a.order_id, a.kind, a.subject, a.actor_kind, a.actor_id, nullif(a.code, '') AS code,
        nullif(a.detail, '') AS detail, a.count,
        'epoch'::timestamptz + a.first_us * interval '1 us' AS first_at,
        'epoch'::timestamptz + a.last_us * interval '1 us' AS last_at
) AS n
JOIN orders AS o ON o.id = n.order_id
GROUP BY o.account_id, o.id, n.kind, n.subject
ORDER BY o.id, n.kind, n.subject
ON CONFLICT (order_id, kind, subject, account_id) DO UPDATE SET
    count = order_notes.count + excluded.count, last_at = greatest(order_notes.last_at, excluded.last_at)

-- name: halts
SELECT scope, level, reason, since FROM halts
WHERE subject = CASE scope
    WHEN 'cluster' THEN '' WHEN 'venue' THEN split_part($3::text, ':', 1) WHEN 'market' THEN $3::text
    WHEN 'account' THEN $2::text ELSE $1::text END
ORDER BY since, scope

-- name: gaps
SELECT from_time, to_time, reason, is_backfilled FROM feed_gaps
WHERE market = $1::text AND source = $2::text AND to_time >= $3::bigint AND from_time <= $4::bigint
ORDER BY from_time

-- name: add_gap
-- $7: the history is asked for it once more (backfills.sql).
WITH
gone AS (DELETE FROM backfills WHERE done_at < clock_timestamp() - interval '30 days'),
wanted AS (
    INSERT INTO backfills (market, source, from_time, to_time, actor, reason)
    SELECT $1::text, $2::text, $3::bigint, $4::bigint, 'feed', $5::text WHERE $7::boolean
    ON CONFLICT (market, source, from_time, to_time) WHERE done_at IS NULL DO NOTHING
)
INSERT INTO feed_gaps (market, source, from_time, to_time, reason, is_backfilled)
VALUES ($1::text, $2::text, $3::bigint, $4::bigint, $5::text, $6::boolean)
ON CONFLICT (market, source, from_time) DO UPDATE SET
    to_time = excluded.to_time, reason = excluded.reason, is_backfilled = excluded.is_backfilled

-- name: untold_gap
-- One that the history is being asked for may be filled yet: it is told after a minute. One that is filled after it was
-- told is told again, once no other one of its series is in the way.
SELECT market, source, from_time, to_time, reason, is_backfilled FROM feed_gaps AS g
WHERE NOT is_backfilled AND told_at IS NULL AND NOT EXISTS (
    SELECT FROM backfills AS b
    WHERE b.market = g.market AND b.source = g.source AND b.from_time <= g.from_time AND b.to_time >= g.to_time
        AND b.done_at IS NULL AND b.asked_at > clock_timestamp() - interval '1 minute'
) OR is_backfilled AND told_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM feed_gaps AS o
    WHERE o.market = g.market AND o.source = g.source AND NOT o.is_backfilled AND o.told_at IS NOT NULL
)
ORDER BY from_time LIMIT 1

-- name: orders_across
SELECT id FROM orders
WHERE is_live AND market = $1::text AND source = $2::text AND created_at < to_timestamp($3::bigint / 1e6)
    AND ($4::uuid IS NULL OR id > $4::uuid)
ORDER BY id LIMIT $5::bigint

-- name: set_told
UPDATE feed_gaps SET told_at = CASE WHEN NOT is_backfilled THEN clock_timestamp() END
WHERE market = $1::text AND source = $2::text AND from_time = $3::bigint AND is_backfilled = $4::boolean
