-- Orders and all that hangs on them: events, intents, fills.
--
-- Every key of these tables contains account_id, so each can be distributed by account (create_distributed_table)
-- without a change of the schema. On one server they stay whole: partitions would cost a probe each in every look-up by
-- order id.
--
-- The whole order stands once, as `state` of its latest event: an event holds the row after it anyway, and a second
-- copy would double what is written. `orders` holds what is searched and guarded, in a narrow row whose updates stay on
-- their page (HOT): no column that changes with most versions is in an index.

-- Lists and ranges are domains: their checks are compiled once per session, those of a table with every statement,
-- which cost a lone commit as much as its rows.
CREATE DOMAIN order_status AS text
    CHECK (VALUE IN ('PENDING', 'ACTIVE', 'PARTIALLY_CLOSED', 'CLOSED', 'STOPPED', 'CANCELLED', 'FAILED'));
CREATE DOMAIN order_phase AS text
    CHECK (VALUE IN ('waitingEntry', 'entryWorking', 'monitoring', 'stopping', 'closing', 'cancelling'));
CREATE DOMAIN order_health AS text CHECK (VALUE IN ('OK', 'RETRYING', 'VENUE_DOWN', 'UNKNOWN', 'NEEDS_ATTENTION'));
CREATE DOMAIN price_source AS text CHECK (VALUE IN ('last', 'mark', 'index', 'bid', 'ask'));
CREATE DOMAIN order_side AS text CHECK (VALUE IN ('BUY', 'SELL'));
CREATE DOMAIN venue_order_type AS text CHECK (VALUE IN ('MARKET', 'IOC', 'GTC'));
CREATE DOMAIN intent_state AS text
    CHECK (VALUE IN ('INTENT', 'SUBMITTED', 'OPEN', 'PARTIAL', 'UNKNOWN', 'CANCEL_REQUESTED', 'FILLED', 'CANCELLED',
        'EXPIRED', 'REJECTED', 'NOT_SENT', 'ABSENT'));
CREATE DOMAIN job_name AS text CHECK (VALUE IN ('trigger', 'check', 'timer', 'reconcile'));
CREATE DOMAIN job_state AS text CHECK (VALUE IN ('pending', 'done', 'dead', 'discarded'));
CREATE DOMAIN quantity AS numeric CHECK (VALUE >= 0);
CREATE DOMAIN ordinal AS bigint CHECK (VALUE > 0);
CREATE DOMAIN shard_number AS smallint CHECK (VALUE BETWEEN 0 AND 1023);

