-- The way of a venue key from a trader to the executing role (RELIABILITY.md 10.3).

-- name: submit
-- Expects the account's version. Takes effect together with its line of the audit.
WITH found AS (
    SELECT id FROM accounts WHERE id = $2::uuid AND version = $4::bigint AND deleted_at IS NULL FOR UPDATE
),
made AS (
    INSERT INTO credential_intakes (id, account_id, sealed) SELECT $1::uuid, id, $3::bytea FROM found
)
INSERT INTO audit (actor, action, subject, reason)
SELECT $5::text, $6::text, 'account ' || id, $7::text FROM found RETURNING 1

-- name: outcome
SELECT state, detail FROM credential_intakes WHERE id = $1::uuid AND account_id = $2::uuid

-- name: status
SELECT account_id, last4, array_to_string(permissions, ','), checked_at FROM credentials
WHERE account_id = ANY ($1::uuid[])

-- name: remove
WITH changed AS (
    UPDATE accounts SET version = version + 1
    WHERE id = $1::uuid AND version = $2::bigint AND deleted_at IS NULL
        AND NOT EXISTS (SELECT FROM orders AS o WHERE o.account_id = $1::uuid AND o.is_live) RETURNING id
),
removed AS (DELETE FROM credentials WHERE account_id IN (SELECT id FROM changed))
INSERT INTO audit (actor, action, subject, reason)
SELECT $3::text, $4::text, 'account ' || id, $5::text FROM changed RETURNING 1

-- What workers do.

-- name: take
UPDATE credential_intakes SET lease_until = clock_timestamp() + interval '10 s'
WHERE (id, account_id) = (
    SELECT id, account_id FROM credential_intakes WHERE state = 'WAITING' AND lease_until < clock_timestamp()
        AND created_at > clock_timestamp() - interval '15 min'
    ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id, account_id, sealed

-- name: settle
UPDATE credential_intakes SET state = $3::text, detail = $4::text, sealed = ''
WHERE id = $1::uuid AND account_id = $2::uuid AND state = 'WAITING'

-- name: checked
UPDATE credentials SET refusal = $2::text, permissions = string_to_array($3::text, ','),
    checked_at = clock_timestamp()
WHERE account_id = $1::uuid

-- name: describe
UPDATE credentials SET refusal = NULL, last4 = $2::text, permissions = string_to_array($3::text, ','),
    checked_at = clock_timestamp()
WHERE account_id = $1::uuid

-- name: raise_version
UPDATE accounts SET version = version + 1 WHERE id = $1::uuid

-- name: purge
DELETE FROM credential_intakes WHERE created_at < clock_timestamp() - interval '15 min'

-- name: changed
SELECT account_id, version FROM credentials WHERE updated_at > clock_timestamp() - interval '30 s'
