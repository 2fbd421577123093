-- Commits decisions of different orders, each on its own merits: row, event, intents, fills, jobs.
--
-- Expects  per order the stored version :version - 1, the incarnation in which the order was read, and for a decision
--          that takes a send right: no halt in its way, the quarantine over for the venue's fence, and a server whose
--          timeline is the known one: behind a promotion the row may have forgotten what was sent (RELIABILITY.md 2.10).
-- Returns  order and number in the account's stream, of those that took effect. A lost race returns no row and has
--          written nothing.
-- Locks    orders in the order given, which is by account and id; then account_stream, ascending. All commits lock in this
--          order, so they wait for each other and never in a circle. Under READ COMMITTED an UPDATE that waited tests the
--          new row, so `version` is a compare-and-set.
-- Cost     one statement, one transaction, one round trip; linear in the batch. Three things keep it so. PostgreSQL takes
--          `o` for one row and would join everything to it by nested loops, 100 x 100 per batch: numbers travel as
--          an array (`seqs`), and the other joins are written as FULL JOIN, which it can only do by hashing; the
--          coalesce() in their WHERE keeps it from turning them into inner joins. What is wide (facts, state) goes from
--          the parameter to the table and through no intermediate result.
--
-- A template (CommitStatement.swift): `:name` is a parameter, an array with one element per decision (per intent, fill,
-- job); parts between `--{ part` and `--}` are left out of a batch that has none of it.
WITH
ok AS MATERIALIZED (
    SELECT quarantine_from, is_present_history(system_identifier, timeline) AS is_present
    FROM control WHERE incarnation = :incarnation
),
--{ create
--{ idempotency
-- Places whose key was used before: their first request made the order. Left out, they undo nobody else's; a key that
-- another transaction is using right now is met below.
u AS MATERIALIZED (
    SELECT coalesce(array_agg(k.place), '{}'::bigint[]) AS places
    FROM unnest(:kPlace::bigint[], :kOwner::text[], :kKey::text[]) AS k(place, owner, key)
    JOIN idempotency USING (owner, key)
),
--}
n AS (
    INSERT INTO orders (
        id, account_id, version, market, source, shard, kind, status, phase, health, is_live, is_latched, entered, exited,
        reserved, over_exit, legs, position_time, position_seq, watches, wants_every_tick, is_busy, due_at, wanted_leg,
        wanted_attempt, created_at, updated_at, client_order_id, whole_position, side, remaining
    )
    SELECT id, account_id, version, market, source, shard, kind, status, phase, health, phase IS NOT NULL, is_latched,
        entered::numeric, exited::numeric, reserved::numeric, over_exit::numeric, legs, position_time, position_seq,
        watches, wants_every_tick, is_busy, due_at, wanted_leg, wanted_attempt, created_at, updated_at, client_order_id,
        whole_position, side, remaining::numeric
    FROM ok,
--{ idempotency
    u,
--}
    unnest(
        :id::uuid[], :account::uuid[], :version::bigint[], :market::text[], :source::text[], :shard::smallint[],
        :kind::text[], :status::text[], :phase::text[], :health::text[], :isLatched::boolean[], :entered::text[], :exited::text[],
        :reserved::text[], :overExit::text[], :legs::smallint[], :positionTime::bigint[], :positionSeq::bigint[],
        :watches::bytea[], :wantsEveryTick::boolean[], :isBusy::boolean[], :dueAt::timestamptz[],
        :wantedLeg::text[], :wantedAttempt::integer[], :createdAt::timestamptz[], :updatedAt::timestamptz[],
        :sends::smallint[], :fenceMs::bigint[], :clientOrderId::text[], :whole::text[], :side::text[], :remaining::text[]
    ) WITH ORDINALITY AS d(
        id, account_id, version, market, source, shard, kind, status, phase, health, is_latched, entered, exited, reserved,
        over_exit, legs, position_time, position_seq, watches, wants_every_tick, is_busy, due_at, wanted_leg,
        wanted_attempt, created_at, updated_at, sends, fence_ms, client_order_id, whole_position, side, remaining, place
    )
    WHERE d.version = 1
--{ idempotency
        AND d.place <> ALL (u.places)
--}
        AND EXISTS (SELECT FROM account_stream WHERE account_stream.account_id = d.account_id)
        AND (d.sends = 0 OR (
            ok.is_present AND clock_timestamp() >= ok.quarantine_from + d.fence_ms * interval '1 ms'
            AND NOT EXISTS (
                SELECT FROM halts WHERE (level = 'sends' OR d.sends = 2) AND subject = CASE scope
                    WHEN 'cluster' THEN '' WHEN 'venue' THEN split_part(d.market, ':', 1)
                    WHEN 'market' THEN d.market WHEN 'account' THEN d.account_id::text ELSE d.id::text END
            )
        ))
    ON CONFLICT (id, account_id) DO NOTHING
    RETURNING id, market
),
o AS (
    SELECT d.place, d.account_id, d.id, d.version, n.market
    FROM unnest(:id::uuid[], :account::uuid[], :version::bigint[])
        WITH ORDINALITY AS d(id, account_id, version, place)
    FULL JOIN n USING (id)
    WHERE coalesce(d.version, 0) = 1 AND coalesce(n.market, '') <> ''
),
--}
--{ update
o AS (
    UPDATE orders SET
        version = d.version, source = d.source, status = d.status, phase = d.phase, health = d.health,
        is_live = d.phase IS NOT NULL, is_latched = d.is_latched, entered = d.entered::numeric,
        exited = d.exited::numeric, reserved = d.reserved::numeric, over_exit = d.over_exit::numeric, legs = d.legs,
        position_time = d.position_time, position_seq = d.position_seq, watches = d.watches,
        wants_every_tick = d.wants_every_tick, is_busy = d.is_busy, due_at = d.due_at, wanted_leg = d.wanted_leg,
        wanted_attempt = d.wanted_attempt, updated_at = d.updated_at, whole_position = d.whole_position,
        side = d.side, remaining = d.remaining::numeric
    FROM ok, unnest(
        :id::uuid[], :account::uuid[], :version::bigint[], :source::text[], :status::text[],
        :phase::text[], :health::text[], :isLatched::boolean[], :entered::text[], :exited::text[], :reserved::text[],
        :overExit::text[], :legs::smallint[], :positionTime::bigint[], :positionSeq::bigint[], :watches::bytea[],
        :wantsEveryTick::boolean[], :isBusy::boolean[], :dueAt::timestamptz[], :wantedLeg::text[],
        :wantedAttempt::integer[], :updatedAt::timestamptz[], :sends::smallint[], :fenceMs::bigint[], :whole::text[],
        :side::text[], :remaining::text[]
    ) WITH ORDINALITY AS d(
        id, account_id, version, source, status, phase, health, is_latched, entered, exited, reserved,
        over_exit, legs, position_time, position_seq, watches, wants_every_tick, is_busy, due_at, wanted_leg,
        wanted_attempt, updated_at, sends, fence_ms, whole_position, side, remaining, place
    )
    WHERE orders.id = d.id AND orders.account_id = d.account_id AND orders.version = d.version - 1
        AND (d.sends = 0 OR (
            ok.is_present AND clock_timestamp() >= ok.quarantine_from + d.fence_ms * interval '1 ms'
            AND NOT EXISTS (
                SELECT FROM halts WHERE (level = 'sends' OR d.sends = 2) AND subject = CASE scope
                    WHEN 'cluster' THEN '' WHEN 'venue' THEN split_part(orders.market, ':', 1)
                    WHEN 'market' THEN orders.market WHEN 'account' THEN d.account_id::text ELSE d.id::text END
            )
        ))
    RETURNING d.place, d.account_id, d.id, d.version, orders.market
),
--}
s AS (
    UPDATE account_stream SET last_seq = last_seq + c.count
    FROM (SELECT account_id, count(*) FROM o GROUP BY account_id ORDER BY account_id) AS c
    WHERE account_stream.account_id = c.account_id
    RETURNING account_stream.account_id, last_seq - c.count AS base
),
-- The number of every event by its place in the batch; 0 where the race was lost.
q AS MATERIALIZED (
    SELECT array_agg(coalesce(seq, 0) ORDER BY place) AS seqs
    FROM generate_series(1, cardinality(:id::uuid[])) AS g(place)
    FULL JOIN (
        SELECT place, base + row_number() OVER (PARTITION BY account_id ORDER BY place) AS seq
        FROM o FULL JOIN s USING (account_id)
    ) AS w USING (place)
),
--{ idempotency
k AS (
    -- No ON CONFLICT: a key that is taken undoes the whole statement, and the commits are then tried in halves.
    INSERT INTO idempotency (owner, key, request_hash, order_id, version, status, entity_tag, location, body)
    SELECT k.owner, k.key, k.request_hash, o.id, o.version, k.status, k.entity_tag, k.location, k.body
    FROM unnest(:kPlace::bigint[], :kOwner::text[], :kKey::text[], :kHash::text[], :kStatus::smallint[],
        :kTag::text[], :kLocation::text[], :kBody::text[])
        AS k(place, owner, key, request_hash, status, entity_tag, location, body)
    FULL JOIN o USING (place)
    WHERE coalesce(k.place, 0) > 0 AND coalesce(o.version, 0) > 0
),
--}
--{ intents
i AS (
    INSERT INTO intents (
        account_id, order_id, leg, attempt, market, client_order_id, side, type, quantity, limit_price, reduce_only,
        state, is_live, filled, venue_order_id, cancel_wanted, is_exit, created_at, send_token, sends, t0, fence_until,
        next_check_at, updated_at
    )
    SELECT o.account_id, o.id, i.leg, i.attempt, o.market, i.client_order_id, i.side, i.type, i.quantity::numeric,
        i.limit_price::numeric, i.reduce_only, i.state, i.check_ms IS NOT NULL, i.filled::numeric, i.venue_order_id,
        i.cancel_wanted, i.is_exit, i.created_at, i.send_token, CASE WHEN i.send_token IS NULL THEN 0 ELSE 1 END, i.t0,
        clock_timestamp() + i.fence_ms * interval '1 ms', clock_timestamp() + i.check_ms * interval '1 ms',
        clock_timestamp()
    FROM unnest(
        :iPlace::bigint[], :iLeg::text[], :iAttempt::integer[], :iClientOrderId::text[], :iSide::text[],
        :iType::text[], :iQuantity::text[], :iLimit::text[], :iReduceOnly::boolean[], :iState::text[],
        :iFilled::text[], :iVenueOrderId::text[], :iCancelWanted::boolean[], :iIsExit::boolean[],
        :iCreatedAt::timestamptz[], :iToken::bigint[], :iSentAt::timestamptz[], :iFenceMs::bigint[],
        :iCheckMs::bigint[]
    ) AS i(
        place, leg, attempt, client_order_id, side, type, quantity, limit_price, reduce_only, state, filled,
        venue_order_id, cancel_wanted, is_exit, created_at, send_token, t0, fence_ms, check_ms
    )
    FULL JOIN o USING (place)
    WHERE coalesce(i.place, 0) > 0 AND coalesce(o.version, 0) > 0
    -- A fact about a known intent: quantities only grow, a send right is taken over only where there was none (the guard
    -- of the table refuses the rest), and the schedule of look-ups goes on unless the state changed.
    ON CONFLICT (order_id, leg, attempt, account_id) DO UPDATE SET
        state = excluded.state, is_live = excluded.is_live, filled = greatest(intents.filled, excluded.filled),
        venue_order_id = coalesce(excluded.venue_order_id, intents.venue_order_id),
        cancel_wanted = excluded.cancel_wanted,
        client_order_id = coalesce(intents.client_order_id, excluded.client_order_id),
        send_token = coalesce(excluded.send_token, intents.send_token),
        sends = greatest(intents.sends, excluded.sends),
        t0 = coalesce(excluded.t0, intents.t0), fence_until = coalesce(excluded.fence_until, intents.fence_until),
        next_check_at = CASE WHEN intents.state = excluded.state AND intents.next_check_at IS NOT NULL
            THEN intents.next_check_at
            WHEN excluded.state = 'ABSENT' THEN clock_timestamp() + interval '1 minute'
            ELSE excluded.next_check_at END,
        updated_at = excluded.updated_at
),
--}
--{ fills
f AS (
    INSERT INTO fills (
        account_id, market, venue_fill_id, order_id, leg, attempt, quantity, price, fee, fee_asset, is_maker, at
    )
    SELECT o.account_id, o.market, f.fill_id, o.id, f.leg, f.attempt, f.quantity::numeric, f.price::numeric,
        f.fee::numeric, f.fee_asset, f.is_maker, f.at
    FROM unnest(
        :fPlace::bigint[], :fId::text[], :fLeg::text[], :fAttempt::integer[], :fQuantity::text[], :fPrice::text[],
        :fFee::text[], :fFeeAsset::text[], :fIsMaker::boolean[], :fAt::timestamptz[]
    ) AS f(place, fill_id, leg, attempt, quantity, price, fee, fee_asset, is_maker, at)
    FULL JOIN o USING (place)
    WHERE coalesce(f.place, 0) > 0 AND coalesce(o.version, 0) > 0
    ON CONFLICT (account_id, market, venue_fill_id) DO NOTHING
),
--}
--{ jobs
j AS (
    INSERT INTO outbox (job_id, name, class, version, account_id, market, source, tick_time, tick_seq)
    SELECT j.job_id, j.name, j.class, j.version, j.account_id, j.market, j.source, j.tick_time, j.tick_seq
    FROM unnest(
        :jPlace::bigint[], :jId::text[], :jName::text[], :jClass::smallint[], :jVersion::bigint[],
        :jAccount::uuid[], :jMarket::text[], :jSource::text[], :jTime::bigint[], :jSeq::bigint[]
    ) AS j(place, job_id, name, class, version, account_id, market, source, tick_time, tick_seq)
    FULL JOIN o USING (place)
    WHERE coalesce(j.place, 0) > 0 AND coalesce(o.version, 0) > 0
    ON CONFLICT (job_id) DO NOTHING
),
--}
-- Not a part: ends the list of common table expressions.
done AS (SELECT)
INSERT INTO events (
    account_id, seq, order_id, version, commit_id, at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time,
    tick_seq, facts, state, record
)
SELECT d.account_id, q.seqs[d.place], d.id, d.version, d.commit_id, d.at, d.cause, d.actor_kind, d.actor_id, d.tick_source,
    d.tick_price::numeric, d.tick_time, d.tick_seq, d.facts, d.state, d.record
FROM q, unnest(
    :account::uuid[], :id::uuid[], :version::bigint[], :commitId::bigint[], :updatedAt::timestamptz[], :cause::text[],
    :actorKind::text[], :actorId::text[], :tickSource::text[], :tickPrice::text[], :tickTime::bigint[],
    :tickSeq::bigint[], :facts::text[], :state::text[], :record::text[]
) WITH ORDINALITY AS d(
    account_id, id, version, commit_id, at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time, tick_seq,
    facts, state, record, place
)
WHERE q.seqs[d.place] > 0
RETURNING order_id, seq
