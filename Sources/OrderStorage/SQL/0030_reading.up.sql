-- The oldest open order of a side, for whoever opens another one: found without reading the others. None of its columns
-- changes while an order lives, so updates stay on their page.
CREATE INDEX orders_sides ON orders (account_id, market, side, id) WHERE is_live AND kind = 'smart';
