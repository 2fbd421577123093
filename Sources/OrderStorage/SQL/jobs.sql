-- Work that must not be lost: the sweep over what is due, and the outbox (RELIABILITY.md 3.3, QUEUE.md 14).

-- name: due_work
-- What is due and not under way: stops, others, what only rests. Ids differ from one try to the next (`-c<n>`), so a queue
-- that remembers an id as done never swallows needed work: look-ups by their counter, the rest by the second.
WITH
now AS MATERIALIZED (
    SELECT clock_timestamp() AS at, floor(extract(epoch FROM clock_timestamp()))::bigint AS second
),
due AS (
    -- Unanswered requests, and intents that wait for their send right; each line with a limit of its own, so that what is
    -- many never hides what is urgent: stops, then others, then what rests at the venue.
    (
        SELECT i.order_id, i.account_id, i.market, i.leg, i.attempt,
            CASE WHEN i.state = 'INTENT' THEN now.second ELSE i.checks + 1 END AS number, 'check' AS name,
            i.next_check_at AS due_at, 0 AS rank
        FROM now, intents AS i
        WHERE i.is_live AND i.state NOT IN ('OPEN', 'PARTIAL') AND lessens_risk(i.leg) AND i.next_check_at <= now.at
        ORDER BY i.next_check_at LIMIT $1::bigint
    ) UNION ALL (
        SELECT i.order_id, i.account_id, i.market, i.leg, i.attempt,
            CASE WHEN i.state = 'INTENT' THEN now.second ELSE i.checks + 1 END, 'check', i.next_check_at, 1
        FROM now, intents AS i
        WHERE i.is_live AND i.state NOT IN ('OPEN', 'PARTIAL') AND NOT lessens_risk(i.leg) AND i.next_check_at <= now.at
        ORDER BY i.next_check_at LIMIT $1::bigint
    ) UNION ALL (
        SELECT i.order_id, i.account_id, i.market, i.leg, i.attempt, i.checks + 1, 'check', i.next_check_at, 2
        FROM now, intents AS i
        WHERE i.is_live AND i.state IN ('OPEN', 'PARTIAL') AND i.next_check_at <= now.at
        ORDER BY i.next_check_at LIMIT $1::bigint
    ) UNION ALL (
        -- Proven absent some minutes ago: a venue that breaks its own deadline accepts late (RELIABILITY.md 6.7, FA99).
        SELECT i.order_id, i.account_id, i.market, i.leg, i.attempt, i.checks + 1, 'check', i.next_check_at, 2
        FROM now, intents AS i
        WHERE i.state = 'ABSENT' AND i.next_check_at BETWEEN now.at - interval '5 minutes' AND now.at
            AND i.created_at > now.at - interval '10 minutes'
        ORDER BY i.next_check_at LIMIT $1::bigint
    ) UNION ALL (
        -- Exits that are wanted while nothing is under way, also those of a time that this clock has jumped back from.
        SELECT o.id, o.account_id, o.market, o.wanted_leg, o.wanted_attempt, now.second, 'timer', o.updated_at,
            CASE WHEN lessens_risk(o.wanted_leg) THEN 0 ELSE 1 END
        FROM now, orders AS o
        WHERE o.wanted_leg IS NOT NULL AND (o.updated_at <= now.at - interval '1 s' OR o.updated_at > now.at + interval '5 s')
            AND (o.due_at IS NULL OR o.due_at <= now.at)
        ORDER BY NOT lessens_risk(o.wanted_leg), o.updated_at LIMIT $1::bigint
    ) UNION ALL (
        -- Delays, retries, expiries, time exits.
        SELECT o.id, o.account_id, o.market, 'timer', o.version,
            CASE WHEN o.due_at <= now.at - interval '2 s' THEN now.second END, 'timer', o.due_at, 0
        FROM now, orders AS o WHERE o.due_at IS NOT NULL AND o.due_at <= now.at
        ORDER BY o.due_at LIMIT $1::bigint
    )
)
SELECT d.order_id, d.account_id, d.market, d.leg, d.attempt::bigint, d.number::bigint, d.name, o.version
FROM due AS d JOIN orders AS o ON o.id = d.order_id AND o.account_id = d.account_id
WHERE o.is_live OR d.name = 'check'
ORDER BY d.rank, d.due_at
LIMIT $1::bigint

-- name: unoffered
SELECT job_id, name, class, version, account_id, market, source, tick_time, tick_seq, crashes::bigint FROM outbox
WHERE state = 'pending' AND due_at <= clock_timestamp()
    AND (offered_at IS NULL OR offered_at <= clock_timestamp() - interval '1 s')
ORDER BY class, due_at LIMIT $1::bigint

-- name: take_unoffered
-- A lease column in place of a held lock: whoever dies with the row loses it after 5 s.
UPDATE outbox SET lease_until = clock_timestamp() + interval '5 s'
WHERE job_id = ANY (ARRAY(
    SELECT job_id FROM outbox
    WHERE state = 'pending' AND due_at <= clock_timestamp()
        AND (offered_at IS NULL OR offered_at <= clock_timestamp() - interval '1 s')
        AND (lease_until IS NULL OR lease_until <= clock_timestamp())
    ORDER BY class, due_at LIMIT $1::bigint
    FOR UPDATE SKIP LOCKED
))
RETURNING job_id, name, class, version, account_id, market, source, tick_time, tick_seq, crashes::bigint

-- name: mark_offered
UPDATE outbox SET offered_at = clock_timestamp() WHERE job_id = ANY ($1::text[]) AND state = 'pending'

