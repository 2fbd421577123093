-- Whose history this database is (RELIABILITY.md 2.10).

-- name: present
SELECT p.system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8), c.system_identifier, c.timeline,
    c.incarnation, c.queue_generation, c.queue_partitions::bigint, nullif(c.quarantine_from, '-infinity'),
    clock_timestamp()
FROM control AS c, pg_control_system() AS p

-- name: api_secret
SELECT api_secret FROM control

-- name: begin
-- A new history, written by the first who notices. Expects what he saw.
UPDATE control SET
    incarnation = incarnation + 1, queue_generation = queue_generation + 1, quarantine_from = clock_timestamp(),
    system_identifier = $1::bigint, timeline = $2::text
WHERE system_identifier = $3::bigint AND timeline = $4::text
RETURNING incarnation, quarantine_from

-- name: halt_copies
-- Another system identifier: this may be a copy beside its original, and both would send the same ids. Live accounts are
-- held until an operator says otherwise.
INSERT INTO halts (scope, subject, level, reason, actor)
SELECT 'account', id::text, 'sends', 'DATABASE_COPIED', 'system' FROM accounts
WHERE mode = 'LIVE' AND (SELECT system_identifier FROM control) <> $1::bigint
-- In the order in which commits lock their accounts' streams: a halt is an event of each.
ORDER BY id
ON CONFLICT (scope, subject) DO UPDATE SET level = 'sends', reason = excluded.reason, since = clock_timestamp()

-- name: audit
INSERT INTO audit (actor, action, subject, reason) VALUES ('system', 'history.begin', $1::text, $2::text)

-- name: raise_generation
UPDATE control SET queue_generation = queue_generation + 1 WHERE queue_generation = $1::bigint RETURNING queue_generation

-- name: set_partitions
-- Expects that no worker and no scheduler holds a lease: they would go on with the old number.
UPDATE control SET queue_partitions = $1::bigint::integer, queue_generation = queue_generation + 1
WHERE NOT EXISTS (SELECT FROM workers WHERE lease_until > clock_timestamp())
    AND NOT EXISTS (SELECT FROM leader WHERE lease_until > clock_timestamp())
RETURNING queue_generation

-- name: set_halt
INSERT INTO halts (scope, subject, level, reason, actor) VALUES ($1::text, $2::text, $3::text, $4::text, $5::text)
ON CONFLICT (scope, subject) DO UPDATE SET
    level = excluded.level, reason = excluded.reason, actor = excluded.actor, since = clock_timestamp()

-- name: lift_halt
DELETE FROM halts WHERE scope = $1::text AND subject = $2::text

-- name: halts
SELECT scope, subject, level, reason, actor, since FROM halts ORDER BY scope, subject
