-- What is no event of an order is told to endpoints by whoever stores it (INTERFACES.md 1.16): gaps of a feed, to the
-- accounts whose open orders watch the market, and the end of a comparison with the venue.

CREATE FUNCTION tell_gap() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
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
CREATE TRIGGER gaps_opened AFTER INSERT ON feed_gaps FOR EACH ROW WHEN (NOT NEW.is_backfilled)
    EXECUTE FUNCTION tell_gap();
CREATE TRIGGER gaps_closed AFTER UPDATE ON feed_gaps FOR EACH ROW
    WHEN (NEW.is_backfilled AND NOT OLD.is_backfilled) EXECUTE FUNCTION tell_gap();

CREATE FUNCTION tell_reconciled() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
    PERFORM tell_webhooks(NEW.account_id, 'account.reconciled',
        json_build_object('accountId', NEW.account_id, 'batchId', NEW.id, 'total', NEW.total, 'done', NEW.done,
            'failed', cardinality(NEW.failed_ids))::text);
    RETURN NULL;
END $$;
CREATE TRIGGER batches_reconciled AFTER UPDATE ON batches FOR EACH ROW
    WHEN (NEW.kind = 'reconcile' AND NEW.state = 'DONE' AND OLD.state <> 'DONE') EXECUTE FUNCTION tell_reconciled();
