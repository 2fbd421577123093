-- What the HTTP API keeps beside orders. Every statement on something of an account names the account.

-- name: holder
SELECT k.id, k.hash, k.user_id, k.label, array_to_string(k.scopes, ','), array_to_string(k.account_ids, ','), k.mode,
    array_to_string(k.ip_allow, ','), k.expires_at, k.revoked_at, k.created_at, k.last_used_at,
    u.name, u.tier, array_to_string(u.roles, ',')
FROM api_keys AS k JOIN users AS u ON u.id = k.user_id WHERE k.hash = $1::text

-- name: holder_accounts
SELECT a.id, a.name, a.venue, a.product, a.mode, a.maximum_conditionals::bigint
FROM api_keys AS k JOIN accounts AS a ON a.user_id = k.user_id AND (k.account_ids IS NULL OR a.id = ANY (k.account_ids))
WHERE k.hash = $1::text AND a.deleted_at IS NULL ORDER BY a.id

-- name: keys
SELECT id, hash, user_id, label, array_to_string(scopes, ','), array_to_string(account_ids, ','), mode,
    array_to_string(ip_allow, ','), expires_at, revoked_at, created_at, last_used_at
FROM api_keys WHERE user_id = $1::uuid AND revoked_at IS NULL ORDER BY created_at DESC, id

-- name: count_keys
SELECT count(*) FROM api_keys WHERE user_id = $1::uuid AND revoked_at IS NULL

-- name: add_key
INSERT INTO api_keys (id, hash, user_id, label, scopes, account_ids, mode, ip_allow, expires_at, created_at)
VALUES ($1::text, $2::text, $3::uuid, $4::text, string_to_array($5::text, ','), $6::uuid[], $7::text,
    string_to_array($8::text, ','), $9::timestamptz, $10::timestamptz)

-- name: update_key
UPDATE api_keys SET label = $3::text, ip_allow = string_to_array($4::text, ','), expires_at = $5::timestamptz
WHERE id = $1::text AND user_id = $2::uuid AND revoked_at IS NULL RETURNING id

-- name: revoke_key
UPDATE api_keys SET revoked_at = clock_timestamp()
WHERE id = $1::text AND user_id = $2::uuid AND revoked_at IS NULL RETURNING id

-- name: note_use
UPDATE api_keys SET last_used_at = date_trunc('minute', clock_timestamp())
WHERE hash = ANY ($1::text[]) AND last_used_at IS DISTINCT FROM date_trunc('minute', clock_timestamp())

-- name: accounts_of_user
SELECT id, name, venue, product, mode, maximum_conditionals::bigint FROM accounts WHERE user_id = $1::uuid AND deleted_at IS NULL ORDER BY id

-- name: answer
SELECT request_hash, status, body, entity_tag, location FROM answers WHERE owner = $1::text AND key = $2::text

-- name: add_answer
INSERT INTO answers (owner, key, request_hash, status, body, entity_tag, location)
VALUES ($1::text, $2::text, $3::text, $4::bigint, $5::text, $6::text, $7::text)

-- name: notes
SELECT order_id, text FROM trader_notes WHERE order_id = ANY ($1::uuid[])

-- name: set_note
INSERT INTO trader_notes (order_id, account_id, text) VALUES ($1::uuid, $2::uuid, $3::text)
ON CONFLICT (order_id, account_id) DO UPDATE SET text = excluded.text, updated_at = clock_timestamp()

-- name: add_share
INSERT INTO shares (id, account_id, token_hash, draft, market, reference_price, created_at, expires_at)
VALUES ($1::uuid, $2::uuid, $3::text, $4::text, $5::text, $6::text::numeric, $7::timestamptz, $8::timestamptz)

-- name: shares
SELECT id, account_id, token_hash, draft, market, reference_price, created_at, expires_at, revoked_at IS NOT NULL
FROM shares WHERE account_id = ANY ($1::uuid[]) AND revoked_at IS NULL AND expires_at > clock_timestamp()
ORDER BY created_at DESC, id LIMIT 200

