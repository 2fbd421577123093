-- Gaps of a feed and changes of venue keys stand in the sequence of an account too (INTERFACES.md 1.10).

CREATE OR REPLACE FUNCTION tell_gap() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    word text := CASE WHEN NEW.is_backfilled THEN 'gapClosed' ELSE 'gapOpened' END;
    concerned record;
BEGIN
    -- In order of their ids: whoever commits for several accounts takes their numbers so.
    FOR concerned IN
        SELECT account_id, count(*) AS orders FROM orders WHERE is_live AND market = NEW.market
        GROUP BY account_id ORDER BY account_id
    LOOP
        PERFORM tell_webhooks(concerned.account_id, 'protection.' || word,
            json_build_object('accountId', concerned.account_id, 'market', NEW.market, 'source', NEW.source,
                'from', api_time(to_timestamp(NEW.from_time / 1e6)), 'to', api_time(to_timestamp(NEW.to_time / 1e6)),
                'reason', NEW.reason, 'orders', concerned.orders)::text);
        PERFORM add_account_event(concerned.account_id, 'worker', 'feed',
            json_build_object('type', word, 'market', NEW.market, 'source', NEW.source,
                'from', api_time(to_timestamp(NEW.from_time / 1e6)), 'to', api_time(to_timestamp(NEW.to_time / 1e6)),
                'reason', NEW.reason, 'orders', concerned.orders));
    END LOOP;
    RETURN NULL;
END $$;

-- No secret is in it: the last characters of the key, what it may do, and why the venue refuses it.
CREATE FUNCTION tell_credentials() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM add_account_event(NEW.account_id, 'worker', 'credentials',
        json_build_object('type', 'credentialsChanged', 'version', NEW.version, 'last4', NEW.last4,
            'permissions', NEW.permissions, 'refusal', NEW.refusal));
    RETURN NULL;
END $$;
CREATE TRIGGER credentials_changed AFTER UPDATE ON credentials FOR EACH ROW
    WHEN ((NEW.version, NEW.last4, NEW.permissions, NEW.refusal)
        IS DISTINCT FROM (OLD.version, OLD.last4, OLD.permissions, OLD.refusal))
    EXECUTE FUNCTION tell_credentials();
