-- Accounts, keys, markets.

-- name: account
SELECT id, name, venue, product, mode, maximum_conditionals::bigint, callback_min, callback_max FROM accounts
WHERE id = $1::uuid

-- name: accounts
SELECT id, name, venue, product, mode, maximum_conditionals::bigint FROM accounts ORDER BY id

-- name: create
-- The account and its event stream. An account that is there already stays as it is.
WITH s AS (INSERT INTO account_stream (account_id) VALUES ($1::uuid) ON CONFLICT DO NOTHING)
INSERT INTO accounts (id, name, venue, product, mode, maximum_conditionals)
VALUES ($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::integer)
ON CONFLICT (id) DO NOTHING

-- name: store_credentials
-- Expects that nobody stored another version meanwhile: its name would not open these bytes.
INSERT INTO credentials (account_id, sealed, id, version) VALUES ($1::uuid, $2::bytea, $3::uuid, $4::bigint)
ON CONFLICT (account_id) DO UPDATE SET sealed = excluded.sealed, id = excluded.id, version = excluded.version,
    updated_at = clock_timestamp()
WHERE credentials.version = excluded.version - 1

-- name: credentials
SELECT c.sealed, c.id, c.version, a.venue FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
WHERE c.account_id = $1::uuid

-- name: next_credential
SELECT coalesce(c.id, gen_random_uuid()), coalesce(c.version, 0) + 1
FROM (SELECT $1::uuid AS account_id) AS a LEFT JOIN credentials AS c ON c.account_id = a.account_id

-- name: account_of_key
SELECT account_ids[1] FROM api_keys WHERE hash = $1::text AND account_ids IS NOT NULL AND revoked_at IS NULL

-- name: add_key
-- A key of the account's owner for this account alone. Whoever made it alone knows its public part.
INSERT INTO api_keys (hash, id, account_ids, user_id, mode)
SELECT $1::text, left($1::text, 12), ARRAY[id], user_id, mode FROM accounts WHERE id = $2::uuid
ON CONFLICT DO NOTHING

-- name: instrument
SELECT market, kind, tick_size, step_size, min_quantity, min_notional, contract_size, base_asset, quote_asset, band_low,
    band_high, maker_fee, taker_fee, status, native_orders::bigint
FROM instruments WHERE market = $1::text

-- name: instruments
SELECT market, kind, tick_size, step_size, min_quantity, min_notional, contract_size, base_asset, quote_asset, band_low,
    band_high, maker_fee, taker_fee, status, native_orders::bigint
FROM instruments ORDER BY market

-- name: save_instruments
INSERT INTO instruments (
    market, kind, tick_size, step_size, min_quantity, min_notional, contract_size, base_asset, quote_asset, band_low,
    band_high, maker_fee, taker_fee, status, native_orders
)
SELECT market, kind, tick_size::numeric, step_size::numeric, min_quantity::numeric, min_notional::numeric,
    contract_size::numeric, base_asset, quote_asset, band_low::numeric, band_high::numeric, maker_fee::numeric,
    taker_fee::numeric, status, native_orders::smallint
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[]
) AS i(
    market, kind, tick_size, step_size, min_quantity, min_notional, contract_size, base_asset, quote_asset, band_low,
    band_high, maker_fee, taker_fee, status, native_orders
)
ORDER BY market
ON CONFLICT (market) DO UPDATE SET
    kind = excluded.kind, tick_size = excluded.tick_size, step_size = excluded.step_size,
    min_quantity = excluded.min_quantity, min_notional = excluded.min_notional, contract_size = excluded.contract_size,
    base_asset = excluded.base_asset, quote_asset = excluded.quote_asset, band_low = excluded.band_low,
    band_high = excluded.band_high, maker_fee = excluded.maker_fee, taker_fee = excluded.taker_fee,
    status = excluded.status, native_orders = excluded.native_orders, updated_at = clock_timestamp()