-- name: share
SELECT id, account_id, token_hash, draft, market, reference_price, created_at, expires_at, revoked_at IS NOT NULL
FROM share_of_token($1::text)

-- name: revoke_share
UPDATE shares SET revoked_at = clock_timestamp()
WHERE id = $1::uuid AND account_id = ANY ($2::uuid[]) AND revoked_at IS NULL RETURNING id

-- name: add_batch
INSERT INTO batches (id, account_id, kind, state, orders, total, actor_kind, actor_id, reason, started_at)
VALUES ($1::uuid, $2::uuid, $3::text, $4::text, $5::uuid[], $6::bigint, $7::text, $8::text, $9::text, $10::timestamptz)

-- name: batch
SELECT id, account_id, kind, state, array_to_string(orders, ','), total, done, array_to_string(failed_ids, ','),
    array_to_string(failed_codes, ','), actor_kind, actor_id, reason, started_at, ended_at
FROM batches WHERE id = $1::uuid AND account_id = ANY ($2::uuid[])

-- name: take_batch
SELECT id, account_id, kind, state, array_to_string(orders, ','), total, done, array_to_string(failed_ids, ','),
    array_to_string(failed_codes, ','), actor_kind, actor_id, reason, started_at, ended_at
FROM take_batch()

-- name: save_batch
UPDATE batches SET state = $3::text, orders = $4::uuid[], done = $5::bigint, failed_ids = $6::text[],
    failed_codes = $7::text[], ended_at = $8::timestamptz, total = $9::bigint, lease_until = clock_timestamp() + interval '5 s'
WHERE id = $1::uuid AND account_id = $2::uuid AND state = 'RUNNING' RETURNING 1

-- name: open_orders
SELECT id FROM orders WHERE account_id = $1::uuid AND is_live AND ($2::text IS NULL OR market = $2::text)
ORDER BY id LIMIT 10000

-- name: halt_of_account
SELECT level, scope, reason, since FROM halts WHERE scope = 'account' AND subject = $1::uuid::text

-- name: set_halt
-- An operator's halt that is as strict stays as it is; that it was asked for is written down in any case.
WITH done AS (
    INSERT INTO halts (scope, subject, level, reason, actor)
    VALUES ('account', $1::uuid::text, 'entries', $2::text, $3::text)
    ON CONFLICT (scope, subject) DO NOTHING
)
INSERT INTO audit (actor, action, subject, reason, via)
VALUES ($3::text, 'halt.entries', 'account:' || $1::uuid::text, $2::text, 'api')

-- name: resume
WITH done AS (
    DELETE FROM halts
    WHERE scope = 'account' AND subject = $1::uuid::text AND level = 'entries' AND actor LIKE 'trader %'
    RETURNING subject
)
INSERT INTO audit (actor, action, subject, via) SELECT $2::text, 'halt.off', 'account:' || subject, 'api' FROM done

-- name: counts
SELECT status, count(*) FROM orders WHERE account_id = ANY ($1::uuid[]) GROUP BY status

-- name: standing
-- The strictest halt of all that apply to the account, in the market where one is named.
SELECT u.tier, c.account_id IS NULL, c.refusal IS NOT NULL,
    n.orders, a.maximum_orders::bigint,
    h.level, h.scope, h.reason, h.since,
    (SELECT o.id FROM orders AS o WHERE o.account_id = a.id AND o.client_order_id = $3::text AND o.is_live),
    CASE WHEN $2::text IS NOT NULL THEN n.legs END,
    EXISTS (SELECT FROM control WHERE recovered < incarnation) AND is_recovering(a.id)
FROM accounts AS a
JOIN users AS u ON u.id = a.user_id
LEFT JOIN credentials AS c ON c.account_id = a.id
LEFT JOIN LATERAL (
    SELECT level, scope, reason, since FROM halts
    WHERE subject = CASE scope
        WHEN 'cluster' THEN '' WHEN 'venue' THEN a.venue WHEN 'market' THEN $2::text WHEN 'account' THEN a.id::text
    END
    ORDER BY level = 'sends' DESC, since LIMIT 1
) AS h ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS orders, coalesce(sum(o.legs) FILTER (WHERE o.market = $2::text), 0)::bigint AS legs
    FROM orders AS o WHERE o.account_id = a.id AND o.is_live
) AS n
WHERE a.id = $1::uuid

