DROP TRIGGER orders_guard ON orders;
CREATE TRIGGER orders_guard AFTER UPDATE ON orders FOR EACH ROW
    WHEN (NEW.version <> OLD.version + 1
        OR NOT OLD.is_live
        OR (OLD.is_latched AND NOT NEW.is_latched)
        OR NEW.exited + NEW.over_exit < OLD.exited + OLD.over_exit
        OR NEW.account_id <> OLD.account_id OR NEW.market <> OLD.market OR NEW.shard <> OLD.shard)
    EXECUTE FUNCTION refuse_order_update();
