CREATE INDEX orders_open ON orders (account_id) WHERE is_live;
