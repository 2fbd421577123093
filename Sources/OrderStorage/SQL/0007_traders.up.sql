-- Users, what their keys may do, and what the HTTP API keeps beside orders.

CREATE TABLE users (
    id         uuid PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    tier       text NOT NULL CHECK (tier IN ('FREE', 'PRO')),
    roles      text[] NOT NULL CHECK (roles <@ '{TRADER,VIEWER,OPERATOR,ADMIN}'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- Whom everything belongs to that was made without naming a user.
INSERT INTO users (id, name, tier, roles)
VALUES ('00000000-0000-7000-8000-000000000001', 'trader', 'PRO', '{TRADER,OPERATOR,ADMIN}');

ALTER TABLE accounts
    ADD COLUMN user_id uuid NOT NULL DEFAULT '00000000-0000-7000-8000-000000000001' REFERENCES users,
    ADD COLUMN maximum_orders integer NOT NULL DEFAULT 10000 CHECK (maximum_orders >= 0);
CREATE INDEX accounts_by_user ON accounts (user_id);

-- Why the venue's key cannot be used: refused by the venue, or it may withdraw. Null: it can.
ALTER TABLE credentials ADD COLUMN refusal text;

ALTER TABLE api_keys
    -- The public part, shown in lists and logs.
    ADD COLUMN id text,
    ADD COLUMN user_id uuid NOT NULL DEFAULT '00000000-0000-7000-8000-000000000001' REFERENCES users,
    ADD COLUMN label text NOT NULL DEFAULT '',
    ADD COLUMN scopes text[] NOT NULL DEFAULT '{read,trade}' CHECK (scopes <@ '{read,trade,operate,admin}'),
    -- Null: all accounts of the user.
    ADD COLUMN account_ids uuid[],
    ADD COLUMN mode text CHECK (mode IN ('PAPER', 'LIVE')),
    ADD COLUMN ip_allow text[] NOT NULL DEFAULT '{}',
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN revoked_at timestamptz,
    ADD COLUMN last_used_at timestamptz;
UPDATE api_keys SET id = left(hash, 12), account_ids = ARRAY[account_id],
    mode = (SELECT mode FROM accounts WHERE accounts.id = account_id);
ALTER TABLE api_keys ALTER COLUMN id SET NOT NULL, ALTER COLUMN mode SET NOT NULL, DROP COLUMN account_id;
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);
CREATE INDEX api_keys_by_user ON api_keys (user_id);

-- A client's own name of an order: free again when the order has ended.
ALTER TABLE orders ADD COLUMN client_order_id text;
CREATE UNIQUE INDEX orders_client_order_id ON orders (account_id, client_order_id)
    WHERE is_live AND client_order_id IS NOT NULL;
-- How many orders of an account are open.
CREATE INDEX orders_open ON orders (account_id) WHERE is_live;

CREATE TABLE trader_notes (
    account_id uuid NOT NULL,
    order_id   uuid NOT NULL,
    text       text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, account_id)
);

CREATE TABLE shares (
    id              uuid NOT NULL,
    account_id      uuid NOT NULL,
    -- SHA-256 of the link's token.
    token_hash      text NOT NULL,
    draft           text NOT NULL,
    market          text NOT NULL,
    reference_price numeric,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    PRIMARY KEY (id, account_id)
);
CREATE INDEX shares_by_token ON shares (token_hash);
CREATE INDEX shares_by_account ON shares (account_id, created_at);

-- One command on many orders. Whoever has the lease goes on with it.
CREATE TABLE batches (
    id          uuid NOT NULL,
    account_id  uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('cancelAll', 'halt', 'flatten', 'reconcile')),
    state       text NOT NULL CHECK (state IN ('RUNNING', 'DONE')),
    -- What is still to be done.
    orders      uuid[] NOT NULL,
    total       bigint NOT NULL,
    done        bigint NOT NULL DEFAULT 0,
    failed_ids  text[] NOT NULL DEFAULT '{}',
    failed_codes text[] NOT NULL DEFAULT '{}',
    actor_kind  text NOT NULL,
    actor_id    text NOT NULL,
    reason      text NOT NULL,
    started_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (id, account_id)
);
CREATE INDEX batches_running ON batches (lease_until) WHERE state = 'RUNNING';

-- Answers of commands that are not on one order (INTERFACES.md 1.4).
CREATE TABLE answers (
    owner        text NOT NULL,
    key          text NOT NULL,
    request_hash text NOT NULL,
    status       bigint NOT NULL,
    body         text NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (owner, key)
);
CREATE INDEX answers_age ON answers (at);
