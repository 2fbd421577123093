-- What a lost history asked of the venues (RELIABILITY.md 2.10).

-- Orders that were compared with their venue in an incarnation.
CREATE TABLE recoveries (
    order_id    uuid NOT NULL,
    account_id  uuid NOT NULL,
    incarnation bigint NOT NULL,
    -- Attempts that the row did not know.
    found       integer NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (order_id, account_id)
);
REVOKE ALL ON recoveries FROM smartorders_api;
ALTER TABLE recoveries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
DO $$ BEGIN
    EXECUTE format('CREATE POLICY everyone ON recoveries TO %I USING (true)', current_user);
END $$;

-- The last incarnation of which every order was compared.
ALTER TABLE control ADD COLUMN recovered bigint NOT NULL DEFAULT 1;
