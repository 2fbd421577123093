-- Reading orders. Statements are parted by `-- name:` lines (SQLText.swift).

-- name: load
-- The rows of named orders. The whole order is the state of its latest event.
SELECT e.state
FROM unnest($1::uuid[]) AS t(id)
JOIN orders AS o ON o.id = t.id
JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id

-- name: load_noted
-- The same with what a trader wrote since.
SELECT e.state, n.text
FROM unnest($1::uuid[]) AS t(id)
JOIN orders AS o ON o.id = t.id
JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id
LEFT JOIN trader_notes AS n ON n.order_id = o.id AND n.account_id = o.account_id

-- name: current
-- The same for several askers: an order for those of whose accounts it is, and of no other. Arrays: place of the question,
-- order, account, and the commit that the asker's process has read; its state is not told again.
SELECT t.place, e.commit_id, CASE WHEN e.commit_id IS DISTINCT FROM t.known THEN e.state END, n.text
FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::bigint[]) AS t(place, id, account_id, known)
JOIN orders AS o ON o.id = t.id AND o.account_id = t.account_id
JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id
LEFT JOIN trader_notes AS n ON n.order_id = o.id AND n.account_id = o.account_id

-- name: armed
SELECT id, version, market, source, position_time, position_seq, watches, wants_every_tick, is_busy, due_at, is_live
FROM orders WHERE id = ANY ($1::uuid[])

-- name: load_armed
-- For COPY, which takes no parameters. Every column is of fixed form, so a million rows need no parsing of text. The
-- setting is read in a query of its own: once, not for every row.
SELECT id, version, market, source, position_time, position_seq, watches, wants_every_tick, is_busy, due_at
FROM orders WHERE is_live AND shard = ANY ((SELECT current_setting('store.shards')::smallint[])::smallint[])

-- name: horizon
-- Where the change log is complete: every transaction below this number has ended.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint

-- name: changes
-- Orders with an event of a transaction from $1 on.
--
-- Sequence numbers become visible out of order: a reader that has seen 8 may never see 7, which commits later. So the
-- log is read by transaction number, and the next reading starts at the oldest transaction that was still open when this
-- one began (`horizon`, read first). What committed in between is read twice, nothing is missed. A commit that takes
-- long makes readings longer, not wrong. No row is written for it, and no column that changes is indexed: events are
-- append only, so their index on xid grows at its right end. The upper bound is there for the planner: without one it
-- takes a third of the table for the answer and reads it whole.
SELECT id, version, market, source, position_time, position_seq, watches, wants_every_tick, is_busy, due_at, is_live
FROM (
    SELECT DISTINCT order_id, account_id FROM events WHERE xid >= $1::xid8 AND xid < '9223372036854775807'::xid8
) AS e
JOIN orders ON orders.id = e.order_id AND orders.account_id = e.account_id
WHERE shard = ANY ($2::smallint[])

-- name: list
-- Which orders a page has, and the commit that wrote each: whoever has read that commit needs no more.
SELECT o.id, o.version, e.commit_id, n.text
FROM orders AS o
JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id
LEFT JOIN trader_notes AS n ON n.order_id = o.id AND n.account_id = o.account_id
WHERE o.account_id = $1::uuid AND ($2::uuid IS NULL OR o.id < $2::uuid)
    AND (cardinality($3::text[]) = 0 OR o.status = ANY ($3::text[])) AND ($4::text IS NULL OR o.market = $4::text)
    AND ($6::text IS NULL OR o.kind = $6::text) AND ($7::timestamptz IS NULL OR o.updated_at >= $7::timestamptz)
ORDER BY o.id DESC LIMIT $5::bigint

-- name: states
-- The states of a page's orders that nobody has read: of the very commits that the page named, whatever came since.
-- Arrays: place, order, version, commit. $5: whose they are.
SELECT t.place, e.state
FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bigint[]) AS t(place, id, version, commit_id)
JOIN events AS e ON e.order_id = t.id AND e.version = t.version AND e.account_id = $5::uuid AND e.commit_id = t.commit_id

