-- Whether this server writes the history that the control row names: a promotion or a copy shows here before anybody's
-- heartbeat has noticed it (RELIABILITY.md 2.10). In a standby nothing is written, and nobody asks.
CREATE FUNCTION is_present_history(system bigint, known text) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT known = left(pg_walfile_name(pg_current_wal_lsn()), 8)
        AND system = (SELECT system_identifier FROM pg_control_system())
$$;

-- What is looked up, in three lines that cannot stand in each other's way: stops in doubt, others in doubt, what rests at a
-- venue and is looked at once a minute (RELIABILITY.md 2.6).
CREATE FUNCTION lessens_risk(leg text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT leg IN ('sl', 'close', 'reduce', 'backstop', 'timer') OR leg LIKE 'ps%'
$$;
CREATE INDEX intents_due_stops ON intents (next_check_at)
    WHERE is_live AND state NOT IN ('OPEN', 'PARTIAL') AND lessens_risk(leg);
CREATE INDEX intents_due_others ON intents (next_check_at)
    WHERE is_live AND state NOT IN ('OPEN', 'PARTIAL') AND NOT lessens_risk(leg);
CREATE INDEX intents_due_resting ON intents (next_check_at) WHERE is_live AND state IN ('OPEN', 'PARTIAL');
-- Looked up for some minutes more: a venue that breaks its own deadline accepts late (FA99).
CREATE INDEX intents_due_absent ON intents (next_check_at) WHERE state = 'ABSENT';
DROP INDEX intents_due;
