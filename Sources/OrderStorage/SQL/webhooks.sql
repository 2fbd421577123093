-- Endpoints and deliveries (Ports/WebhookStore.swift).

-- name: of_user
SELECT id, user_id, url, format, array_to_string(types, ','), array_to_string(account_ids, ','), is_enabled,
    disabled_reason, last_success_at, created_at
FROM webhooks WHERE user_id = $1::uuid ORDER BY created_at DESC, id

-- name: count
SELECT count(*) FROM webhooks WHERE user_id = $1::uuid

-- name: add
INSERT INTO webhooks (id, user_id, url, format, types, account_ids, secret, created_at)
VALUES ($1::uuid, $2::uuid, $3::text, $4::text, $5::text[], $6::uuid[], $7::bytea, $8::timestamptz)

-- name: open_lanes
-- Expects that the endpoint is as old as the lane or older: what an account did before there was an endpoint is not told.
INSERT INTO webhook_lanes (webhook_id, account_id, seq)
SELECT w.id, a.id, CASE WHEN w.account_ids IS NULL AND a.created_at > w.created_at THEN 0 ELSE s.last_seq END
FROM webhooks AS w
JOIN accounts AS a ON a.user_id = w.user_id AND (w.account_ids IS NULL OR a.id = ANY (w.account_ids))
JOIN account_stream AS s ON s.account_id = a.id
WHERE NOT EXISTS (SELECT FROM webhook_lanes AS l WHERE l.webhook_id = w.id AND l.account_id = a.id)
    AND ($1::uuid IS NULL OR w.id = $1::uuid)
ON CONFLICT DO NOTHING

-- name: update
UPDATE webhooks SET url = $3::text, format = $4::text, types = $5::text[], account_ids = $6::uuid[]
WHERE id = $1::uuid AND user_id = $2::uuid RETURNING id

-- name: close_lanes
DELETE FROM webhook_lanes AS l USING webhooks AS w
WHERE w.id = $1::uuid AND l.webhook_id = w.id AND NOT l.account_id = ANY (w.account_ids)

-- name: delete
DELETE FROM webhooks WHERE id = $1::uuid AND user_id = $2::uuid RETURNING id

-- name: rotate
SELECT rotate_webhook($1::uuid, $2::uuid, $3::bytea)

-- name: enable
UPDATE webhooks SET is_enabled = true, disabled_reason = NULL, failing_since = NULL
WHERE id = $1::uuid AND user_id = $2::uuid

-- name: skip
-- An endpoint that was off is not told of what happened meanwhile: history and stream have it.
UPDATE webhook_lanes SET seq = greatest(seq, s.last_seq) FROM account_stream AS s
WHERE webhook_id = $1::uuid AND s.account_id = webhook_lanes.account_id

-- name: wake
UPDATE webhook_deliveries SET next_at = clock_timestamp() WHERE webhook_id = $1::uuid AND state = 'PENDING'

-- name: deliveries
SELECT id, webhook_id, account_id, seq, type, data, state, tries::bigint, next_at, created_at
FROM webhook_deliveries
WHERE webhook_id = $1::uuid AND account_id = ANY ($2::uuid[]) AND ($3::uuid IS NULL OR id < $3::uuid)
ORDER BY id DESC LIMIT $4::bigint

-- name: delivery
SELECT id, webhook_id, account_id, seq, type, data, state, tries::bigint, next_at, created_at
FROM webhook_deliveries WHERE id = $1::uuid AND webhook_id = $2::uuid AND account_id = ANY ($3::uuid[])

-- name: attempts
SELECT delivery_id, at, status::bigint, ms, error FROM webhook_attempts
WHERE delivery_id = ANY ($1::uuid[]) AND account_id = ANY ($2::uuid[]) ORDER BY delivery_id, number

-- name: add_delivery
INSERT INTO webhook_deliveries (id, account_id, webhook_id, seq, type, data)
VALUES ($1::uuid, $2::uuid, $3::uuid, $4::bigint, $5::text, $6::text)

-- name: resend
UPDATE webhook_deliveries SET state = 'PENDING', tries = 0, next_at = clock_timestamp()
WHERE id = $1::uuid AND account_id = $2::uuid

-- name: behind
SELECT w.id, w.user_id, w.url, w.format, array_to_string(w.types, ','), array_to_string(w.account_ids, ','),
    w.is_enabled, w.disabled_reason, w.last_success_at, w.created_at, l.account_id, a.mode, l.seq
FROM webhook_lanes AS l
JOIN webhooks AS w ON w.id = l.webhook_id AND w.is_enabled
JOIN account_stream AS s ON s.account_id = l.account_id AND s.last_seq > l.seq
JOIN accounts AS a ON a.id = l.account_id
ORDER BY l.webhook_id, l.account_id LIMIT $1::bigint

-- name: plan
-- Expects the lane where it was seen.
WITH moved AS (
    UPDATE webhook_lanes SET seq = $4::bigint
    WHERE webhook_id = $1::uuid AND account_id = $2::uuid AND seq = $3::bigint RETURNING webhook_id, account_id
),
made AS (
    INSERT INTO webhook_deliveries (id, account_id, webhook_id, seq, type)
    SELECT d.id, m.account_id, m.webhook_id, d.seq, d.type
    FROM moved AS m, unnest($5::uuid[], $6::bigint[], $7::text[]) AS d(id, seq, type)
    ON CONFLICT ON CONSTRAINT webhook_deliveries_event DO NOTHING
)
SELECT 1 FROM moved

