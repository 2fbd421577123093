DROP TRIGGER audit_chain ON audit;
DROP FUNCTION chain_audit(), audit_hash(audit, bytea);
ALTER TABLE audit DROP COLUMN via, DROP COLUMN count, DROP COLUMN before, DROP COLUMN after, DROP COLUMN request_id,
    DROP COLUMN batch_id, DROP COLUMN place, DROP COLUMN chain;
DROP TRIGGER halts_set ON halts;
DROP TRIGGER halts_lifted ON halts;
DROP FUNCTION tell_halt(), hook_of_token(text), take_hook_call(), rotate_webhook(uuid, uuid, bytea), tell_webhooks(uuid, text, text), new_id(), api_time(timestamptz);
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class
        WHERE relrowsecurity AND relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP
        EXECUTE format('DROP POLICY IF EXISTS operator ON %I', name);
    END LOOP;
END $$;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM smartorders_operator;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM smartorders_operator;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM smartorders_operator;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM smartorders_operator;
REVOKE ALL ON SCHEMA public FROM smartorders_operator;
DROP TABLE secret_rotations, live_requests, hook_calls, hooks, webhook_attempts, webhook_deliveries, webhook_lanes, webhooks;
