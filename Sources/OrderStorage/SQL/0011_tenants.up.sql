-- The last layer between tenants (RELIABILITY.md 10.4). The sessions of an API process have the role below: they see
-- rows of the accounts that the transaction names in `app.accounts`, and without it none. Workers and tools connect as
-- the owner, who sees all accounts by policy; whoever else may come sees nothing, because row security is forced.

DO $$ BEGIN
    CREATE ROLE smartorders_api NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- roles belong to the server, databases share them
END $$;
DO $$ BEGIN
    IF NOT pg_has_role(current_user, 'smartorders_api', 'member') THEN GRANT smartorders_api TO CURRENT_USER; END IF;
END $$;
GRANT USAGE ON SCHEMA public TO smartorders_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO smartorders_api;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO smartorders_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO smartorders_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO smartorders_api;
-- History is not rewritten, not even by its own tenant; a venue key is stored but never read.
REVOKE INSERT, UPDATE, DELETE ON schema_migrations FROM smartorders_api;
REVOKE UPDATE, DELETE ON events, fills, audit FROM smartorders_api;
REVOKE DELETE ON orders, intents FROM smartorders_api;
REVOKE SELECT ON credentials FROM smartorders_api;
GRANT SELECT (account_id, refusal, updated_at) ON credentials TO smartorders_api;

CREATE FUNCTION is_own(account uuid) RETURNS boolean LANGUAGE sql STABLE AS $$
    -- After the transaction the setting is an empty text, not null.
    SELECT account = ANY (nullif(current_setting('app.accounts', true), '')::uuid[])
$$;

DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY
        '{orders,events,intents,fills,account_stream,order_notes,trader_notes,shares,batches,credentials}'::text[]
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY tenant ON %I TO smartorders_api USING (is_own(account_id))', name);
        EXECUTE format('CREATE POLICY everyone ON %I TO %I USING (true)', name, current_user);
    END LOOP;
    -- Jobs of no account (housekeeping) are nobody's secret.
    ALTER TABLE outbox ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON outbox TO smartorders_api USING (account_id IS NULL OR is_own(account_id));
    EXECUTE format('CREATE POLICY everyone ON outbox TO %I USING (true)', current_user);
END $$;

-- Whoever has a link may read it; whoever works on batches takes any.
CREATE FUNCTION share_of_token(token text) RETURNS SETOF shares
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
    AS $$ SELECT * FROM shares WHERE token_hash = token $$;
CREATE FUNCTION take_batch() RETURNS SETOF batches
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        UPDATE batches SET lease_until = clock_timestamp() + interval '5 s'
        WHERE (id, account_id) = (
            SELECT id, account_id FROM batches WHERE state = 'RUNNING' AND lease_until < clock_timestamp()
            ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING *
    $$;
REVOKE EXECUTE ON FUNCTION share_of_token(text), take_batch() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION share_of_token(text), take_batch() TO smartorders_api;
