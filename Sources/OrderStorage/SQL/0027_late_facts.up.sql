-- What an order that has ended learns later is stored (ORDERS.md T27): a fill that the venue tells late, an acceptance
-- after the deadline. Its end itself stays.
DROP TRIGGER orders_guard ON orders;
CREATE TRIGGER orders_guard AFTER UPDATE ON orders FOR EACH ROW
    WHEN (NEW.version <> OLD.version + 1
        OR (NOT OLD.is_live AND (NEW.is_live OR NEW.status <> OLD.status))
        OR (OLD.is_latched AND NOT NEW.is_latched)
        OR NEW.exited + NEW.over_exit < OLD.exited + OLD.over_exit
        OR NEW.account_id <> OLD.account_id OR NEW.market <> OLD.market OR NEW.shard <> OLD.shard)
    EXECUTE FUNCTION refuse_order_update();
