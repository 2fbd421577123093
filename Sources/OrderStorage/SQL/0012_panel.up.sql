-- What the panel keeps: sign-ins, one-time codes, preferences, presets; settings of accounts.

CREATE TABLE sign_ins (
    -- SHA-256 of the cookie's value.
    token_hash text PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users,
    key_hash   text,
    created_at timestamptz NOT NULL,
    used_at    timestamptz NOT NULL
);
CREATE INDEX sign_ins_age ON sign_ins (created_at);

CREATE TABLE sign_in_codes (
    code_hash  text PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users,
    expires_at timestamptz NOT NULL
);

CREATE TABLE preferences (
    user_id    uuid PRIMARY KEY REFERENCES users,
    value      text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE presets (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users,
    name       text NOT NULL,
    draft      text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX presets_by_user ON presets (user_id, created_at);

ALTER TABLE accounts
    ADD COLUMN trigger_source text CHECK (trigger_source IN ('last', 'mark', 'index', 'bid', 'ask')),
    -- Its orders stay readable by operators; its owner does not see it any more.
    ADD COLUMN deleted_at timestamptz;
