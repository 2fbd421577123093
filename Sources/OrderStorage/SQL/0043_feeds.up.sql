-- Feeds that follow a venue, so that an operator can ask one to begin anew. A row is a process's, and lapses with it.
CREATE TABLE feeds (
    -- `venue:product`, whose streams it follows.
    id         text NOT NULL,
    process    text NOT NULL,
    begun_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Later than `begun_at`: it is to make its connection anew.
    restart_at timestamptz,
    PRIMARY KEY (id, process)
) WITH (fillfactor = 50);
REVOKE INSERT, UPDATE, DELETE ON feeds FROM smartorders_api;
