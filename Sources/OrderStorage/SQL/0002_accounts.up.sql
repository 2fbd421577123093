-- Who trades, with which keys, on which markets.

CREATE TABLE accounts (
    id                    uuid PRIMARY KEY,
    name                  text NOT NULL,
    venue                 text NOT NULL,
    product               text NOT NULL,
    mode                  text NOT NULL CHECK (mode IN ('PAPER', 'LIVE')),
    maximum_conditionals  integer NOT NULL DEFAULT 20 CHECK (maximum_conditionals >= 0),
    version               bigint NOT NULL DEFAULT 1,
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A venue key, sealed by the process that stores it: this table never holds a secret that the database could read.
CREATE TABLE credentials (
    account_id uuid PRIMARY KEY REFERENCES accounts,
    sealed     bytea NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE api_keys (
    -- SHA-256 of the key in lower-case hexadecimal.
    hash       text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    account_id uuid NOT NULL REFERENCES accounts,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The last number of each account's event stream. Whoever takes a number holds the row until the end of his transaction,
-- so numbers have no gap and become visible in order.
CREATE TABLE account_stream (
    account_id uuid PRIMARY KEY,
    last_seq   bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE instruments (
    market        text PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('spot', 'spot_collateral', 'perp', 'future')),
    tick_size     numeric NOT NULL CHECK (tick_size > 0),
    step_size     numeric NOT NULL CHECK (step_size > 0),
    min_quantity  numeric NOT NULL,
    min_notional  numeric NOT NULL,
    contract_size numeric NOT NULL CHECK (contract_size > 0),
    base_asset    text NOT NULL,
    quote_asset   text NOT NULL,
    band_low      numeric,
    band_high     numeric,
    maker_fee     numeric NOT NULL,
    taker_fee     numeric NOT NULL,
    status        text NOT NULL CHECK (status IN ('trading', 'halted', 'delisted')),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((band_low IS NULL) = (band_high IS NULL))
);
