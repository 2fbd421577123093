-- Links for alerts, and their calls (Ports/HookStore.swift).

-- name: of_accounts
SELECT id, account_id, user_id, token_hash, label, action, preset_id, order_id, market, is_enabled,
    array_to_string(ip_allow, ','), maximum_per_hour::bigint, expires_at, passphrase_hash, created_at, last_call_at,
    deleted_at IS NOT NULL, mode
FROM hooks WHERE account_id = ANY ($1::uuid[]) AND deleted_at IS NULL ORDER BY created_at DESC, id LIMIT 1000

-- name: of_token
SELECT id, account_id, user_id, token_hash, label, action, preset_id, order_id, market, is_enabled,
    array_to_string(ip_allow, ','), maximum_per_hour::bigint, expires_at, passphrase_hash, created_at, last_call_at,
    deleted_at IS NOT NULL, mode
FROM hook_of_token($1::text)

-- name: hook
SELECT id, account_id, user_id, token_hash, label, action, preset_id, order_id, market, is_enabled,
    array_to_string(ip_allow, ','), maximum_per_hour::bigint, expires_at, passphrase_hash, created_at, last_call_at,
    deleted_at IS NOT NULL, mode
FROM hooks WHERE id = $1::uuid AND account_id = $2::uuid

-- name: count
SELECT count(*) FROM hooks WHERE user_id = $1::uuid AND deleted_at IS NULL

-- name: add
INSERT INTO hooks (id, account_id, user_id, token_hash, label, action, preset_id, order_id, market, is_enabled,
    ip_allow, maximum_per_hour, expires_at, passphrase_hash, created_at, mode)
VALUES ($1::uuid, $2::uuid, $3::uuid, $4::text, $5::text, $6::text, $7::uuid, $8::uuid, $9::text, $10::boolean,
    $11::text[], $12::bigint::integer, $13::timestamptz, $14::text, $15::timestamptz, $16::text)

-- name: audit
INSERT INTO audit (actor, action, subject, reason, via) VALUES ($1::text, $2::text, $3::text, $4::text, 'api')

-- name: update
WITH changed AS (
    UPDATE hooks SET label = $3::text, is_enabled = $4::boolean, ip_allow = $5::text[],
        maximum_per_hour = $6::bigint::integer, expires_at = $7::timestamptz, passphrase_hash = $8::text
    WHERE id = $1::uuid AND account_id = $2::uuid AND deleted_at IS NULL RETURNING id
)
INSERT INTO audit (actor, action, subject, reason, via)
SELECT $9::text, $10::text, 'hook ' || id, $11::text, 'api' FROM changed RETURNING 1

-- name: delete
WITH changed AS (
    UPDATE hooks SET deleted_at = clock_timestamp(), is_enabled = false
    WHERE id = $1::uuid AND account_id = ANY ($2::uuid[]) AND deleted_at IS NULL RETURNING id
)
INSERT INTO audit (actor, action, subject, reason, via)
SELECT $3::text, $4::text, 'hook ' || id, $5::text, 'api' FROM changed RETURNING 1

-- name: lock
-- Calls of one link are taken one after the other: what follows sees all that were taken before.
SELECT 1 FROM hooks WHERE id = $1::uuid AND account_id = $2::uuid FOR UPDATE

-- name: seen
SELECT EXISTS (
    SELECT FROM hook_calls WHERE hook_id = $1::uuid AND account_id = $2::uuid AND dedupe = $3::text
        AND ($4::boolean OR at > clock_timestamp() - interval '60 s')
)

-- name: receive
INSERT INTO hook_calls (id, account_id, hook_id, address, body, dedupe)
SELECT $1::uuid, $2::uuid, $3::uuid, $4::text, $5::text, $6::text
WHERE NOT EXISTS (
    SELECT FROM hook_calls WHERE hook_id = $3::uuid AND account_id = $2::uuid AND dedupe = $6::text
        AND ($7::boolean OR at > clock_timestamp() - interval '60 s')
) AND ($8::bigint IS NULL OR $8::bigint > (
    SELECT count(*) FROM hook_calls
    WHERE hook_id = $3::uuid AND account_id = $2::uuid AND at > clock_timestamp() - interval '1 hour'
))
RETURNING id

-- name: called
UPDATE hooks SET last_call_at = clock_timestamp() WHERE id = $1::uuid AND account_id = $2::uuid

-- name: calls
SELECT id, hook_id, account_id, at, address, body, outcome, code, detail, order_id, tries::bigint
FROM hook_calls
WHERE hook_id = $1::uuid AND account_id = ANY ($2::uuid[]) AND ($3::uuid IS NULL OR id < $3::uuid)
ORDER BY id DESC LIMIT $4::bigint

-- name: take
SELECT id, hook_id, account_id, at, address, body, outcome, code, detail, order_id, tries::bigint FROM take_hook_call()

-- name: settle
UPDATE hook_calls SET outcome = $3::text, code = $4::text, detail = $5::text, order_id = $6::uuid,
    lease_until = clock_timestamp() + interval '1 s', unsettled = 0
WHERE id = $1::uuid AND account_id = $2::uuid AND outcome = 'RECEIVED'
