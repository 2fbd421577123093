-- Tickets that open one stream each, in whichever API process (INTERFACES.md 2.2). Of a ticket its SHA-256 is kept, for
-- 30 s. Unlogged: who loses one asks for another.

CREATE UNLOGGED TABLE stream_tickets (
    hash       text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    -- Whose rights it has: those of a key or of a sign-in, by their hash.
    proof      text NOT NULL CHECK (proof IN ('key', 'signIn')),
    proof_hash text NOT NULL,
    expires_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '30 s'
);
CREATE INDEX stream_tickets_age ON stream_tickets (expires_at);
