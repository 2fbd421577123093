-- What operators read and do (INTERFACES.md 4.12). Lists return one JSON object per row, in the words of the API: the
-- admin routes and the operator's commands show the same.
--
-- Lists take $1 text (an id or a word, null: all), $2 text (the key of the row that the page before ended with, null: from
-- the beginning) and $3 bigint (limit), and return with each row its key. Keys of one list sort as text, newest first.

-- name: feeds
-- How far each series of prices is evaluated, since when the feed of its venue runs (null where none tells), and the five
-- stretches that its history was asked for once more last: `ticks` became known late, null while `doneAt` or for good.
SELECT json_build_object('market', market, 'source', source, 'evaluatedBy', array_agg(worker ORDER BY worker),
    'venueTime', api_time(to_timestamp(max(venue_time) / 1e6)), 'savedAt', api_time(max(updated_at)),
    'feed', concat_ws(':', split_part(market, ':', 1), split_part(market, ':', 2)), 'feedBegunAt', (
        SELECT api_time(max(f.begun_at)) FROM feeds AS f
        WHERE f.id = concat_ws(':', split_part(market, ':', 1), split_part(market, ':', 2))
            AND f.seen_at > clock_timestamp() - interval '10 s'),
    'backfills', (
        SELECT coalesce(json_agg(json_build_object('id', b.id, 'from', api_time(to_timestamp(b.from_time / 1e6)),
            'to', api_time(to_timestamp(b.to_time / 1e6)), 'by', b.actor, 'reason', b.reason,
            'askedAt', api_time(b.asked_at), 'triedAt', api_time(b.tried_at), 'error', b.error, 'ticks', b.ticks,
            'doneAt', api_time(b.done_at)) ORDER BY b.id DESC), '[]')
        FROM (SELECT * FROM backfills AS l WHERE l.market = cursors.market AND l.source = cursors.source
            ORDER BY id DESC LIMIT 5) AS b)),
    concat_ws(' ', market, source)
FROM cursors WHERE ($1::text IS NULL OR market = $1::text) AND ($2::text IS NULL OR concat_ws(' ', market, source) > $2::text)
GROUP BY market, source ORDER BY concat_ws(' ', market, source) LIMIT $3::bigint

-- name: gaps
SELECT json_build_object('market', market, 'source', source, 'from', api_time(to_timestamp(from_time / 1e6)),
    'to', api_time(to_timestamp(to_time / 1e6)), 'reason', reason, 'backfilled', is_backfilled), key
FROM (SELECT *, concat_ws(' ', lpad(from_time::text, 20, '0'), market, source) AS key FROM feed_gaps) AS g
WHERE ($1::text IS NULL OR market = $1::text) AND ($2::text IS NULL OR key < $2::text)
ORDER BY key DESC LIMIT $3::bigint

-- name: outbox
SELECT json_build_object('class', class, 'state', state, 'count', count(*),
    'oldestAt', api_time(min(created_at)), 'waitingForQueue', count(*) FILTER (WHERE offered_at IS NULL)),
    concat_ws(' ', class, state)
FROM outbox
WHERE state IN ('pending', 'dead') AND $1::text IS NULL AND ($2::text IS NULL OR concat_ws(' ', class, state) > $2::text)
GROUP BY class, state ORDER BY concat_ws(' ', class, state) LIMIT $3::bigint

-- name: dead_deliveries
SELECT json_build_object('id', d.id, 'webhookId', d.webhook_id, 'accountId', d.account_id, 'type', d.type, 'seq', d.seq,
    'tries', d.tries, 'createdAt', api_time(d.created_at), 'error', (
        SELECT error FROM webhook_attempts AS a WHERE a.delivery_id = d.id AND a.account_id = d.account_id
        ORDER BY number DESC LIMIT 1)), d.id::text AS key
FROM webhook_deliveries AS d WHERE d.state = 'DEAD' AND ($1::text IS NULL OR d.webhook_id::text = $1::text)
    AND ($2::text IS NULL OR d.id < $2::text::uuid)
ORDER BY d.id DESC LIMIT $3::bigint

