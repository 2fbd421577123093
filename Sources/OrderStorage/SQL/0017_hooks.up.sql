-- Webhooks out and in, the switch to live, and an audit that shows when it was tampered with.

-- Endpoints of a user. A secret is sealed to the workers, who sign with it; this database never holds one in clear.
CREATE TABLE webhooks (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES users,
    url             text NOT NULL,
    format          text NOT NULL CHECK (format IN ('standard', 'telegram')),
    -- Empty: all.
    types           text[] NOT NULL,
    -- Null: all accounts of the user.
    account_ids     uuid[],
    secret          bytea NOT NULL,
    -- Signed with as well until then: receivers change theirs within a day.
    old_secret      bytea,
    old_until       timestamptz,
    is_enabled      boolean NOT NULL DEFAULT true,
    disabled_reason text,
    -- Since when every try failed; null: the last one did not.
    failing_since   timestamptz,
    last_success_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX webhooks_by_user ON webhooks (user_id);

-- One endpoint's way through one account's events. Whoever has the lease sends, so at most one request is under way.
CREATE TABLE webhook_lanes (
    webhook_id  uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    account_id  uuid NOT NULL,
    -- Events up to here have their deliveries.
    seq         bigint NOT NULL,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (webhook_id, account_id)
) WITH (fillfactor = 50);

CREATE TABLE webhook_deliveries (
    -- `webhook-id`: the same in every try.
    id           uuid NOT NULL,
    account_id   uuid NOT NULL,
    webhook_id   uuid NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    -- The event; null: `data` is told instead.
    seq          bigint,
    type         text NOT NULL,
    data         text,
    state        text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'DELIVERED', 'DEAD')),
    tries        integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, account_id),
    CONSTRAINT webhook_deliveries_event UNIQUE (webhook_id, account_id, seq),
    CHECK ((seq IS NULL) <> (data IS NULL))
) WITH (fillfactor = 80);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, account_id, next_at) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_age ON webhook_deliveries (created_at);

CREATE TABLE webhook_attempts (
    delivery_id uuid NOT NULL,
    account_id  uuid NOT NULL,
    number      integer NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Null: no answer.
    status      integer,
    ms          bigint NOT NULL,
    error       text NOT NULL DEFAULT '',
    -- What was answered, at most 4 KiB.
    answer      text NOT NULL DEFAULT '',
    PRIMARY KEY (delivery_id, number, account_id),
    FOREIGN KEY (delivery_id, account_id) REFERENCES webhook_deliveries (id, account_id) ON DELETE CASCADE
);

-- Secret links by which alerts come in.
CREATE TABLE hooks (
    id               uuid NOT NULL,
    account_id       uuid NOT NULL,
    user_id          uuid NOT NULL REFERENCES users,
    -- SHA-256 of the link's token.
    token_hash       text NOT NULL,
    label            text NOT NULL,
    action           text NOT NULL CHECK (action IN ('create', 'close', 'cancel', 'openNow', 'moveStop')),
    preset_id        uuid,
    order_id         uuid,
    market           text,
    is_enabled       boolean NOT NULL DEFAULT true,
    ip_allow         text[] NOT NULL DEFAULT '{}',
    -- Null: the rate of the route alone.
    maximum_per_hour integer,
    expires_at       timestamptz,
    -- SHA-256 of what the body must say.
    passphrase_hash  text,
    created_at       timestamptz NOT NULL,
    last_call_at     timestamptz,
    deleted_at       timestamptz,
    PRIMARY KEY (id, account_id)
);
CREATE UNIQUE INDEX hooks_by_token ON hooks (token_hash);
CREATE INDEX hooks_by_account ON hooks (account_id, created_at);

