-- Orders of a history that was lost (RELIABILITY.md 2.10).

-- name: state
-- Whether the order was compared with its venue, and whether everything that the lost history sent has arrived or can no
-- longer arrive. $2: the venue's fence in ms.
SELECT EXISTS (SELECT FROM recoveries AS r WHERE r.order_id = $1::uuid AND r.incarnation = c.incarnation),
    clock_timestamp() >= c.quarantine_from + $2::bigint * interval '1 ms'
FROM control AS c

-- name: set
INSERT INTO recoveries (order_id, account_id, incarnation, found)
SELECT $1::uuid, $2::uuid, incarnation, $3::bigint FROM control
ON CONFLICT (order_id, account_id) DO UPDATE SET
    incarnation = excluded.incarnation, found = excluded.found, at = clock_timestamp()

-- name: unrecovered
-- Nothing is read where no history was lost, or all of it has been gone through. One id per order and 10 s: what is under
-- way already is not offered again by every sweep.
SELECT o.id, o.account_id, o.market, o.version, floor(extract(epoch FROM clock_timestamp()) / 10)::bigint
FROM (
    SELECT incarnation, quarantine_from FROM control
    WHERE recovered < incarnation AND quarantine_from < clock_timestamp() - interval '1 s' OFFSET 0
) AS c
CROSS JOIN LATERAL (
    SELECT id, account_id, market, version FROM orders
    WHERE is_live AND created_at < c.quarantine_from + interval '1 minute'
        AND NOT EXISTS (
            SELECT FROM recoveries AS r
            WHERE r.order_id = orders.id AND r.account_id = orders.account_id AND r.incarnation = c.incarnation
        )
    ORDER BY is_latched DESC LIMIT $1::bigint
) AS o

-- name: finish
-- Expects that nothing was left, and that every order of the lost history is old enough to have been seen.
UPDATE control SET recovered = incarnation
WHERE recovered < incarnation AND quarantine_from < clock_timestamp() - interval '2 minutes'

-- name: status
SELECT c.incarnation, nullif(c.quarantine_from, '-infinity'), c.recovered >= c.incarnation, current_database()::text,
    (SELECT count(*) FROM recoveries AS r WHERE r.incarnation = c.incarnation),
    (SELECT coalesce(sum(r.found), 0)::bigint FROM recoveries AS r WHERE r.incarnation = c.incarnation),
    (SELECT count(*) FROM halts WHERE reason = 'DATABASE_COPIED')
FROM control AS c

-- name: confirm
-- What halts a copy was set by the system; what an operator set since stays.
WITH done AS (DELETE FROM halts WHERE reason = 'DATABASE_COPIED' AND actor = 'system' RETURNING subject)
INSERT INTO audit (actor, action, subject, reason, detail)
SELECT $1::text, 'recover.confirm', current_database(), $2::text, jsonb_build_object('accounts', count(*)) FROM done
RETURNING (detail ->> 'accounts')::bigint