-- name: accounts
SELECT json_build_object('id', a.id, 'name', a.name, 'userId', a.user_id, 'user', u.name, 'tier', u.tier,
    'venue', a.venue, 'product', a.product, 'mode', a.mode, 'version', a.version,
    'openOrders', (SELECT count(*) FROM orders AS o WHERE o.account_id = a.id AND o.is_live),
    'halted', (SELECT json_build_object('level', h.level, 'by', h.actor, 'since', api_time(h.since), 'reason', h.reason)
        FROM halts AS h WHERE h.scope = 'account' AND h.subject = a.id::text),
    'keyRefusal', (SELECT refusal FROM credentials AS c WHERE c.account_id = a.id),
    'liveRequestedAt', (SELECT api_time(requested_at) FROM live_requests AS r WHERE r.account_id = a.id),
    'createdAt', api_time(a.created_at)), a.id::text AS key
FROM accounts AS a JOIN users AS u ON u.id = a.user_id
WHERE ($1::text IS NULL OR a.id::text = $1::text OR u.name = $1::text OR u.id::text = $1::text)
    AND ($2::text IS NULL OR a.id < $2::text::uuid) AND a.deleted_at IS NULL
ORDER BY a.id DESC LIMIT $3::bigint

-- name: orders
SELECT json_build_object('id', id, 'accountId', account_id, 'kind', kind, 'market', market, 'status', status,
    'phase', phase, 'health', health, 'version', version, 'latched', is_latched, 'shard', shard,
    'createdAt', api_time(created_at), 'updatedAt', api_time(updated_at)), id::text AS key
FROM orders
WHERE ($1::text IS NULL OR account_id::text = $1::text OR id::text = $1::text OR market = $1::text OR status = $1::text)
    AND ($2::text IS NULL OR id < $2::text::uuid)
ORDER BY id DESC LIMIT $3::bigint

-- name: audit
SELECT json_build_object('id', id, 'at', api_time(at), 'actor', actor, 'via', via, 'action', action, 'target', subject,
    'count', count, 'reason', reason, 'before', before, 'after', after, 'detail', detail, 'requestId', request_id,
    'batchId', batch_id), id::text AS key
FROM audit
WHERE ($1::text IS NULL OR actor = $1::text OR action = $1::text OR subject = $1::text)
    AND ($2::text IS NULL OR id < $2::text::bigint)
ORDER BY id DESC LIMIT $3::bigint

-- name: users
SELECT json_build_object('id', id, 'name', name, 'tier', tier, 'roles', roles, 'createdAt', api_time(created_at)),
    id::text AS key
FROM users WHERE ($1::text IS NULL OR id::text = $1::text OR name = $1::text)
    AND ($2::text IS NULL OR id < $2::text::uuid)
ORDER BY id DESC LIMIT $3::bigint

-- name: keys
SELECT json_build_object('id', k.id, 'userId', k.user_id, 'user', u.name, 'label', k.label, 'scopes', k.scopes,
    'mode', k.mode, 'expiresAt', api_time(k.expires_at), 'revokedAt', api_time(k.revoked_at),
    'lastUsedAt', api_time(k.last_used_at), 'createdAt', api_time(k.created_at)), k.key
FROM (SELECT *, api_time(created_at) || ' ' || id AS key FROM api_keys) AS k JOIN users AS u ON u.id = k.user_id
WHERE ($1::text IS NULL OR k.id = $1::text OR u.name = $1::text OR u.id::text = $1::text)
    AND ($2::text IS NULL OR k.key < $2::text)
ORDER BY k.key DESC LIMIT $3::bigint

-- name: batches
-- Bulk operations on the queue, and what was asked of all orders of an account at once: `matched` and `moved` are orders
-- there, `actor` is whoever asked. One whose lease lapsed is gone on with by any api process.
SELECT json_build_object('id', o.id, 'kind', o.kind, 'state', o.state, 'accountId', o.account_id, 'actor', o.actor,
    'reason', o.reason, 'matched', coalesce(o.total, count(i.job_id)),
    'moved', coalesce(o.done, count(*) FILTER (WHERE i.outcome = 'moved')),
    'obsolete', count(*) FILTER (WHERE i.outcome = 'obsolete'),
    'duplicate', count(*) FILTER (WHERE i.outcome = 'duplicate'),
    'failed', coalesce(cardinality(o.failed_ids), count(*) FILTER (WHERE i.outcome = 'failed')),
    'failures', (SELECT coalesce(json_agg(json_build_object('id', f.id, 'code', f.code)), '[]')
        FROM unnest(o.failed_ids, o.failed_codes) AS f(id, code) WHERE $1::text IS NOT NULL),
    'startedAt', api_time(o.started_at), 'endedAt', api_time(o.ended_at)), o.key
