-- Refused while conditional orders exist: an older binary could not read them.
ALTER TABLE orders DROP CONSTRAINT orders_liveness;
ALTER TABLE orders ADD CONSTRAINT orders_liveness
    CHECK (is_live = (status IN ('PENDING', 'ACTIVE', 'PARTIALLY_CLOSED')) AND is_live = (phase IS NOT NULL));
ALTER DOMAIN order_status DROP CONSTRAINT order_status_check;
ALTER DOMAIN order_status ADD CONSTRAINT order_status_check
    CHECK (VALUE IN ('PENDING', 'ACTIVE', 'PARTIALLY_CLOSED', 'CLOSED', 'STOPPED', 'CANCELLED', 'FAILED'));
ALTER TABLE orders DROP COLUMN kind;
