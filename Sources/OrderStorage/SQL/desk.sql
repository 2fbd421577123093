-- Operators' control of processes, shards and the kill switch. What changes something is audited in the same statement;
-- an update that finds nothing leaves no row.

-- name: workers
-- Those whose lease holds, and those whose lease lapsed and who still hold shards.
SELECT w.id, w.lease_until > clock_timestamp() AS is_live, w.is_quiet, w.wants_stop, w.registered_at,
    count(s.id), count(s.id) FILTER (WHERE s.is_accepted), w.concurrency::bigint
FROM workers AS w LEFT JOIN shards AS s ON s.worker = w.id
GROUP BY w.id HAVING w.lease_until > clock_timestamp() OR count(s.id) > 0
ORDER BY w.registered_at, w.id

-- name: set_quiet
WITH done AS (
    UPDATE workers SET is_quiet = $2::boolean WHERE id = $1::text AND lease_until > clock_timestamp() RETURNING id
)
INSERT INTO audit (actor, action, subject, reason)
SELECT $3::text, CASE WHEN $2::boolean THEN 'worker.quiet' ELSE 'worker.resume' END, id, $4::text FROM done
RETURNING 1

-- name: stop
WITH done AS (
    UPDATE workers SET wants_stop = true WHERE id = $1::text AND lease_until > clock_timestamp() RETURNING id
)
INSERT INTO audit (actor, action, subject, reason) SELECT $2::text, 'worker.stop', id, $3::text FROM done RETURNING 1

-- name: set_concurrency
WITH done AS (
    UPDATE workers SET concurrency = $2::bigint::integer WHERE id = $1::text AND lease_until > clock_timestamp()
    RETURNING id
)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $3::text, 'worker.concurrency', id, $4::text, jsonb_build_object('concurrency', $2::bigint) FROM done RETURNING 1

-- name: restart_feed
-- Feeds tell every second that they run.
WITH done AS (
    UPDATE feeds SET restart_at = clock_timestamp()
    WHERE id = $1::text AND seen_at > clock_timestamp() - interval '10 s' RETURNING process
)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $2::text, 'feed.restart', $1::text, $3::text, jsonb_build_object('processes', count(*)) FROM done
HAVING count(*) > 0 RETURNING 1

-- name: ask_backfill
-- One that is open already is tried at once.
WITH done AS (
    INSERT INTO backfills (market, source, from_time, to_time, actor, reason)
    VALUES ($1::text, $2::text, $3::bigint, $4::bigint, $5::text, $6::text)
    ON CONFLICT (market, source, from_time, to_time) WHERE done_at IS NULL DO UPDATE SET next_at = clock_timestamp()
    RETURNING id
)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $5::text, 'feed.backfill', concat_ws(' ', $1::text, $2::text), $6::text, jsonb_build_object(
    'id', id, 'from', api_time(to_timestamp($3::bigint / 1e6)), 'to', api_time(to_timestamp($4::bigint / 1e6)))
FROM done RETURNING 1

-- name: leader
SELECT worker, epoch, lease_until > clock_timestamp() AND worker IS NOT NULL AS is_live FROM leader

-- name: resign
WITH
old AS MATERIALIZED (
    SELECT worker, epoch FROM leader WHERE worker IS NOT NULL AND lease_until > clock_timestamp() FOR UPDATE
),
done AS (
    UPDATE leader SET
        resigned = old.worker, resigned_at = clock_timestamp(), worker = NULL, lease_until = '-infinity'
    FROM old RETURNING old.worker AS worker
)
INSERT INTO audit (actor, action, subject, reason)
SELECT $1::text, 'leader.resign', worker, $2::text FROM done RETURNING subject

-- name: shards
SELECT s.id::bigint, s.worker, s.epoch, s.is_accepted, s.previous, w.id
FROM shards AS s LEFT JOIN workers AS w ON w.id = s.pinned AND w.lease_until > clock_timestamp()
ORDER BY s.id

-- name: pin
WITH done AS (
    UPDATE shards SET pinned = $2::text WHERE id = ANY ($1::smallint[])
        AND EXISTS (SELECT FROM workers WHERE id = $2::text AND lease_until > clock_timestamp() AND NOT is_quiet)
    RETURNING id
)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $3::text, 'shards.move', $2::text, $4::text, jsonb_build_object('shards', jsonb_agg(id ORDER BY id)) FROM done
HAVING count(*) > 0 RETURNING 1

-- name: unpin
WITH done AS (UPDATE shards SET pinned = NULL WHERE pinned IS NOT NULL RETURNING id)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $1::text, 'shards.rebalance', '', $2::text, jsonb_build_object('unpinned', count(*)) FROM done
RETURNING (detail ->> 'unpinned')::bigint

-- name: halts
-- With the latched orders that wait under each of level `sends`.
SELECT h.scope, h.subject, h.level, h.reason, h.actor, h.since, CASE WHEN h.level = 'entries' THEN 0 ELSE (
    SELECT count(*) FROM orders AS o JOIN accounts AS a ON a.id = o.account_id
    WHERE o.is_live AND o.is_latched AND h.subject = CASE h.scope
        WHEN 'cluster' THEN '' WHEN 'venue' THEN a.venue WHEN 'market' THEN o.market
        WHEN 'account' THEN o.account_id::text WHEN 'order' THEN o.id::text END
) END
FROM halts AS h ORDER BY h.scope, h.subject

-- name: is_known
-- A halt of something that is misspelt would halt nothing.
SELECT CASE $1::text
    WHEN 'cluster' THEN $2::text = ''
    WHEN 'venue' THEN EXISTS (SELECT FROM accounts WHERE venue = $2::text)
    WHEN 'market' THEN EXISTS (SELECT FROM instruments WHERE market = $2::text)
    WHEN 'account' THEN EXISTS (SELECT FROM accounts WHERE id::text = $2::text)
    WHEN 'order' THEN EXISTS (SELECT FROM orders WHERE id::text = $2::text)
END

-- name: set_halt
WITH done AS (
    INSERT INTO halts (scope, subject, level, reason, actor)
    VALUES ($1::text, $2::text, $3::text, $4::text, $5::text)
    ON CONFLICT (scope, subject) DO UPDATE SET
        level = excluded.level, reason = excluded.reason, actor = excluded.actor, since = clock_timestamp()
    RETURNING scope, subject, level
)
INSERT INTO audit (actor, action, subject, reason)
SELECT $5::text, 'halt.' || level, concat_ws(':', scope, nullif(subject, '')), $4::text FROM done

-- name: lift_halt
-- Expects the halt that was seen: one that was set since is another.
WITH done AS (
    DELETE FROM halts WHERE scope = $1::text AND subject = $2::text AND since = $3::timestamptz
    RETURNING scope, subject, level
)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $4::text, 'halt.off', concat_ws(':', scope, nullif(subject, '')), $5::text, jsonb_build_object('level', level)
FROM done RETURNING 1

-- name: attention
SELECT id FROM orders WHERE health = 'NEEDS_ATTENTION' AND ($1::uuid IS NULL OR id > $1::uuid) ORDER BY id
LIMIT $2::bigint
