DROP TRIGGER credentials_changed ON credentials;
DROP FUNCTION tell_credentials();
CREATE OR REPLACE FUNCTION tell_gap() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM tell_webhooks(o.account_id,
        CASE WHEN NEW.is_backfilled THEN 'protection.gapClosed' ELSE 'protection.gapOpened' END,
        json_build_object('accountId', o.account_id, 'market', NEW.market, 'source', NEW.source,
            'from', api_time(to_timestamp(NEW.from_time / 1e6)), 'to', api_time(to_timestamp(NEW.to_time / 1e6)),
            'reason', NEW.reason, 'orders', o.count)::text)
    FROM (
        SELECT account_id, count(*) FROM orders WHERE is_live AND market = NEW.market GROUP BY account_id
    ) AS o;
    RETURN NULL;
END $$;
