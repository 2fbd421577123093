-- Commits one decision on an order that exists: commit.sql without arrays, for the moments when nothing else waits. A
-- statement this wide costs more to set up than to run, and a trigger that is to be sent waits for it.
--
-- Expects, returns and locks as commit.sql; the same columns, as single values, except those of intents, fills and jobs.
WITH
ok AS MATERIALIZED (
    SELECT quarantine_from, is_present_history(system_identifier, timeline) AS is_present
    FROM control WHERE incarnation = :incarnation
),
o AS (
    UPDATE orders SET
        version = :version::bigint, source = :source::text, status = :status::text, phase = :phase::text,
        health = :health::text, is_live = :phase::text IS NOT NULL, is_latched = :isLatched::boolean,
        entered = :entered::text::numeric, exited = :exited::text::numeric, reserved = :reserved::text::numeric,
        over_exit = :overExit::text::numeric, legs = :legs::smallint, position_time = :positionTime::bigint,
        position_seq = :positionSeq::bigint, watches = :watches::bytea, wants_every_tick = :wantsEveryTick::boolean,
        is_busy = :isBusy::boolean, due_at = :dueAt::timestamptz, wanted_leg = :wantedLeg::text,
        wanted_attempt = :wantedAttempt::integer, updated_at = :updatedAt::timestamptz,
        whole_position = :whole::text, side = :side::text, remaining = :remaining::text::numeric
    FROM ok
    WHERE orders.id = :id::uuid AND orders.account_id = :account::uuid AND orders.version = :version::bigint - 1
        AND (:sends::smallint = 0 OR (
            ok.is_present AND clock_timestamp() >= ok.quarantine_from + :fenceMs::bigint * interval '1 ms'
            AND NOT EXISTS (
                SELECT FROM halts WHERE (level = 'sends' OR :sends::smallint = 2) AND subject = CASE scope
                    WHEN 'cluster' THEN '' WHEN 'venue' THEN split_part(orders.market, ':', 1)
                    WHEN 'market' THEN orders.market WHEN 'account' THEN orders.account_id::text
                    ELSE orders.id::text END
            )
        ))
    RETURNING orders.account_id, orders.id, orders.version, orders.market
),
s AS (
    UPDATE account_stream SET last_seq = last_seq + 1 FROM o WHERE account_stream.account_id = o.account_id
    RETURNING last_seq AS seq
),
--{ idempotency
k AS (
    -- No ON CONFLICT: a key that is taken undoes the whole statement, and the commits are then tried one by one.
    INSERT INTO idempotency (owner, key, request_hash, order_id, version, status, entity_tag, location, body)
    SELECT k.owner, k.key, k.request_hash, o.id, o.version, k.status, k.entity_tag, k.location, k.body
    FROM unnest(:kOwner::text[], :kKey::text[], :kHash::text[], :kStatus::smallint[], :kTag::text[],
        :kLocation::text[], :kBody::text[])
        AS k(owner, key, request_hash, status, entity_tag, location, body)
    CROSS JOIN o
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
        :iLeg::text[], :iAttempt::integer[], :iClientOrderId::text[], :iSide::text[],
        :iType::text[], :iQuantity::text[], :iLimit::text[], :iReduceOnly::boolean[], :iState::text[],
        :iFilled::text[], :iVenueOrderId::text[], :iCancelWanted::boolean[], :iIsExit::boolean[],
        :iCreatedAt::timestamptz[], :iToken::bigint[], :iSentAt::timestamptz[], :iFenceMs::bigint[],
        :iCheckMs::bigint[]
    ) AS i(
        leg, attempt, client_order_id, side, type, quantity, limit_price, reduce_only, state, filled,
        venue_order_id, cancel_wanted, is_exit, created_at, send_token, t0, fence_ms, check_ms
    )
    CROSS JOIN o
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
        :fId::text[], :fLeg::text[], :fAttempt::integer[], :fQuantity::text[], :fPrice::text[],
        :fFee::text[], :fFeeAsset::text[], :fIsMaker::boolean[], :fAt::timestamptz[]
    ) AS f(fill_id, leg, attempt, quantity, price, fee, fee_asset, is_maker, at)
    CROSS JOIN o
    ON CONFLICT (account_id, market, venue_fill_id) DO NOTHING
),
--}
--{ jobs
j AS (
    INSERT INTO outbox (job_id, name, class, version, account_id, market, source, tick_time, tick_seq)
    SELECT j.job_id, j.name, j.class, j.version, j.account_id, j.market, j.source, j.tick_time, j.tick_seq
    FROM unnest(
        :jId::text[], :jName::text[], :jClass::smallint[], :jVersion::bigint[],
        :jAccount::uuid[], :jMarket::text[], :jSource::text[], :jTime::bigint[], :jSeq::bigint[]
    ) AS j(job_id, name, class, version, account_id, market, source, tick_time, tick_seq)
    CROSS JOIN o
    ON CONFLICT (job_id) DO NOTHING
),
--}
-- Not a part: ends the list of common table expressions.
done AS (SELECT)
INSERT INTO events (
    account_id, seq, order_id, version, commit_id, at, cause, actor_kind, actor_id, tick_source, tick_price, tick_time,
    tick_seq, facts, state, record
)
SELECT o.account_id, s.seq, o.id, o.version, :commitId::bigint, :updatedAt::timestamptz, :cause::text, :actorKind::text,
    :actorId::text, :tickSource::text, :tickPrice::text::numeric, :tickTime::bigint, :tickSeq::bigint, :facts::text,
    :state::text, :record::text
FROM o, s
RETURNING order_id, seq