-- name: search
-- The same with finer questions, in one of five orders ($7). Time of an order that lives is 0 where ended ones are sought.
SELECT id, version, commit_id, note FROM (
    SELECT o.id, o.version, e.commit_id, n.text AS note, o.market, split_part(o.market, ':', 3) COLLATE "C" AS symbol,
        CASE WHEN $7::text = '-closedAt' AND o.is_live THEN to_timestamp(0) ELSE o.updated_at END AS moment
    FROM orders AS o
    JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id
    LEFT JOIN trader_notes AS n ON n.order_id = o.id AND n.account_id = o.account_id
    WHERE o.account_id = $1::uuid AND o.kind = 'smart'
        AND (cardinality($2::text[]) = 0 OR o.status = ANY ($2::text[])) AND ($3::text IS NULL OR o.market = $3::text)
        AND ($8::text IS NULL OR split_part(o.market, ':', 1) = $8::text)
        AND ($9::text IS NULL OR split_part(o.market, ':', 3) = $9::text)
        AND ($10::text IS NULL OR e.state::json #>> '{draft,side}' = $10::text)
        AND ($11::text IS NULL OR o.health = $11::text)
        AND ($12::text IS NULL OR (o.whole_position IS NULL) = ($12::text = 'SMART'))
        AND ($13::text IS NULL OR o.client_order_id = $13::text)
        AND ($14::timestamptz IS NULL OR o.updated_at >= $14::timestamptz)
        AND ($15::timestamptz IS NULL OR o.created_at >= $15::timestamptz)
        AND ($16::timestamptz IS NULL OR o.created_at < $16::timestamptz)
        AND ($17::text IS NULL OR position(lower($17::text) IN lower(concat_ws(E'\n', split_part(o.market, ':', 3),
            o.client_order_id, coalesce(n.text, e.state::json #>> '{draft,note}')))) > 0)
) AS found
WHERE $4::uuid IS NULL OR CASE $7::text
    WHEN '-createdAt' THEN id < $4::uuid
    WHEN 'createdAt' THEN id > $4::uuid
    WHEN 'symbol' THEN symbol > $5::text OR (symbol = $5::text AND id < $4::uuid)
    ELSE moment < $6::timestamptz OR (moment = $6::timestamptz AND id < $4::uuid)
END
ORDER BY CASE WHEN $7::text = 'symbol' THEN symbol END,
    CASE WHEN $7::text IN ('-updatedAt', '-closedAt') THEN moment END DESC,
    CASE WHEN $7::text = 'createdAt' THEN id END, id DESC
LIMIT $18::bigint

-- name: live
-- Orders of one account and market that are not terminal, newest first.
SELECT e.state
FROM orders AS o
JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id
WHERE o.account_id = $1::uuid AND o.market = $2::text AND o.is_live
ORDER BY o.id DESC LIMIT $3::bigint

-- name: shares
-- What the orders of one position own together, by side and by whether they follow it. Orders of an older program, whose
-- columns say nothing, stand for themselves with a null side. $3: left out.
SELECT side, whole_position IS NOT NULL, sum(remaining), bool_or(reserved > 0), min(id::text COLLATE "C")::uuid
FROM orders
WHERE account_id = $1::uuid AND market = $2::text AND is_live AND kind = 'smart' AND side IS NOT NULL
    AND id IS DISTINCT FROM $3::uuid
GROUP BY side, whole_position IS NOT NULL
UNION ALL
SELECT NULL, false, NULL, NULL, id FROM orders
WHERE account_id = $1::uuid AND market = $2::text AND is_live AND kind = 'smart' AND side IS NULL
    AND id IS DISTINCT FROM $3::uuid

-- name: left
-- Live orders that a position of $4 (signed) may leave without what they own, and those that only their rows can tell.
-- $3: the side that the position belongs to, null for a netted one.
SELECT e.state
FROM (
    SELECT id, account_id, version FROM orders,
        LATERAL (SELECT CASE side WHEN 'BUY' THEN $4::numeric ELSE -$4::numeric END AS there) AS p
    WHERE account_id = $1::uuid AND market = $2::text AND is_live AND id > $5::uuid AND (
        side IS NULL
        OR ($3::text IS NULL OR side = $3::text) AND (
            health <> 'OK' OR there < 0
            OR CASE WHEN whole_position IS NULL THEN there < remaining - reserved ELSE there <> remaining END
        )
    )
    ORDER BY id LIMIT $6::bigint
) AS o
JOIN events AS e ON e.order_id = o.id AND e.version = o.version AND e.account_id = o.account_id
ORDER BY o.id

-- name: standings
-- What exits are fitted to: exits of other orders that rest at the venue on the same side of the market (ORDERS.md R16.4),
-- and the newest fill of each order. Arrays: account, market, order, side of the exit.
SELECT
    (SELECT coalesce(sum(quantity - filled), 0) FROM intents
        WHERE intents.account_id = t.account_id AND intents.market = t.market AND order_id <> t.id
            AND intents.side = t.side AND is_live AND is_exit AND type = 'GTC'
            AND state IN ('OPEN', 'PARTIAL', 'CANCEL_REQUESTED')),
    (SELECT max(at) FROM fills WHERE order_id = t.id)
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) WITH ORDINALITY AS t(account_id, market, id, side, place)
ORDER BY t.place

-- name: open_work
-- What has to be compared with the venue: orders with something that may exist there, and markets with open orders.
SELECT true, order_id, NULL::text FROM (
    SELECT DISTINCT order_id FROM intents WHERE account_id = $1::uuid AND is_live AND send_token IS NOT NULL
) AS i
UNION ALL
SELECT false, NULL, market FROM (
    SELECT DISTINCT market FROM orders WHERE account_id = $1::uuid AND is_live
) AS m

-- name: active_legs
SELECT coalesce(sum(legs), 0)::bigint FROM orders WHERE account_id = $1::uuid AND market = $2::text AND is_live

-- name: events_of_order
SELECT account_id, seq, order_id, version, at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time, tick_seq,
    facts, state, (SELECT market FROM orders WHERE orders.id = events.order_id AND orders.account_id = events.account_id),
    record::json ->> 'requestId', (record::json ->> 'receivedAt')::bigint
FROM events WHERE order_id = $1::uuid AND version > $2::bigint ORDER BY version LIMIT $3::bigint

-- name: events_of_account
-- Complete as far as it goes: whoever takes a number holds the stream's row until the end of its transaction, so numbers
-- become visible in order. Changes of the account stand between those of its orders.
SELECT account_id, seq, order_id, version, at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time, tick_seq,
    facts, state, market, request_id, received_at
FROM (
    (
        SELECT account_id, seq, order_id, version, at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time,
            tick_seq, facts, state, (
                SELECT market FROM orders
                WHERE orders.id = events.order_id AND orders.account_id = events.account_id
            ) AS market, record::json ->> 'requestId' AS request_id, (record::json ->> 'receivedAt')::bigint AS received_at
        FROM events WHERE account_id = $1::uuid AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint
    )
    UNION ALL
    (
        SELECT account_id, seq, NULL, NULL, at, 'COMMAND', actor_kind, actor_id, NULL, NULL, NULL, NULL, facts, state,
            NULL, NULL, NULL
        FROM account_events WHERE account_id = $1::uuid AND seq > $2::bigint ORDER BY seq LIMIT $3::bigint
    )
) AS e
ORDER BY seq LIMIT $3::bigint

-- name: last_sequence
SELECT last_seq FROM account_stream WHERE account_id = $1::uuid

-- name: fills
SELECT leg, attempt, venue_fill_id, quantity, price, fee, fee_asset, is_maker, at
FROM fills WHERE order_id = $1::uuid ORDER BY at, venue_fill_id

-- name: fill_summaries
SELECT order_id, leg, sum(quantity), sum(quantity * price), min(at), max(at)
FROM fills WHERE order_id = ANY ($1::uuid[]) GROUP BY order_id, leg

-- name: outcome
SELECT order_id, request_hash FROM idempotency WHERE owner = $1::text AND key = $2::text

-- name: kept_answer
SELECT status::bigint, entity_tag, location, body FROM idempotency
WHERE owner = $1::text AND key = $2::text AND status IS NOT NULL

-- name: conclude
-- What became of commits that returned no row: per commit what is stored now. Read after the write that found nothing to
-- change, so what is found is final (RELIABILITY.md 3.1.5). Arrays: order, account, version wanted, owner, key.
SELECT w.place, o.version, e.commit_id, e.seq, k.order_id, k.request_hash, s.account_id IS NOT NULL AS is_known
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[])
    WITH ORDINALITY AS w(order_id, account_id, version, owner, key, place)
LEFT JOIN account_stream AS s ON s.account_id = w.account_id
LEFT JOIN orders AS o ON o.id = w.order_id AND o.account_id = w.account_id
LEFT JOIN events AS e ON e.order_id = w.order_id AND e.version = w.version AND e.account_id = w.account_id
LEFT JOIN idempotency AS k ON k.owner = w.owner AND k.key = w.key

-- name: control
SELECT incarnation, system_identifier, timeline, nullif(quarantine_from, '-infinity'),
    is_present_history(system_identifier, timeline)
FROM control

-- name: probe
INSERT INTO commit_probe (session, at) VALUES (pg_backend_pid()::text, clock_timestamp())
ON CONFLICT (session) DO UPDATE SET at = excluded.at
