-- Venue keys: sealed under their own name, which a copy or an old version does not have; and the way in (RELIABILITY.md
-- 10.3).

ALTER TABLE credentials
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid(),
    ADD COLUMN version bigint NOT NULL DEFAULT 1,
    ADD COLUMN last4 text NOT NULL DEFAULT '',
    ADD COLUMN permissions text[] NOT NULL DEFAULT '{}',
    -- When the venue was asked for them last.
    ADD COLUMN checked_at timestamptz;
GRANT SELECT (account_id, refusal, updated_at, last4, permissions, checked_at) ON credentials TO smartorders_api;

-- What a trader sends, sealed to the workers' public key; a worker asks the venue, stores or refuses it, and empties the
-- row. An empty one asks for a check of the key that is stored.
CREATE TABLE credential_intakes (
    id          uuid NOT NULL,
    account_id  uuid NOT NULL,
    sealed      bytea NOT NULL,
    state       text NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'STORED', 'REFUSED', 'UNREACHABLE')),
    detail      text NOT NULL DEFAULT '',
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id, account_id)
);
CREATE INDEX credential_intakes_waiting ON credential_intakes (created_at) WHERE state = 'WAITING';
ALTER TABLE credential_intakes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credential_intakes TO smartorders_api USING (is_own(account_id));
DO $$ BEGIN
    EXECUTE format('CREATE POLICY everyone ON credential_intakes TO %I USING (true)', current_user);
END $$;
REVOKE SELECT ON credential_intakes FROM smartorders_api;
GRANT SELECT (id, account_id, state, detail, created_at) ON credential_intakes TO smartorders_api;
