DROP FUNCTION take_batch, share_of_token;
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY
        '{orders,events,intents,fills,account_stream,order_notes,trader_notes,shares,batches,credentials,outbox}'::text[]
    LOOP
        EXECUTE format('DROP POLICY tenant ON %I', name);
        EXECUTE format('DROP POLICY everyone ON %I', name);
        EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END $$;
DROP FUNCTION is_own;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM smartorders_api;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM smartorders_api;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM smartorders_api;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM smartorders_api;
REVOKE USAGE ON SCHEMA public FROM smartorders_api;