-- name: close
-- A dead job that ran again under its id has had its effect.
UPDATE outbox SET state = 'done', ended_at = clock_timestamp()
WHERE job_id = ANY ($1::text[]) AND state IN ('pending', 'dead')

-- name: store
-- The caller says that the work is needed now: a row that is done is opened again, a pending one stays as it is.
INSERT INTO outbox (job_id, name, class, version, account_id, market, source, tick_time, tick_seq)
SELECT * FROM unnest(
    $1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::bigint[], $9::bigint[]
)
ORDER BY 1
ON CONFLICT (job_id) DO UPDATE SET
    state = 'pending', version = excluded.version, due_at = clock_timestamp(), offered_at = NULL, lease_until = NULL
    WHERE outbox.state <> 'pending'

-- name: bury
-- Before the queue hears of it (QUEUE.md 9.5).
INSERT INTO outbox (
    job_id, name, class, version, account_id, market, source, tick_time, tick_seq, last_error, attempts, crashes,
    state, ended_at
)
SELECT u.*, 'dead', clock_timestamp() FROM unnest(
    $1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::bigint[],
    $9::bigint[], $10::text[], $11::integer[], $12::integer[]
) AS u
ORDER BY 1
ON CONFLICT (job_id) DO UPDATE SET
    state = 'dead', ended_at = excluded.ended_at, last_error = excluded.last_error, attempts = excluded.attempts,
    crashes = excluded.crashes, lease_until = NULL

-- name: deaths
SELECT job_id, name, class, version, account_id, market, source, tick_time, tick_seq, coalesce(last_error, ''),
    attempts::bigint, crashes::bigint,
    floor(extract(epoch FROM clock_timestamp() - coalesce(ended_at, created_at)) * 1000)::bigint
FROM outbox WHERE state = 'dead' AND job_id > $1::text ORDER BY job_id LIMIT $2::bigint

-- name: note_crashes
-- Before a job whose worker died is tried again (QUEUE.md 9.3). It is in the queue: the relay looks in a second.
INSERT INTO outbox (
    job_id, name, class, version, account_id, market, source, tick_time, tick_seq, crashes, offered_at
)
SELECT u.*, clock_timestamp() FROM unnest(
    $1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::bigint[],
    $9::bigint[], $10::integer[]
) AS u
ORDER BY 1
ON CONFLICT (job_id) DO UPDATE SET crashes = greatest(outbox.crashes, excluded.crashes)

-- name: pauses
SELECT queue, CASE WHEN paused_until = 'infinity' THEN 0
    ELSE ceil(extract(epoch FROM paused_until - clock_timestamp()) * 1000)::bigint END, actor, reason
FROM queue_settings WHERE paused_until > clock_timestamp() ORDER BY queue

-- name: has_ended
SELECT NOT EXISTS (SELECT FROM outbox WHERE job_id = $1::text AND state = 'pending')

-- name: prune
-- Ended rows and idempotency keys older than their retention, a page at a time.
WITH
j AS (
    DELETE FROM outbox WHERE job_id = ANY (ARRAY(
        SELECT job_id FROM outbox
        WHERE state <> 'pending' AND state <> 'dead' AND created_at < clock_timestamp() - interval '24 h'
        ORDER BY created_at LIMIT $1::bigint
    )) RETURNING 1
),
k AS (
    DELETE FROM idempotency WHERE (owner, key) IN (
        SELECT owner, key FROM idempotency WHERE at < clock_timestamp() - interval '24 h' ORDER BY at LIMIT $1::bigint
    ) RETURNING 1
),
a AS (
    DELETE FROM answers WHERE (owner, key) IN (
        SELECT owner, key FROM answers WHERE at < clock_timestamp() - interval '24 h' ORDER BY at LIMIT $1::bigint
    ) RETURNING 1
)
SELECT (SELECT count(*) FROM j) + (SELECT count(*) FROM k) + (SELECT count(*) FROM a)

-- name: prune_extremes
-- Prices that no order is evaluated on any more: older than the 30 days for which `explain` and charts may ask, and from
-- before every live order of their market, with an hour's grace for clocks. A page of $1 rows; O(live orders) beside that.
WITH RECURSIVE
series AS (
    (SELECT market, source FROM price_extremes ORDER BY market, source LIMIT 1)
    UNION ALL
    SELECT next.market, next.source FROM series CROSS JOIN LATERAL (
        SELECT market, source FROM price_extremes AS p WHERE (p.market, p.source) > (series.market, series.source)
        ORDER BY market, source LIMIT 1
    ) AS next
),
oldest AS MATERIALIZED (
    SELECT market, min(created_at) - interval '1 hour' AS created_at FROM orders WHERE is_live GROUP BY market
),
ended AS MATERIALIZED (
    SELECT market, source, floor(extract(
        epoch FROM least(oldest.created_at, clock_timestamp() - interval '30 days')
    ) * 1000000)::bigint AS time
    FROM series LEFT JOIN oldest USING (market)
),
gone AS (
    -- Rows are never changed, so their places hold.
    DELETE FROM price_extremes WHERE ctid = ANY (ARRAY(
        SELECT old.place FROM ended CROSS JOIN LATERAL (
            SELECT ctid AS place FROM price_extremes AS p
            WHERE p.market = ended.market AND p.source = ended.source AND p.from_time < ended.time
                AND p.to_time < ended.time
            LIMIT $1::bigint
        ) AS old
        LIMIT $1::bigint
    )) RETURNING 1
)
SELECT count(*) FROM gone
