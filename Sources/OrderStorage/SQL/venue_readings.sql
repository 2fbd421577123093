-- Questions to venues and their answers (Ports/VenueReadings.swift). Askings are counted; an answer says up to which one.

-- name: ask
INSERT INTO venue_readings AS r (account_id, question) VALUES ($1::uuid, $2::text)
ON CONFLICT (account_id, question) DO UPDATE SET asked = r.asked + 1, asked_at = clock_timestamp()
RETURNING asked

-- name: answer
SELECT answered, failure, reading, as_of FROM venue_readings WHERE account_id = $1::uuid AND question = $2::text

-- name: take
UPDATE venue_readings AS r SET lease_until = clock_timestamp() + interval '5 s'
FROM (
    SELECT account_id, question FROM venue_readings WHERE asked > answered AND lease_until < clock_timestamp()
    ORDER BY asked_at LIMIT $1::bigint FOR UPDATE SKIP LOCKED
) AS t
WHERE r.account_id = t.account_id AND r.question = t.question
RETURNING r.account_id, r.question, r.asked

-- name: settle
-- An older answer never replaces a newer one. Who asked meanwhile is next.
UPDATE venue_readings SET answered = $3::bigint, failure = NULL, reading = $4::text, as_of = $5::timestamptz,
    lease_until = '-infinity'
WHERE account_id = $1::uuid AND question = $2::text AND answered < $3::bigint

-- name: fail
UPDATE venue_readings SET answered = $3::bigint, failure = $4::text, lease_until = '-infinity'
WHERE account_id = $1::uuid AND question = $2::text AND answered < $3::bigint

-- name: purge
DELETE FROM venue_readings WHERE asked_at < clock_timestamp() - interval '1 day'
