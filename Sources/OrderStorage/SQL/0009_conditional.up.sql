-- Conditional orders (ORDERS.md R19) share the tables of smart orders: a row is a row.
--
-- A conditional order owns no quantity (`entered` is 0); PENDING waits like an entry, TRIGGERED works like one.
ALTER TABLE orders ADD COLUMN kind text NOT NULL DEFAULT 'smart'
    CONSTRAINT orders_kind CHECK (kind IN ('smart', 'conditional'));
ALTER TABLE orders ALTER COLUMN kind DROP DEFAULT;
ALTER DOMAIN order_status DROP CONSTRAINT order_status_check;
ALTER DOMAIN order_status ADD CONSTRAINT order_status_check CHECK (
    VALUE IN ('PENDING', 'ACTIVE', 'PARTIALLY_CLOSED', 'CLOSED', 'STOPPED', 'CANCELLED', 'FAILED', 'TRIGGERED', 'FILLED')
);
ALTER TABLE orders DROP CONSTRAINT orders_liveness;
ALTER TABLE orders ADD CONSTRAINT orders_liveness CHECK (
    is_live = (status IN ('PENDING', 'ACTIVE', 'PARTIALLY_CLOSED', 'TRIGGERED')) AND is_live = (phase IS NOT NULL)
);