-- name: openings
-- What is asked before orders are created, for several at once; arrays: account, market, client order id, and of the
-- last count of the account's open orders its number of events then, the orders and their legs in the market. They
-- are counted again unless, with one more order for each event since and $7 legs each, the account's bounds are far.
-- Per question its place, account, standing (as above), market; the oldest open order of each side in the market,
-- those that follow the position, and whether orders of an older program say no side; the number of events now, and
-- whether the orders had to be counted. A side is given as a range: with an equal the planner may look for the first
-- open order along all that the account ever had, oldest first.
SELECT t.place, a.id, a.name, a.venue, a.product, a.mode, a.maximum_conditionals::bigint,
    u.tier, c.account_id IS NULL, c.refusal IS NOT NULL, n.orders, a.maximum_orders::bigint,
    h.level, h.scope, h.reason, h.since,
    CASE WHEN t.client_order_id IS NOT NULL THEN (
        SELECT o.id FROM orders AS o
        WHERE o.account_id = a.id AND o.client_order_id = t.client_order_id AND o.is_live
    ) END,
    n.legs,
    i.market, i.kind, i.tick_size, i.step_size, i.min_quantity, i.min_notional, i.contract_size, i.base_asset,
    i.quote_asset, i.band_low, i.band_high, i.maker_fee, i.taker_fee, i.status, i.native_orders::bigint,
    (SELECT o.id FROM orders AS o WHERE o.account_id = a.id AND o.market = t.market
        AND o.side >= 'BUY' AND o.side <= 'BUY' AND o.is_live AND o.kind = 'smart' ORDER BY o.side, o.id LIMIT 1),
    (SELECT o.id FROM orders AS o WHERE o.account_id = a.id AND o.market = t.market
        AND o.side >= 'SELL' AND o.side <= 'SELL' AND o.is_live AND o.kind = 'smart' ORDER BY o.side, o.id LIMIT 1),
    (SELECT o.id FROM orders AS o WHERE o.account_id = a.id AND o.market = t.market AND o.whole_position = 'BUY'
        AND o.is_live),
    (SELECT o.id FROM orders AS o WHERE o.account_id = a.id AND o.market = t.market AND o.whole_position = 'SELL'
        AND o.is_live),
    EXISTS (SELECT FROM orders AS o WHERE o.account_id = a.id AND o.market = t.market AND o.side IS NULL
        AND o.is_live AND o.kind = 'smart'),
    coalesce(w.last_seq, 0), w.is_due, a.callback_min, a.callback_max,
    EXISTS (SELECT FROM control WHERE recovered < incarnation) AND is_recovering(a.id)
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
    WITH ORDINALITY AS t(account_id, market, client_order_id, seen, orders, legs, place)
JOIN accounts AS a ON a.id = t.account_id
JOIN users AS u ON u.id = a.user_id
LEFT JOIN credentials AS c ON c.account_id = a.id
LEFT JOIN instruments AS i ON i.market = t.market
LEFT JOIN LATERAL (
    SELECT level, scope, reason, since FROM halts
    WHERE subject = CASE scope
        WHEN 'cluster' THEN '' WHEN 'venue' THEN a.venue WHEN 'market' THEN t.market WHEN 'account' THEN a.id::text
    END
    ORDER BY level = 'sends' DESC, since LIMIT 1
) AS h ON true
LEFT JOIN LATERAL (
    SELECT s.last_seq, coalesce(s.last_seq < t.seen OR t.orders + s.last_seq - t.seen >= a.maximum_orders
        OR t.legs + (s.last_seq - t.seen + 1) * $7::bigint > a.maximum_conditionals, true) AS is_due
    FROM account_stream AS s WHERE s.account_id = a.id
) AS w ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS orders, coalesce(sum(o.legs) FILTER (WHERE o.market = t.market), 0)::bigint AS legs
    FROM orders AS o WHERE w.is_due AND o.account_id = a.id AND o.is_live
) AS n
