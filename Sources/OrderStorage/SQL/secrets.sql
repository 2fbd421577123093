-- What is sealed with the workers' master key, and its change (RELIABILITY.md 10.3). Whoever replaces a row names what
-- stood there, so two who do it, or one who stores a new secret meanwhile, do no harm.

-- name: request
WITH made AS (INSERT INTO secret_rotations (requested_by) VALUES ($1::text) RETURNING id)
INSERT INTO audit (actor, action, subject, reason) SELECT $1::text, 'secrets.rotate', 'rotation ' || id, $2::text FROM made
RETURNING (SELECT id FROM made)

-- name: rotation
SELECT id, moved, failed, ended_at IS NOT NULL FROM secret_rotations WHERE $1::bigint IS NULL OR id = $1::bigint
ORDER BY id DESC LIMIT 1

-- name: credentials
SELECT c.account_id, a.venue, c.id, c.version, c.sealed FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
WHERE $1::uuid IS NULL OR c.account_id > $1::uuid ORDER BY c.account_id LIMIT $2::bigint

-- name: replace_credentials
-- The key itself is the same: neither its version nor its time changes.
UPDATE credentials SET sealed = $3::bytea WHERE account_id = $1::uuid AND sealed = $2::bytea RETURNING 1

-- name: webhooks
SELECT id, secret, old_secret FROM webhooks WHERE $1::uuid IS NULL OR id > $1::uuid ORDER BY id LIMIT $2::bigint

-- name: replace_webhook
UPDATE webhooks SET secret = $3::bytea, old_secret = $4::bytea WHERE id = $1::uuid AND secret = $2::bytea RETURNING 1

-- name: progress
UPDATE secret_rotations SET moved = moved + $2::bigint WHERE id = $1::bigint AND ended_at IS NULL

-- name: finish
UPDATE secret_rotations SET failed = $2::bigint, ended_at = clock_timestamp() WHERE id = $1::bigint AND ended_at IS NULL

-- name: seals
-- With which keys the rows are sealed, by the name that each row carries of its key.
SELECT CASE WHEN get_byte(sealed, 0) = 2 THEN encode(substring(sealed FROM 2 FOR 8), 'hex') ELSE '' END, count(*)
FROM credentials WHERE length(sealed) > 9 GROUP BY 1 ORDER BY 1
