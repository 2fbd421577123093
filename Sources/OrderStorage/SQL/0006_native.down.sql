ALTER TABLE instruments DROP COLUMN native_orders;
ALTER DOMAIN venue_order_type DROP CONSTRAINT venue_order_type_check;
ALTER DOMAIN venue_order_type ADD CONSTRAINT venue_order_type_check CHECK (VALUE IN ('MARKET', 'IOC', 'GTC'));
