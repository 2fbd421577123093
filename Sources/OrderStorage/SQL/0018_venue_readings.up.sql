-- What API processes ask about accounts and only workers can answer, because only they hold venue keys (RELIABILITY.md
-- 10.3). One row per account and question: the last answer stays known, with its time. Disposable, hence unlogged: after a
-- crash of the server everybody asks again.

CREATE UNLOGGED TABLE venue_readings (
    account_id  uuid NOT NULL,
    question    text NOT NULL,
    -- How often it was asked, and up to which asking it was answered.
    asked       bigint NOT NULL DEFAULT 1,
    answered    bigint NOT NULL DEFAULT 0,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Of the newest answer, when it is none.
    failure     text,
    -- The last good one: JSON, and the venue's time when it was begun.
    reading     text,
    as_of       timestamptz,
    PRIMARY KEY (account_id, question),
    CHECK ((reading IS NULL) = (as_of IS NULL)),
    CHECK (answered <= asked)
);
CREATE INDEX venue_readings_waiting ON venue_readings (asked_at) WHERE asked > answered;
ALTER TABLE venue_readings ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON venue_readings TO smartorders_api USING (is_own(account_id));
DO $$ BEGIN
    EXECUTE format('CREATE POLICY everyone ON venue_readings TO %I USING (true)', current_user);
END $$;
-- Who asks does not answer.
REVOKE INSERT, UPDATE, DELETE ON venue_readings FROM smartorders_api;
GRANT INSERT (account_id, question), UPDATE (asked, asked_at) ON venue_readings TO smartorders_api;
