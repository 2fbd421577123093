-- Orders that rest at the venue until a trigger (ORDERS.md 6.2, F11).

ALTER DOMAIN venue_order_type DROP CONSTRAINT venue_order_type_check;
ALTER DOMAIN venue_order_type ADD CONSTRAINT venue_order_type_check CHECK (
    VALUE IN ('MARKET', 'IOC', 'GTC', 'STOP_MARKET', 'STOP_LIMIT', 'TAKE_PROFIT_MARKET', 'TRAILING_STOP')
);

-- Bits of `NativeOrders`: what of a plan the venue can hold.
ALTER TABLE instruments ADD COLUMN native_orders smallint NOT NULL DEFAULT 0;
