-- Changes of an account, in the sequence of its orders' events: whoever follows the stream sees them in their place
-- (INTERFACES.md 1.10, 2.1). Numbers come from the same row, held to the end of the transaction that makes the change.

CREATE TABLE account_events (
    account_id uuid NOT NULL,
    seq        ordinal NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor_kind text NOT NULL,
    actor_id   text NOT NULL,
    -- JSON in the words of the API: what changed, and the account after it.
    facts      text NOT NULL,
    state      text NOT NULL,
    PRIMARY KEY (account_id, seq)
);
ALTER TABLE account_events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON account_events TO smartorders_api USING (is_own(account_id));
CREATE POLICY operator ON account_events TO smartorders_operator USING (true);
DO $$ BEGIN
    EXECUTE format('CREATE POLICY everyone ON account_events TO %I USING (true)', current_user);
END $$;
REVOKE INSERT, UPDATE, DELETE ON account_events FROM smartorders_api, smartorders_operator;

-- An account without a stream has nobody who could follow it.
CREATE FUNCTION add_account_event(account uuid, actor_kind text, actor_id text, fact json) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        WITH stream AS (
            UPDATE account_stream SET last_seq = last_seq + 1 WHERE account_id = account RETURNING last_seq
        )
        INSERT INTO account_events (account_id, seq, actor_kind, actor_id, facts, state)
        SELECT a.id, s.last_seq, actor_kind, actor_id, json_build_array(fact)::text, json_build_object(
            'id', a.id, 'version', a.version, 'name', a.name, 'venue', a.venue, 'product', a.product, 'mode', a.mode,
            'halted', (
                SELECT json_build_object('level', h.level, 'scope', h.scope, 'since', api_time(h.since),
                    'reason', h.reason)
                FROM halts AS h WHERE h.scope = 'account' AND h.subject = a.id::text
            ))::text
        FROM stream AS s, accounts AS a WHERE a.id = account
    $$;
REVOKE EXECUTE ON FUNCTION add_account_event(uuid, text, text, json) FROM PUBLIC;

-- Who acts: an api process acts for the owner of the rows that it sees, everybody else operates.
CREATE FUNCTION tell_account_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    is_owner boolean := current_setting('role') = 'smartorders_api';
    owner text;
BEGIN
    IF TG_TABLE_NAME = 'batches' THEN
        PERFORM add_account_event(NEW.account_id, NEW.actor_kind, NEW.actor_id, json_build_object('type', 'reconciled',
            'batchId', NEW.id, 'total', NEW.total, 'done', NEW.done, 'failed', cardinality(NEW.failed_ids)));
    ELSIF TG_TABLE_NAME = 'accounts' THEN
        SELECT name INTO owner FROM users WHERE id = NEW.user_id;
        PERFORM add_account_event(NEW.id, CASE WHEN is_owner THEN 'user' ELSE 'operator' END,
            CASE WHEN is_owner THEN coalesce(owner, '') ELSE 'operator' END,
            json_build_object('type', 'modeChanged', 'from', OLD.mode, 'to', NEW.mode));
    ELSIF TG_OP = 'DELETE' THEN
        SELECT u.name INTO owner FROM accounts AS a JOIN users AS u ON u.id = a.user_id
        WHERE a.id = OLD.subject::uuid;
        PERFORM add_account_event(OLD.subject::uuid, CASE WHEN is_owner THEN 'user' ELSE 'operator' END,
            CASE WHEN is_owner THEN coalesce(owner, '') ELSE 'operator' END,
            json_build_object('type', 'resumed', 'level', OLD.level));
    ELSE
        PERFORM add_account_event(NEW.subject::uuid,
            CASE WHEN NEW.actor LIKE 'trader %' THEN 'key' WHEN NEW.actor = 'system' THEN 'worker' ELSE 'operator' END,
            regexp_replace(NEW.actor, '^trader ', ''),
            json_build_object('type', 'halted', 'level', NEW.level, 'reason', NEW.reason));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER account_halted AFTER INSERT OR UPDATE ON halts FOR EACH ROW WHEN (NEW.scope = 'account')
    EXECUTE FUNCTION tell_account_change();
CREATE TRIGGER account_resumed AFTER DELETE ON halts FOR EACH ROW WHEN (OLD.scope = 'account')
    EXECUTE FUNCTION tell_account_change();
CREATE TRIGGER account_switched AFTER UPDATE ON accounts FOR EACH ROW WHEN (NEW.mode <> OLD.mode)
    EXECUTE FUNCTION tell_account_change();
CREATE TRIGGER account_reconciled AFTER UPDATE ON batches FOR EACH ROW
    WHEN (NEW.kind = 'reconcile' AND NEW.state = 'DONE' AND OLD.state <> 'DONE') EXECUTE FUNCTION tell_account_change();