-- name: take_lanes
WITH free AS (
    SELECT l.webhook_id, l.account_id FROM webhook_lanes AS l
    JOIN webhooks AS w ON w.id = l.webhook_id AND w.is_enabled
    WHERE l.lease_until < clock_timestamp() AND EXISTS (
        SELECT FROM webhook_deliveries AS d
        WHERE d.webhook_id = l.webhook_id AND d.account_id = l.account_id AND d.state = 'PENDING'
            AND d.next_at <= clock_timestamp()
    )
    ORDER BY l.lease_until LIMIT $1::bigint FOR UPDATE OF l SKIP LOCKED
),
taken AS (
    UPDATE webhook_lanes AS l SET lease_until = clock_timestamp() + interval '30 s'
    FROM free WHERE l.webhook_id = free.webhook_id AND l.account_id = free.account_id
    RETURNING l.webhook_id, l.account_id, l.seq
)
SELECT w.id, w.user_id, w.url, w.format, array_to_string(w.types, ','), array_to_string(w.account_ids, ','),
    w.is_enabled, w.disabled_reason, w.last_success_at, w.created_at, t.account_id, a.mode, t.seq, w.secret,
    CASE WHEN w.old_until > clock_timestamp() THEN w.old_secret END
FROM taken AS t JOIN webhooks AS w ON w.id = t.webhook_id JOIN accounts AS a ON a.id = t.account_id

-- name: due
SELECT id, webhook_id, account_id, seq, type, data, state, tries::bigint, next_at, created_at
FROM webhook_deliveries
WHERE webhook_id = $1::uuid AND account_id = $2::uuid AND state = 'PENDING' AND next_at <= clock_timestamp()
ORDER BY created_at, seq NULLS LAST, id LIMIT $3::bigint

-- name: record
-- $9: DELIVERED, PENDING or DEAD; $10: when again, in milliseconds; $11: why the endpoint is disabled.
-- Five days without one success disable it too.
WITH d AS (
    UPDATE webhook_deliveries SET state = $9::text, tries = tries + 1,
        next_at = clock_timestamp() + $10::bigint * interval '1 ms'
    WHERE id = $1::uuid AND account_id = $2::uuid AND webhook_id = $3::uuid RETURNING id
),
a AS (
    INSERT INTO webhook_attempts (delivery_id, account_id, number, at, status, ms, error, answer)
    SELECT $1::uuid, $2::uuid,
        1 + (SELECT coalesce(max(number), 0) FROM webhook_attempts WHERE delivery_id = $1::uuid AND account_id = $2::uuid),
        $4::timestamptz, $5::bigint::integer, $6::bigint, $7::text, $8::text
    FROM d
    ON CONFLICT DO NOTHING
),
w AS (
    UPDATE webhooks SET
        last_success_at = CASE WHEN $9::text = 'DELIVERED' THEN clock_timestamp() ELSE last_success_at END,
        failing_since = CASE WHEN $9::text = 'DELIVERED' THEN NULL ELSE coalesce(failing_since, clock_timestamp()) END,
        is_enabled = is_enabled AND $11::text IS NULL
            AND ($9::text = 'DELIVERED' OR coalesce(failing_since, clock_timestamp()) > clock_timestamp() - interval '5 days'),
        disabled_reason = CASE WHEN NOT is_enabled THEN disabled_reason WHEN $11::text IS NOT NULL THEN $11::text
            WHEN $9::text <> 'DELIVERED' AND failing_since <= clock_timestamp() - interval '5 days'
            THEN 'no delivery succeeded for 5 days' END
    WHERE id = $3::uuid RETURNING id, user_id, url, is_enabled, disabled_reason
),
-- The owner's other endpoints hear of it, in the order of the account that it happened with.
t AS (
    INSERT INTO webhook_deliveries (id, account_id, webhook_id, type, data)
    SELECT new_id(), $2::uuid, o.id, 'webhook.disabled',
        json_build_object('webhookId', w.id, 'url', w.url, 'reason', w.disabled_reason)::text
    FROM w JOIN webhooks AS o ON o.user_id = w.user_id AND o.id <> w.id AND o.is_enabled
    WHERE NOT w.is_enabled AND (o.account_ids IS NULL OR $2::uuid = ANY (o.account_ids))
        AND (cardinality(o.types) = 0 OR 'webhook.disabled' = ANY (o.types))
),
l AS (
    UPDATE webhook_lanes SET lease_until = clock_timestamp() + interval '30 s'
    WHERE webhook_id = $3::uuid AND account_id = $2::uuid
)
SELECT is_enabled FROM w

-- name: release
UPDATE webhook_lanes SET lease_until = '-infinity' WHERE webhook_id = $1::uuid AND account_id = $2::uuid

-- name: prune
DELETE FROM webhook_deliveries WHERE (id, account_id) IN (
    SELECT id, account_id FROM webhook_deliveries
    WHERE created_at < clock_timestamp() - interval '30 days' AND state <> 'PENDING' ORDER BY created_at LIMIT 1000
)
