DROP TABLE answers, batches, shares, trader_notes;
DROP INDEX orders_open, orders_client_order_id;
ALTER TABLE orders DROP COLUMN client_order_id;
DELETE FROM api_keys WHERE account_ids IS NULL OR revoked_at IS NOT NULL;
ALTER TABLE api_keys ADD COLUMN account_id uuid REFERENCES accounts;
UPDATE api_keys SET account_id = account_ids[1];
ALTER TABLE api_keys ALTER COLUMN account_id SET NOT NULL, DROP COLUMN id, DROP COLUMN user_id, DROP COLUMN label,
    DROP COLUMN scopes, DROP COLUMN account_ids, DROP COLUMN mode, DROP COLUMN ip_allow, DROP COLUMN expires_at,
    DROP COLUMN revoked_at, DROP COLUMN last_used_at;
ALTER TABLE credentials DROP COLUMN refusal;
ALTER TABLE accounts DROP COLUMN user_id, DROP COLUMN maximum_orders;
DROP TABLE users;
