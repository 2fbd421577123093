-- Leases, assignment, cursors, extremes. All times are this server's clock; leases last 2 s (RELIABILITY.md 0).
--
-- Writes in the name of a lease take its row FOR SHARE: a plain test would be decided on the statement's snapshot, and
-- the old holder's write could pass while a new epoch is being committed (RELIABILITY.md 3.1.3).

-- name: halt_entries
-- The cluster's own doing; a halt that somebody set stays as it is.
WITH done AS (
    INSERT INTO halts (scope, subject, level, reason, actor)
    VALUES ('account', $1::text, 'entries', $2::text, 'worker')
    ON CONFLICT (scope, subject) DO NOTHING
    RETURNING subject
)
INSERT INTO audit (actor, action, subject, reason)
SELECT 'worker', 'halt.entries', 'account:' || subject, $2::text FROM done

-- name: register
INSERT INTO workers (id, lease_until) VALUES ($1::text, clock_timestamp() + interval '2 s')
ON CONFLICT (id) DO UPDATE SET
    lease_until = excluded.lease_until, is_quiet = false, wants_stop = false, registered_at = clock_timestamp()

-- name: renew
-- A lease that has lapsed stays lapsed: its shards may be somebody else's by now.
UPDATE workers SET lease_until = clock_timestamp() + interval '2 s'
WHERE id = $1::text AND lease_until > clock_timestamp()
RETURNING is_quiet, wants_stop, concurrency::bigint

-- name: assignments
SELECT id::bigint, epoch, previous, handover, is_accepted FROM shards WHERE worker = $1::text ORDER BY id

-- name: state
SELECT incarnation, EXISTS (SELECT FROM halts WHERE scope = 'cluster' AND level = 'sends'), price_revision FROM control

-- name: note_clock_step
-- This server's clock jumped. What was reckoned by the old time begins anew by the present one, $1 requests at a time, as
-- often as there are any: the fence of one that is in doubt counts from now, as long as the longest. Every process that
-- notices does it; who comes later finds little left, and nobody waits for a row that a commit holds.
WITH due AS (
    SELECT order_id, leg, attempt, account_id FROM intents
    WHERE is_live AND state IN ('SUBMITTED', 'UNKNOWN', 'CANCEL_REQUESTED') AND fence_until IS NOT NULL
        AND fence_until NOT BETWEEN clock_timestamp() + interval '30 s' AND clock_timestamp() + interval '60 s'
    ORDER BY order_id, leg, attempt, account_id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
)
UPDATE intents AS i SET
    fence_until = clock_timestamp() + interval '60 s', absences = 0, absent_at = NULL,
    next_check_at = least(i.next_check_at, clock_timestamp() + interval '1 s')
FROM due
WHERE i.order_id = due.order_id AND i.leg = due.leg AND i.attempt = due.attempt AND i.account_id = due.account_id
RETURNING 1

-- name: hurry_checks
-- After a jump back: no look-up waits for the time from which it came. Spread over a minute, as they were.
WITH due AS (
    SELECT order_id, leg, attempt, account_id FROM intents
    WHERE is_live AND next_check_at > clock_timestamp() + interval '61 s'
    ORDER BY order_id, leg, attempt, account_id LIMIT $1::bigint FOR UPDATE SKIP LOCKED
)
UPDATE intents AS i SET next_check_at = clock_timestamp() + random() * interval '60 s'
FROM due
WHERE i.order_id = due.order_id AND i.leg = due.leg AND i.attempt = due.attempt AND i.account_id = due.account_id
RETURNING 1

-- name: hurry_jobs
UPDATE outbox SET
    due_at = least(due_at, clock_timestamp()),
    offered_at = CASE WHEN offered_at IS NOT NULL THEN least(offered_at, clock_timestamp()) END,
    lease_until = CASE WHEN lease_until IS NOT NULL THEN least(lease_until, clock_timestamp() + interval '5 s') END
WHERE state = 'pending' AND greatest(due_at, offered_at, lease_until) > clock_timestamp() + interval '10 s'

-- name: shorten_worker_leases
UPDATE workers SET lease_until = clock_timestamp() + interval '2 s'
WHERE lease_until > clock_timestamp() + interval '2 s'

-- name: shorten_leadership
UPDATE leader SET lease_until = clock_timestamp() + interval '2 s'
WHERE lease_until > clock_timestamp() + interval '2 s'

