-- What the panel keeps. Every statement names the user or the account that it is for.

-- name: begin_sign_in
INSERT INTO sign_ins (token_hash, user_id, key_hash, created_at, used_at)
VALUES ($1::text, $2::uuid, $3::text, $4::timestamptz, $4::timestamptz)

-- name: signed_in
SELECT s.token_hash, s.user_id, s.key_hash, s.created_at, s.used_at, u.name, u.tier, array_to_string(u.roles, ',')
FROM sign_ins AS s JOIN users AS u ON u.id = s.user_id
WHERE s.token_hash = $1::text AND s.used_at > clock_timestamp() - interval '12 h'
    AND s.created_at > clock_timestamp() - interval '7 days'

-- name: signed_in_accounts
SELECT a.id, a.name, a.venue, a.product, a.mode, a.maximum_conditionals::bigint
FROM sign_ins AS s JOIN accounts AS a ON a.user_id = s.user_id AND a.deleted_at IS NULL
WHERE s.token_hash = $1::text ORDER BY a.id

-- name: end_sign_in
DELETE FROM sign_ins WHERE token_hash = $1::text OR created_at < clock_timestamp() - interval '8 days'

-- name: note_sign_ins
UPDATE sign_ins SET used_at = date_trunc('minute', clock_timestamp())
WHERE token_hash = ANY ($1::text[]) AND used_at < date_trunc('minute', clock_timestamp())

-- name: redeem_code
DELETE FROM sign_in_codes WHERE code_hash = $1::text RETURNING user_id, expires_at > clock_timestamp()

-- name: add_code
INSERT INTO sign_in_codes (code_hash, user_id, expires_at)
SELECT $1::text, id, clock_timestamp() + interval '10 min' FROM users WHERE name = $2::text RETURNING user_id

-- name: preferences
SELECT value FROM preferences WHERE user_id = $1::uuid

-- name: save_preferences
INSERT INTO preferences (user_id, value) VALUES ($1::uuid, $2::text)
ON CONFLICT (user_id) DO UPDATE SET value = excluded.value, updated_at = clock_timestamp()

-- name: presets
SELECT id, user_id, name, draft, created_at, updated_at FROM presets WHERE user_id = $1::uuid
ORDER BY created_at DESC, id

-- name: count_presets
SELECT count(*) FROM presets WHERE user_id = $1::uuid

-- name: add_preset
INSERT INTO presets (id, user_id, name, draft, created_at, updated_at)
VALUES ($1::uuid, $2::uuid, $3::text, $4::text, $5::timestamptz, $5::timestamptz)

-- name: update_preset
UPDATE presets SET name = $3::text, draft = $4::text, updated_at = $5::timestamptz
WHERE id = $1::uuid AND user_id = $2::uuid RETURNING id

-- name: delete_preset
DELETE FROM presets WHERE id = $1::uuid AND user_id = $2::uuid RETURNING id

-- name: settings
SELECT id, version, name, trigger_source, maximum_conditionals::bigint, created_at, callback_min, callback_max,
    default_confirm, EXISTS (SELECT FROM control WHERE recovered < incarnation) AND is_recovering(id)
FROM accounts
WHERE id = ANY ($1::uuid[]) AND deleted_at IS NULL

-- name: create_account
WITH s AS (INSERT INTO account_stream (account_id) VALUES ($1::uuid))
INSERT INTO accounts (id, user_id, name, venue, product, mode)
VALUES ($1::uuid, $2::uuid, $3::text, $4::text, $5::text, 'PAPER')

-- name: audit
INSERT INTO audit (actor, action, subject, reason) VALUES ($1::text, $2::text, $3::text, $4::text)

-- The three changes of an account write the audit themselves: only when the account changed.

-- name: update_account
WITH changed AS (
    UPDATE accounts SET name = $3::text, trigger_source = $4::text, maximum_conditionals = $5::bigint::integer,
        callback_min = $6::numeric, callback_max = $7::numeric, default_confirm = $8::boolean, version = version + 1
    WHERE id = $1::uuid AND version = $2::bigint AND deleted_at IS NULL RETURNING id
)
INSERT INTO audit (actor, action, subject, reason)
SELECT $9::text, $10::text, 'account ' || id, $11::text FROM changed RETURNING 1

-- name: set_mode
WITH changed AS (
    UPDATE accounts SET mode = $3::text, version = version + 1
    WHERE id = $1::uuid AND version = $2::bigint AND deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM orders AS o WHERE o.account_id = $1::uuid AND o.is_live) RETURNING id
),
settled AS (DELETE FROM live_requests WHERE account_id IN (SELECT id FROM changed))
INSERT INTO audit (actor, action, subject, reason)
SELECT $4::text, $5::text, 'account ' || id, $6::text FROM changed RETURNING 1

-- name: request_live
WITH found AS (
    SELECT id FROM accounts WHERE id = $1::uuid AND version = $2::bigint AND deleted_at IS NULL FOR UPDATE
),
asked AS (
    INSERT INTO live_requests (account_id, version, requested_by) SELECT id, $2::bigint, $3::text FROM found
    ON CONFLICT (account_id) DO UPDATE SET
        version = excluded.version, requested_by = excluded.requested_by, requested_at = clock_timestamp()
)
INSERT INTO audit (actor, action, subject, reason)
SELECT $3::text, $4::text, 'account ' || id, $5::text FROM found RETURNING 1

-- name: delete_account
WITH changed AS (
    UPDATE accounts SET deleted_at = clock_timestamp(), version = version + 1
    WHERE id = $1::uuid AND version = $2::bigint AND deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM orders AS o WHERE o.account_id = $1::uuid AND o.is_live) RETURNING id
),
removed AS (DELETE FROM credentials WHERE account_id IN (SELECT id FROM changed))
INSERT INTO audit (actor, action, subject, reason)
SELECT $3::text, $4::text, 'account ' || id, $5::text FROM changed RETURNING 1

-- name: add_ticket
-- Takes those along that nobody used.
WITH old AS (DELETE FROM stream_tickets WHERE expires_at < clock_timestamp())
INSERT INTO stream_tickets (hash, proof, proof_hash) VALUES ($1::text, $2::text, $3::text)

-- name: redeem_ticket
DELETE FROM stream_tickets WHERE hash = $1::text RETURNING proof, proof_hash, expires_at > clock_timestamp()