CREATE TABLE orders (
    id               uuid NOT NULL,
    account_id       uuid NOT NULL,
    version          ordinal NOT NULL,
    market           text NOT NULL,
    source           price_source NOT NULL,
    shard            shard_number NOT NULL,
    status           order_status NOT NULL,
    phase            order_phase,
    health           order_health NOT NULL,
    is_live          boolean NOT NULL,
    is_latched       boolean NOT NULL,
    -- Quantities. `reserved`: what live exits may still take. `over_exit`: what the venue reports above `entered`; a
    -- fact is stored, a wish is refused.
    entered          quantity NOT NULL,
    exited           quantity NOT NULL,
    reserved         quantity NOT NULL,
    over_exit        quantity NOT NULL DEFAULT 0,
    -- Conditional legs that are active (ORDERS.md R12.4).
    legs             smallint NOT NULL,
    -- What the evaluator needs: `watches` in the format of WatchCoding.swift.
    position_time    bigint NOT NULL,
    position_seq     bigint NOT NULL,
    watches          bytea NOT NULL,
    wants_every_tick boolean NOT NULL,
    is_busy          boolean NOT NULL,
    due_at           timestamptz,
    -- Set when an exit is wanted, something is free and nothing is under way: the leg and attempt to try.
    wanted_leg       text,
    wanted_attempt   integer,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    PRIMARY KEY (id, account_id),
    CONSTRAINT orders_claims CHECK (exited + reserved <= entered),
    CONSTRAINT orders_liveness
        CHECK (is_live = (status IN ('PENDING', 'ACTIVE', 'PARTIALLY_CLOSED')) AND is_live = (phase IS NOT NULL)),
    CONSTRAINT orders_ended_free CHECK (is_live OR (reserved = 0 AND wanted_leg IS NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

CREATE INDEX orders_by_account ON orders (account_id, id);
CREATE INDEX orders_armed ON orders (shard) WHERE is_live;
CREATE INDEX orders_due ON orders (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX orders_wanted ON orders (id) WHERE wanted_leg IS NOT NULL;

CREATE FUNCTION refuse_order_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'order % version % to %: a guard was broken', OLD.id, OLD.version, NEW.version
        USING ERRCODE = 'check_violation', CONSTRAINT = 'orders_guard';
END $$;

-- The condition is evaluated without a call, so the guard costs nearly nothing while it holds. After the update: before
-- it, PostgreSQL would lock, and log, each row once more.
CREATE TRIGGER orders_guard AFTER UPDATE ON orders FOR EACH ROW
    WHEN (NEW.version <> OLD.version + 1
        OR NOT OLD.is_live
        OR (OLD.is_latched AND NOT NEW.is_latched)
        OR NEW.exited + NEW.over_exit < OLD.exited + OLD.over_exit
        OR NEW.account_id <> OLD.account_id OR NEW.market <> OLD.market OR NEW.shard <> OLD.shard)
    EXECUTE FUNCTION refuse_order_update();

-- One event per version. Append only: history, stream, explain and the order itself are read from here.
CREATE TABLE events (
    account_id  uuid NOT NULL,
    seq         ordinal NOT NULL,
    order_id    uuid NOT NULL,
    version     ordinal NOT NULL,
    -- Made by the writer; tells him after a broken connection that this event is his.
    commit_id   bigint NOT NULL,
    -- The transaction, for the change log: see `changes` in orders.sql.
    xid         xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at          timestamptz NOT NULL,
    cause       text NOT NULL,
    actor_kind  text NOT NULL,
    actor_id    text NOT NULL,
    -- All four or none.
    tick_source price_source,
    tick_price  numeric,
    tick_time   bigint,
    tick_seq    bigint,
    -- JSON. Type text: the server would parse what this program has just written, for a fifth of the commit's cost.
    facts       text NOT NULL,
    state       text NOT NULL,
    -- SHA-256 over the previous event's chain and this event; null until the audit chain is switched on.
    chain       bytea,
    PRIMARY KEY (order_id, version, account_id),
    CONSTRAINT events_stream UNIQUE (account_id, seq)
) WITH (toast_tuple_target = 8160);
CREATE INDEX events_changes ON events (xid);

-- One attempt of one leg to place an order at the venue.
CREATE TABLE intents (
    account_id      uuid NOT NULL,
    order_id        uuid NOT NULL,
    leg             text NOT NULL,
    attempt         integer NOT NULL,
    market          text NOT NULL,
    -- Null until the first send right.
    client_order_id text,
    side            order_side NOT NULL,
    type            venue_order_type NOT NULL,
    quantity        quantity NOT NULL,
    limit_price     numeric,
    reduce_only     boolean NOT NULL,
    state           intent_state NOT NULL,
    is_live         boolean NOT NULL,
    filled          quantity NOT NULL,
    venue_order_id  text,
    cancel_wanted   boolean NOT NULL,
    -- Whether it lessens what is held: a halt of entries lets it pass.
    is_exit         boolean NOT NULL,
    created_at      timestamptz NOT NULL,
    -- The send right: who holds the token has sent, or may send, request number `sends`.
    send_token      bigint,
    sends           integer NOT NULL DEFAULT 0 CHECK ((sends = 0) = (send_token IS NULL)),
    t0              timestamptz,
    fence_until     timestamptz,
    -- Looking up (RELIABILITY.md 2.6).
    checks          integer NOT NULL DEFAULT 0,
    absences        integer NOT NULL DEFAULT 0,
    absent_at       timestamptz,
    next_check_at   timestamptz,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (order_id, leg, attempt, account_id),
    CONSTRAINT intents_liveness CHECK (
        is_live = (state IN ('INTENT', 'SUBMITTED', 'OPEN', 'PARTIAL', 'UNKNOWN', 'CANCEL_REQUESTED'))
    ),
    CONSTRAINT intents_client_order_id UNIQUE (account_id, client_order_id)
) WITH (fillfactor = 80);
CREATE INDEX intents_due ON intents (next_check_at) WHERE is_live;

CREATE FUNCTION refuse_intent_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'intent %-%-%: a guard was broken', OLD.order_id, OLD.leg, OLD.attempt
        USING ERRCODE = 'check_violation', CONSTRAINT = 'intents_guard';
END $$;

-- A second send right exists only as the successor of the one that was seen; a request is never changed.
CREATE TRIGGER intents_guard AFTER UPDATE ON intents FOR EACH ROW
    WHEN ((NEW.send_token IS DISTINCT FROM OLD.send_token AND NEW.sends <> OLD.sends + 1)
        OR NEW.sends < OLD.sends
        OR (OLD.client_order_id IS NOT NULL AND NEW.client_order_id IS DISTINCT FROM OLD.client_order_id)
        OR NEW.quantity <> OLD.quantity OR NEW.side <> OLD.side
        OR NEW.limit_price IS DISTINCT FROM OLD.limit_price OR NEW.filled < OLD.filled)
    EXECUTE FUNCTION refuse_intent_update();

-- Executions, each once, whoever learns of them.
CREATE TABLE fills (
    account_id    uuid NOT NULL,
    market        text NOT NULL,
    venue_fill_id text NOT NULL,
    order_id      uuid NOT NULL,
    leg           text NOT NULL,
    attempt       integer NOT NULL,
    quantity      numeric NOT NULL,
    price         numeric NOT NULL,
    fee           numeric NOT NULL,
    -- `quote`, `base`, or the coin's name after `other:`.
    fee_asset     text NOT NULL,
    is_maker      boolean NOT NULL,
    at            timestamptz NOT NULL,
    -- Venue trade ids are unique per market only.
    PRIMARY KEY (account_id, market, venue_fill_id)
);
CREATE INDEX fills_by_order ON fills (order_id, at);

-- The stored outcome of API commands (INTERFACES.md 1.4).
CREATE TABLE idempotency (
    owner        text NOT NULL,
    key          text NOT NULL,
    request_hash text NOT NULL,
    order_id     uuid NOT NULL,
    version      bigint NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_age ON idempotency (at);

-- Jobs that must not be lost (QUEUE.md 14.1).
CREATE TABLE outbox (
    job_id      text PRIMARY KEY,
    name        job_name NOT NULL,
    -- 0 stops, 1 targets, 2 housekeeping.
    class       smallint NOT NULL,
    version     bigint NOT NULL,
    account_id  uuid,
    market      text,
    source      text,
    tick_time   bigint,
    tick_seq    bigint,
    state       job_state NOT NULL DEFAULT 'pending',
    due_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    offered_at  timestamptz,
    -- Redis-off mode: who took the row has it until then.
    lease_until timestamptz,
    attempts    integer NOT NULL DEFAULT 0,
    crashes     integer NOT NULL DEFAULT 0,
    last_error  text,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 80);
CREATE INDEX outbox_pending ON outbox (class, due_at) WHERE state = 'pending';
CREATE INDEX outbox_ended ON outbox (created_at) WHERE state <> 'pending';
