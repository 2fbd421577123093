-- Operators' work on the queue.

-- name: audit
INSERT INTO audit (actor, action, subject, reason, detail)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::jsonb)

-- name: begin
-- Expects that nobody used the id.
INSERT INTO bulk_operations (id, kind, filter, cutoff_ms, actor, reason)
VALUES ($1::text, $2::text, $3::jsonb, $4::bigint, $5::text, $6::text)
ON CONFLICT (id) DO NOTHING

-- name: operations
SELECT o.id, o.kind, o.filter::text, o.cutoff_ms, o.actor, o.reason, o.state, o.started_at,
    count(i.job_id), count(*) FILTER (WHERE i.outcome = 'moved'), count(*) FILTER (WHERE i.outcome = 'obsolete'),
    count(*) FILTER (WHERE i.outcome = 'duplicate'), count(*) FILTER (WHERE i.outcome = 'failed')
FROM bulk_operations AS o LEFT JOIN bulk_items AS i ON i.batch = o.id
WHERE $1::text IS NULL OR o.id = $1::text
GROUP BY o.id ORDER BY o.started_at DESC LIMIT $2::bigint

-- name: add_items
INSERT INTO bulk_items (batch, queue, job_id)
SELECT $1::text, q, j FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS t (q, j, n) ORDER BY n
ON CONFLICT DO NOTHING

-- name: set_state
UPDATE bulk_operations SET state = $2::text,
    ended_at = CASE WHEN $2::text IN ('done', 'cancelled') THEN clock_timestamp() END
WHERE id = $1::text AND state NOT IN ('done', 'cancelled')
RETURNING 1

-- name: open_items
SELECT queue, job_id, is_sent, number FROM bulk_items WHERE batch = $1::text AND outcome IS NULL
    AND EXISTS (SELECT 1 FROM bulk_operations WHERE id = $1::text AND state = 'running')
ORDER BY number LIMIT $2::bigint

-- name: mark_sent
UPDATE bulk_items SET is_sent = true WHERE number = ANY ($1::bigint[])

-- name: settle
UPDATE bulk_items SET outcome = $2::text WHERE number = ANY ($1::bigint[]) AND outcome IS NULL

-- name: reopen
-- Whose crashes are not forgotten may crash once more.
UPDATE outbox SET state = 'pending', offered_at = clock_timestamp(), lease_until = NULL,
    crashes = CASE WHEN $2::boolean THEN 0 ELSE least(crashes, 10) END
WHERE job_id = ANY ($1::text[]) AND state = 'dead'

-- name: discard
UPDATE outbox SET state = 'discarded' WHERE job_id = ANY ($1::text[]) AND state IN ('pending', 'dead')

-- name: pending
SELECT class, count(*) FROM outbox WHERE state = 'pending' GROUP BY class

-- name: pause
INSERT INTO queue_settings (queue, paused_until, actor, reason)
VALUES ($1::text, CASE WHEN $2::bigint = 0 THEN 'infinity'
    ELSE clock_timestamp() + $2::bigint * interval '1 ms' END, $3::text, $4::text)
ON CONFLICT (queue) DO UPDATE SET
    paused_until = excluded.paused_until, actor = excluded.actor, reason = excluded.reason, since = clock_timestamp()

-- name: resume
DELETE FROM queue_settings WHERE queue = $1::text

-- name: dead_notes
SELECT code, note FROM dead_notes

-- name: set_dead_note
INSERT INTO dead_notes (code, note, actor) VALUES ($1::text, $2::text, $3::text)
ON CONFLICT (code) DO UPDATE SET note = excluded.note, actor = excluded.actor, at = clock_timestamp()

-- name: remove_dead_note
DELETE FROM dead_notes WHERE code = $1::text

-- name: audits
-- Newest first. Every filter may be null.
SELECT id, at, actor, action, subject, reason, coalesce(detail::text, '{}') FROM audit
WHERE ($1::text IS NULL OR actor = $1::text) AND ($2::text IS NULL OR starts_with(action, $2::text))
    AND ($3::bigint IS NULL OR at >= clock_timestamp() - $3::bigint * interval '1 s')
ORDER BY id DESC LIMIT $4::bigint
