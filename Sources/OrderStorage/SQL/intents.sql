-- Venue orders and the right to send them (RELIABILITY.md 2).

-- name: of_orders
SELECT order_id, account_id, leg, attempt, side, type, quantity, limit_price, reduce_only, state, filled, venue_order_id,
    created_at, cancel_wanted, client_order_id, send_token, sends, checks, absences,
    coalesce(fence_until < clock_timestamp(), false), t0
FROM intents WHERE order_id = ANY ($1::uuid[]) AND (is_live OR $2::boolean)
ORDER BY order_id, created_at, leg, attempt

-- name: by_client_order_id
SELECT order_id, account_id, leg, attempt, side, type, quantity, limit_price, reduce_only, state, filled, venue_order_id,
    created_at, cancel_wanted, client_order_id, send_token, sends, checks, absences,
    coalesce(fence_until < clock_timestamp(), false), t0
FROM intents WHERE account_id = $1::uuid AND client_order_id = $2::text

-- name: by_client_order_ids
-- One by one on purpose: with `= ANY`, a plan that was made while the table was small reads it whole ever after.
SELECT i.* FROM unnest($2::text[]) AS t(id), LATERAL (
    SELECT order_id, account_id, leg, attempt, side, type, quantity, limit_price, reduce_only, state, filled,
        venue_order_id, created_at, cancel_wanted, client_order_id, send_token, sends, checks, absences,
        coalesce(fence_until < clock_timestamp(), false), t0
    FROM intents WHERE account_id = $1::uuid AND client_order_id = t.id LIMIT 1
) AS i

-- name: claim_send
-- Gives the send right for a stored INTENT, or for a repeat after proven absence, to one caller.
-- Expects the token that was seen, the incarnation, no halt in the way, the quarantine over.
UPDATE intents SET
    state = 'SUBMITTED', is_live = true, send_token = $6::bigint, sends = sends + 1,
    client_order_id = coalesce(client_order_id, $7::text), t0 = $8::timestamptz,
    fence_until = clock_timestamp() + $9::bigint * interval '1 ms',
    next_check_at = clock_timestamp() + interval '1 s', absences = 0, absent_at = NULL, updated_at = clock_timestamp()
FROM control
WHERE order_id = $1::uuid AND leg = $2::text AND attempt = $3::integer AND account_id = $4::uuid
    AND send_token IS NOT DISTINCT FROM $5::bigint
    AND ((state = 'INTENT' AND send_token IS NULL)
        OR (state IN ('SUBMITTED', 'UNKNOWN') AND fence_until < clock_timestamp() AND absences >= 2))
    AND incarnation = $10::bigint AND is_present_history(system_identifier, timeline)
    AND clock_timestamp() >= quarantine_from + $9::bigint * interval '1 ms'
    AND NOT EXISTS (
        SELECT FROM halts WHERE (level = 'sends' OR NOT is_exit) AND subject = CASE scope
            WHEN 'cluster' THEN '' WHEN 'venue' THEN split_part(market, ':', 1) WHEN 'market' THEN market
            WHEN 'account' THEN account_id::text ELSE order_id::text END
    )
RETURNING sends

-- name: token
SELECT send_token FROM intents
WHERE order_id = $1::uuid AND leg = $2::text AND attempt = $3::integer AND account_id = $4::uuid

-- name: note_check
-- Counts a look-up for the one that read $5 checks. An absence counts after the fence and 500 ms after the last one, by
-- this server's clock and by $8, what it must show if it did not jump (null: not known).
UPDATE intents SET
    checks = checks + 1, next_check_at = clock_timestamp() + $7::bigint * interval '1 ms',
    absences = absences + CASE WHEN is_absence THEN 1 ELSE 0 END,
    absent_at = CASE WHEN is_absence THEN clock_timestamp() ELSE absent_at END
FROM (
    SELECT $6::boolean AND fence_until < least(clock_timestamp(), $8::timestamptz)
        AND (absent_at IS NULL OR absent_at <= least(clock_timestamp(), $8::timestamptz) - interval '500 ms')
        AS is_absence
    FROM intents
    WHERE order_id = $1::uuid AND leg = $2::text AND attempt = $3::integer AND account_id = $4::uuid
) AS a
WHERE order_id = $1::uuid AND leg = $2::text AND attempt = $3::integer AND account_id = $4::uuid AND checks = $5::integer
RETURNING checks