CREATE TABLE hook_calls (
    id          uuid NOT NULL,
    account_id  uuid NOT NULL,
    hook_id     uuid NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    address     text NOT NULL,
    body        text NOT NULL,
    -- Names the call: its id, or what it says.
    dedupe      text NOT NULL,
    outcome     text NOT NULL DEFAULT 'RECEIVED' CHECK (outcome IN ('RECEIVED', 'DONE', 'REFUSED', 'FAILED')),
    code        text,
    detail      text NOT NULL DEFAULT '',
    order_id    uuid,
    tries       integer NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (id, account_id)
);
CREATE INDEX hook_calls_by_hook ON hook_calls (hook_id, at);
CREATE INDEX hook_calls_dedupe ON hook_calls (hook_id, dedupe);
CREATE INDEX hook_calls_open ON hook_calls (at) WHERE outcome = 'RECEIVED';

-- Accounts that wait for an administrator to let them trade live.
CREATE TABLE live_requests (
    account_id   uuid PRIMARY KEY,
    -- Of the account when it was asked for: what changed since has to be asked for again.
    version      bigint NOT NULL,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whoever halts an account, and by whatever door: its owner's endpoints are told.
CREATE FUNCTION tell_halt() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM tell_webhooks(OLD.subject::uuid, 'account.resumed',
            json_build_object('accountId', OLD.subject, 'level', OLD.level)::text);
    ELSE
        PERFORM tell_webhooks(NEW.subject::uuid, 'account.halted',
            json_build_object('accountId', NEW.subject, 'level', NEW.level, 'reason', NEW.reason)::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER halts_set AFTER INSERT OR UPDATE ON halts FOR EACH ROW WHEN (NEW.scope = 'account')
    EXECUTE FUNCTION tell_halt();
CREATE TRIGGER halts_lifted AFTER DELETE ON halts FOR EACH ROW WHEN (OLD.scope = 'account')
    EXECUTE FUNCTION tell_halt();

-- Re-wrapping of all secrets with the workers' newest master key (RELIABILITY.md 10.3). The newest row counts.
CREATE TABLE secret_rotations (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    moved        bigint NOT NULL DEFAULT 0,
    -- What no key of the workers opens.
    failed       bigint NOT NULL DEFAULT 0,
    ended_at     timestamptz
);

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY
        '{webhook_lanes,webhook_deliveries,webhook_attempts,hooks,hook_calls,live_requests}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO smartorders_api USING (is_own(account_id))', name);
        EXECUTE format('CREATE POLICY everyone ON %I TO %I USING (true)', name, current_user);
    END LOOP;
END $$;
-- Sealed, and still none of an API process's business.
REVOKE SELECT ON webhooks FROM smartorders_api;
GRANT SELECT (id, user_id, url, format, types, account_ids, old_until, is_enabled, disabled_reason, failing_since,
    last_success_at, created_at) ON webhooks TO smartorders_api;

-- Whoever has a link may call it; whoever works on calls takes any.
CREATE FUNCTION hook_of_token(token text) RETURNS SETOF hooks
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
    AS $$ SELECT * FROM hooks WHERE token_hash = token $$;
CREATE FUNCTION take_hook_call() RETURNS SETOF hook_calls
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        UPDATE hook_calls SET lease_until = clock_timestamp() + interval '10 s', tries = tries + 1
        WHERE (id, account_id) = (
            SELECT id, account_id FROM hook_calls WHERE outcome = 'RECEIVED' AND lease_until < clock_timestamp()
            ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING *
    $$;
-- Whoever asks for a new secret cannot read the old one.
CREATE FUNCTION rotate_webhook(webhook uuid, owner uuid, sealed bytea) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        UPDATE webhooks SET secret = sealed, old_secret = secret, old_until = clock_timestamp() + interval '24 h'
        WHERE id = webhook AND user_id = owner
    $$;
REVOKE EXECUTE ON FUNCTION hook_of_token(text), take_hook_call(), rotate_webhook(uuid, uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hook_of_token(text), take_hook_call(), rotate_webhook(uuid, uuid, bytea) TO smartorders_api;

-- A time as the API writes it.
CREATE FUNCTION api_time(t timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- An id in order of time, as the program makes them (UUIDv7).
CREATE FUNCTION new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
        || substr(replace(gen_random_uuid()::text, '-', ''), 1, 3) || '8'
        || substr(replace(gen_random_uuid()::text, '-', ''), 1, 15))::uuid
$$;

-- Something that is no event of an order, told to the endpoints of the account's owner that want it.
CREATE FUNCTION tell_webhooks(account uuid, told text, body text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        INSERT INTO webhook_deliveries (id, account_id, webhook_id, type, data)
        SELECT new_id(), account, w.id, told, body
        FROM webhooks AS w JOIN accounts AS a ON a.id = account AND a.user_id = w.user_id
        WHERE w.is_enabled AND (w.account_ids IS NULL OR account = ANY (w.account_ids))
            AND (cardinality(w.types) = 0 OR told = ANY (w.types))
    $$;
REVOKE EXECUTE ON FUNCTION tell_webhooks(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION tell_webhooks(uuid, text, text) TO smartorders_api;

-- Sessions of operators within an API process: every account, no venue key, no secret (RELIABILITY.md 10.4).
DO $$ BEGIN
    CREATE ROLE smartorders_operator NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the server, databases share them
END $$;
DO $$
DECLARE name text;
BEGIN
    IF NOT pg_has_role(current_user, 'smartorders_operator', 'member') THEN
        GRANT smartorders_operator TO CURRENT_USER;
    END IF;
    FOR name IN SELECT relname FROM pg_class
        WHERE relrowsecurity AND relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('CREATE POLICY operator ON %I TO smartorders_operator USING (true)', name);
    END LOOP;
END $$;
GRANT USAGE ON SCHEMA public TO smartorders_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO smartorders_operator;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO smartorders_operator;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO smartorders_operator;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO smartorders_operator;
REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM smartorders_operator;
REVOKE UPDATE, DELETE ON events, fills, audit FROM smartorders_operator;
REVOKE SELECT, INSERT, UPDATE, DELETE ON credentials, credential_intakes FROM smartorders_operator;
GRANT SELECT (account_id, refusal, updated_at, last4, permissions, checked_at) ON credentials TO smartorders_operator;
REVOKE SELECT ON webhooks FROM smartorders_operator;
GRANT SELECT (id, user_id, url, format, types, account_ids, old_until, is_enabled, disabled_reason, failing_since,
    last_success_at, created_at) ON webhooks TO smartorders_operator;
GRANT EXECUTE ON FUNCTION tell_webhooks(uuid, text, text) TO smartorders_operator;

-- The audit says by which door, on how many, what was before and after; and each line contains a hash of the one before.
ALTER TABLE audit
    -- Sessions of an API process say so of themselves.
    ADD COLUMN via        text NOT NULL DEFAULT coalesce(nullif(current_setting('app.door', true), ''), 'cli')
        CHECK (via IN ('cli', 'api', 'board')),
    ADD COLUMN count      bigint NOT NULL DEFAULT 1,
    ADD COLUMN before     jsonb,
    ADD COLUMN after      jsonb,
    ADD COLUMN request_id text NOT NULL DEFAULT '',
    ADD COLUMN batch_id   text NOT NULL DEFAULT '',
    -- Place and hash in the chain; null in lines of an older program.
    ADD COLUMN place      bigint UNIQUE,
    ADD COLUMN chain      bytea;

CREATE FUNCTION audit_hash(line audit, previous bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(previous || convert_to(concat_ws(E'\x1f', line.place, extract(epoch FROM line.at), line.actor,
        line.action, line.subject, line.reason, line.detail::text, line.via, line.count, line.before::text,
        line.after::text, line.request_id, line.batch_id), 'UTF8'))
$$;

CREATE FUNCTION chain_audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE last audit;
BEGIN
    -- One after the other: operators are few, and a chain has one end.
    PERFORM pg_advisory_xact_lock(7310597158218920303);
    SELECT * INTO last FROM audit WHERE place IS NOT NULL ORDER BY place DESC LIMIT 1;
    NEW.place := coalesce(last.place, 0) + 1;
    NEW.chain := audit_hash(NEW, coalesce(last.chain, ''::bytea));
    RETURN NEW;
END $$;
CREATE TRIGGER audit_chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_audit();
