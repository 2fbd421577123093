-- What an order has of its position, so that nobody reads a thousand orders to know what they own together. Null where
-- the order was written by an older program: it is read whole then, and fills these with its next version. Both are null
-- for a conditional order, which owns nothing.
ALTER TABLE orders ADD COLUMN side order_side;
ALTER TABLE orders ADD COLUMN remaining numeric;
