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
-- Nothing is read where no history was lost, or all of it has been gone through.
SELECT o.id, o.account_id, o.market, o.version, floor(extract(epoch FROM clock_timestamp()))::bigint
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