FROM (
    SELECT * FROM (
        SELECT id, kind, state, actor, reason, started_at, ended_at, NULL::uuid AS account_id, NULL::bigint AS total,
            NULL::bigint AS done, NULL::text[] AS failed_ids, NULL::text[] AS failed_codes,
            api_time(started_at) || ' ' || id AS key
        FROM bulk_operations
        UNION ALL
        SELECT id::text, kind, lower(state), concat_ws(' ', actor_kind, actor_id), reason, started_at, ended_at,
            account_id, total, done, failed_ids, failed_codes, api_time(started_at) || ' ' || id
        FROM batches
    ) AS x
    WHERE ($1::text IS NULL OR id = $1::text OR account_id::text = $1::text) AND ($2::text IS NULL OR key < $2::text)
    ORDER BY key DESC LIMIT $3::bigint
) AS o LEFT JOIN bulk_items AS i ON i.batch = o.id
GROUP BY o.id, o.kind, o.state, o.actor, o.reason, o.started_at, o.ended_at, o.account_id, o.total, o.done, o.failed_ids,
    o.failed_codes, o.key
ORDER BY o.key DESC

-- name: stores
SELECT json_build_object('postgres', json_build_object('version', current_setting('server_version'),
    'connections', (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()),
    'sizeBytes', pg_database_size(current_database()),
    'schemaVersion', (SELECT max(version) FROM schema_migrations),
    'incarnation', (SELECT incarnation FROM control), 'queueGeneration', (SELECT queue_generation FROM control),
    'queuePartitions', (SELECT queue_partitions FROM control))), ''
FROM control WHERE $1::text IS NULL AND $2::text IS NULL AND $3::bigint > 0

-- name: recovery
SELECT json_build_object('incarnation', incarnation, 'systemIdentifier', system_identifier::text, 'timeline', timeline,
    'quarantineFrom', CASE WHEN isfinite(quarantine_from) THEN api_time(quarantine_from) END,
    'database', current_database(), 'complete', recovered >= incarnation,
    'compared', (SELECT count(*) FROM recoveries AS r WHERE r.incarnation = control.incarnation),
    'found', (SELECT coalesce(sum(r.found), 0) FROM recoveries AS r WHERE r.incarnation = control.incarnation),
    'held', (SELECT count(*) FROM halts WHERE reason = 'DATABASE_COPIED' AND actor = 'system')), ''
FROM control WHERE $1::text IS NULL AND $2::text IS NULL AND $3::bigint > 0

-- name: venues
-- What operators ask of a venue first: how many trade there, what is in doubt, whose keys are refused, what is halted.
SELECT json_build_object('id', v.venue, 'accounts', v.accounts, 'live', v.live, 'keysRefused', (
        SELECT count(*) FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
        WHERE a.venue = v.venue AND c.refusal IS NOT NULL),
    'openOrders', (SELECT count(*) FROM orders AS o JOIN accounts AS a ON a.id = o.account_id
        WHERE a.venue = v.venue AND o.is_live),
    'unknownOutcomes', u.count, 'oldestUnknownAt', api_time(u.oldest),
    'halted', (SELECT h.level FROM halts AS h WHERE h.scope = 'venue' AND h.subject = v.venue)), v.venue
FROM (
    SELECT venue, count(*) AS accounts, count(*) FILTER (WHERE mode = 'LIVE') AS live FROM accounts
    WHERE deleted_at IS NULL AND ($1::text IS NULL OR venue = $1::text) AND ($2::text IS NULL OR venue > $2::text)
    GROUP BY venue ORDER BY venue LIMIT $3::bigint
) AS v, LATERAL (
    SELECT count(*), min(i.created_at) AS oldest FROM intents AS i JOIN accounts AS a ON a.id = i.account_id
    WHERE i.is_live AND i.state = 'UNKNOWN' AND a.venue = v.venue
) AS u
ORDER BY v.venue