-- name: shorten_batch_leases
UPDATE batches SET lease_until = clock_timestamp() + interval '5 s'
WHERE state = 'RUNNING' AND lease_until > clock_timestamp() + interval '5 s'

-- name: audit_clock_step
INSERT INTO audit (actor, action, subject, reason) VALUES ('system', 'clock.step', 'database', $1::bigint || ' ms')

-- name: end_lease
UPDATE workers SET lease_until = '-infinity' WHERE id = $1::text

-- name: forget_worker
DELETE FROM workers WHERE id = $1::text

-- name: release
-- Frees shards, with a copy of their holder's cursors as they stand. A shard that its holder had not accepted keeps the
-- copy that it came with.
WITH
taken AS MATERIALIZED (
    SELECT id, worker, is_accepted FROM shards
    WHERE worker IS NOT NULL AND (worker = $1::text OR id = ANY ($2::smallint[])) ORDER BY id FOR UPDATE
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
    worker = NULL, previous = taken.worker, handover = coalesce(copies.handover, shards.handover), is_accepted = false,
    epoch = shards.epoch + 1
FROM taken LEFT JOIN copies ON copies.worker = taken.worker AND taken.is_accepted
WHERE shards.id = taken.id

-- name: prune_handovers
DELETE FROM handovers WHERE NOT EXISTS (SELECT FROM shards WHERE shards.handover = handovers.id AND NOT is_accepted)

-- name: lead
UPDATE leader SET
    epoch = CASE WHEN worker = $1::text AND lease_until > clock_timestamp() THEN epoch ELSE epoch + 1 END,
    worker = $1::text, lease_until = clock_timestamp() + interval '2 s'
WHERE (worker IS NULL OR worker = $1::text OR lease_until <= clock_timestamp())
    -- Who was made to resign lets the others try first.
    AND (resigned IS DISTINCT FROM $1::text OR resigned_at < clock_timestamp() - interval '3 s')
RETURNING epoch

-- name: resign
UPDATE leader SET worker = NULL, lease_until = '-infinity' WHERE worker = $1::text

-- name: workers
SELECT w.id, w.is_quiet, w.lease_until > clock_timestamp() AS is_live,
    EXISTS (SELECT FROM shards WHERE shards.worker = w.id) AS holds
FROM workers AS w ORDER BY w.id

-- name: pins
SELECT id::bigint, pinned FROM shards WHERE pinned IS NOT NULL

-- name: holders
SELECT id::bigint, worker FROM shards ORDER BY id

-- name: watched_shards
SELECT s.id::bigint FROM shards AS s JOIN workers AS w ON w.id = s.worker
WHERE s.is_accepted AND w.lease_until > clock_timestamp()

-- name: held_leadership
SELECT epoch FROM leader WHERE epoch = $1::bigint AND worker IS NOT NULL AND lease_until > clock_timestamp() FOR SHARE

-- name: assign
-- Runs after `release` in the same transaction. Expects the leadership that was held when the moves were decided.
WITH held AS MATERIALIZED (
    SELECT epoch FROM leader WHERE epoch = $1::bigint AND worker IS NOT NULL AND lease_until > clock_timestamp()
    FOR SHARE
)
UPDATE shards SET worker = m.worker, epoch = shards.epoch + 1, is_accepted = false
FROM held, unnest($2::smallint[], $3::text[]) AS m(id, worker)
WHERE shards.id = m.id

-- name: release_for_assignment
-- `release` in the name of the leader. A holder whose lease has lapsed is marked so under its row's lock, which waits
-- for cursor writes under way: none of them comes after the copy.
WITH
held AS MATERIALIZED (
    SELECT epoch FROM leader WHERE epoch = $1::bigint AND worker IS NOT NULL AND lease_until > clock_timestamp()
    FOR SHARE
),
taken AS MATERIALIZED (
    SELECT shards.id, shards.worker, shards.is_accepted FROM held, shards
    WHERE shards.worker IS NOT NULL AND shards.id = ANY ($2::smallint[]) ORDER BY shards.id FOR UPDATE OF shards
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
    worker = NULL, previous = taken.worker, handover = coalesce(copies.handover, shards.handover), is_accepted = false
FROM taken LEFT JOIN copies ON copies.worker = taken.worker AND taken.is_accepted
WHERE shards.id = taken.id

-- name: lock_holders
-- First in `assign`: no cursor of a present holder is written until the end of the transaction, and lapsed ones stay so.
UPDATE workers SET lease_until = CASE WHEN lease_until > clock_timestamp() THEN lease_until ELSE '-infinity' END
WHERE id = ANY (ARRAY(
    SELECT w.id FROM workers AS w
    WHERE w.id IN (SELECT worker FROM shards WHERE shards.id = ANY ($1::smallint[])) ORDER BY w.id FOR UPDATE
))

-- name: cursors
SELECT market, source, venue_time, seq, heard FROM handovers WHERE id = $1::bigint ORDER BY market, source

-- name: accept
-- Lowers the worker's cursors and marks the shards, if all of them are still at the epoch that was seen.
WITH
wanted AS MATERIALIZED (
    SELECT s.id FROM shards AS s JOIN unnest($2::smallint[], $3::bigint[]) AS a(id, epoch) USING (id, epoch)
    WHERE s.worker = $1::text ORDER BY s.id FOR UPDATE OF s
),
held AS MATERIALIZED (SELECT 1 FROM (SELECT count(*) FROM wanted) AS w WHERE w.count = cardinality($2::smallint[])),
lowered AS (
    INSERT INTO cursors (worker, market, source, venue_time, seq, heard)
    SELECT $1::text, c.market, c.source, c.venue_time, c.seq, c.heard
    FROM held, unnest($4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
        AS c(market, source, venue_time, seq, heard)
    ORDER BY 2, 3
    ON CONFLICT (worker, market, source) DO UPDATE SET
        venue_time = excluded.venue_time, seq = excluded.seq, heard = excluded.heard, updated_at = clock_timestamp()
        WHERE (cursors.venue_time, cursors.seq) > (excluded.venue_time, excluded.seq)
)
UPDATE shards SET is_accepted = true, handover = NULL FROM held WHERE id = ANY ($2::smallint[])
RETURNING shards.id::bigint

-- name: save_cursors
-- Expects a lease that holds; a cursor only moves on. What was heard goes with the position that it was heard at.
WITH
held AS MATERIALIZED (SELECT 1 FROM workers WHERE id = $1::text AND lease_until > clock_timestamp() FOR SHARE),
saved AS (
    INSERT INTO cursors (worker, market, source, venue_time, seq, heard)
    SELECT $1::text, c.market, c.source, c.venue_time, c.seq, c.heard
    FROM held, unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS c(market, source, venue_time, seq, heard)
    ORDER BY 2, 3
    ON CONFLICT (worker, market, source) DO UPDATE SET
        venue_time = excluded.venue_time, seq = excluded.seq, heard = excluded.heard, updated_at = clock_timestamp()
        WHERE (cursors.venue_time, cursors.seq) <= (excluded.venue_time, excluded.seq)
)
SELECT count(*) FROM held

-- name: append_extremes
-- Two feeds of one venue write the same points: a bucket that is there already changes nothing.
INSERT INTO price_extremes (market, source, from_time, from_seq, to_time, to_seq, points)
SELECT b.market, b.source, b.from_time, b.from_seq, b.to_time, b.to_seq, b.points::bigint[]
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[])
    AS b(market, source, from_time, from_seq, to_time, to_seq, points)
ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING

-- name: newest_extreme
-- No bucket spans more than 500 ms: the one that ends last is among those that begin last.
SELECT to_time, to_seq FROM price_extremes
WHERE market = $1::text AND source = $2::text AND from_time >= (
    SELECT max(from_time) - 500000 FROM price_extremes WHERE market = $1::text AND source = $2::text
)
ORDER BY to_time DESC, to_seq DESC LIMIT 1

-- name: extremes
-- Buckets with points after ($3, $4). None spans more than 500 ms, so those that reach past it begin at most that much
-- earlier.
SELECT from_time, from_seq, points FROM price_extremes
WHERE market = $1::text AND source = $2::text AND from_time >= $3::bigint - 500000
    AND (to_time, to_seq) > ($3::bigint, $4::bigint)
ORDER BY from_time, from_seq, to_time, to_seq LIMIT $5::bigint

-- name: tell_feed
-- That a feed runs, and whether it is to begin anew. $3: it has just begun. Feeds that are long gone are forgotten.
WITH gone AS (DELETE FROM feeds WHERE seen_at < clock_timestamp() - interval '1 day' AND process <> $2::text)
INSERT INTO feeds (id, process) VALUES ($1::text, $2::text)
ON CONFLICT (id, process) DO UPDATE SET
    seen_at = clock_timestamp(), begun_at = CASE WHEN $3::boolean THEN clock_timestamp() ELSE feeds.begun_at END
RETURNING coalesce(restart_at > begun_at, false)
