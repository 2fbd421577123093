-- The side of the position that an order follows (ORDERS.md R16.3); null: it owns a quantity of its own. A position has
-- one such order. No commit of an order changes it but an edit of its size mode: updates stay within their page.
ALTER TABLE orders ADD COLUMN whole_position text CHECK (whole_position IN ('BUY', 'SELL'));
CREATE UNIQUE INDEX orders_whole_position ON orders (account_id, market, whole_position)
    WHERE is_live AND whole_position IS NOT NULL;