-- name: overview
SELECT json_build_object(
    'leader', (SELECT CASE WHEN lease_until > clock_timestamp() THEN worker END FROM leader),
    'workers', (SELECT count(*) FROM workers WHERE lease_until > clock_timestamp()),
    'shardsWithoutOwner', (SELECT count(*) FROM shards WHERE worker IS NULL),
    'openOrders', (SELECT count(*) FROM orders WHERE is_live),
    'stoppingOrders', (SELECT count(*) FROM orders WHERE is_live AND phase = 'stopping'),
    'stoppingOldestMs', (SELECT (extract(epoch FROM clock_timestamp() - min(updated_at)) * 1000)::bigint
        FROM orders WHERE is_live AND phase = 'stopping'),
    'needAttention', (SELECT count(*) FROM orders WHERE health = 'NEEDS_ATTENTION'),
    'unknownOutcomes', (SELECT count(*) FROM intents WHERE is_live AND state = 'UNKNOWN'),
    'outboxPending', (SELECT count(*) FROM outbox WHERE state = 'pending'),
    'deadJobs', (SELECT count(*) FROM outbox WHERE state = 'dead'),
    'deadDeliveries', (SELECT count(*) FROM webhook_deliveries WHERE state = 'DEAD'),
    'halts', (SELECT count(*) FROM halts)), ''
FROM control WHERE $1::text IS NULL AND $2::text IS NULL AND $3::bigint > 0

-- Actions. Each stands in a transaction with its line of the audit.

-- name: line
INSERT INTO audit (actor, via, action, subject, count, reason, before, after, request_id)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::bigint, $6::text, $7::jsonb, $8::jsonb, $9::text)

-- name: flush
-- Whatever waits is offered to the queue with the relay's next look.
UPDATE outbox SET offered_at = NULL, due_at = least(due_at, clock_timestamp()) WHERE state = 'pending'

-- name: resend_dead
UPDATE webhook_deliveries SET state = 'PENDING', tries = 0, next_at = clock_timestamp()
WHERE state = 'DEAD' AND ($1::text IS NULL OR webhook_id = $1::text::uuid)

-- name: add_user
INSERT INTO users (id, name, tier, roles) VALUES ($1::uuid, $2::text, $3::text, $4::text[])

-- name: change_user
UPDATE users SET tier = coalesce($2::text, tier), roles = coalesce($3::text[], roles) WHERE id = $1::uuid

-- name: note_group
INSERT INTO dead_notes (code, note, actor) VALUES ($1::text, $2::text, $3::text)
ON CONFLICT (code) DO UPDATE SET note = excluded.note, actor = excluded.actor, at = clock_timestamp()

-- name: cancel_batch
WITH ended AS (
    UPDATE batches SET state = 'CANCELLED', ended_at = clock_timestamp() WHERE id::text = $1::text AND state = 'RUNNING'
)
UPDATE bulk_operations SET state = 'cancelled', ended_at = clock_timestamp()
WHERE id = $1::text AND state NOT IN ('done', 'cancelled')

-- name: confirm_recovery
-- What halts a copy was set by the system; what an operator set since stays.
DELETE FROM halts WHERE reason = 'DATABASE_COPIED' AND actor = 'system'

-- name: verify
-- Recomputes the chain; the first line that does not fit, null: all do.
SELECT count(*), min(place) FILTER (WHERE chain IS DISTINCT FROM wanted) FROM (
    SELECT a.place, a.chain, audit_hash(a, coalesce(lag(a.chain) OVER (ORDER BY a.place), ''::bytea)) AS wanted
    FROM audit AS a WHERE a.place IS NOT NULL
) AS x

-- name: account_of_order
SELECT account_id FROM orders WHERE id = $1::uuid

-- name: account
SELECT id, name, venue, product, mode, maximum_conditionals::bigint FROM accounts
WHERE id = $1::uuid AND deleted_at IS NULL

-- name: live_request
SELECT version FROM live_requests WHERE account_id = $1::uuid
