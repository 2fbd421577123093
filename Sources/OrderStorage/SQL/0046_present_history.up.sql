-- As in 0042, and without a query in it: such a function becomes a part of the statement that asks, another one is parsed
-- and planned for every commit.
CREATE OR REPLACE FUNCTION is_present_history(system bigint, known text) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT known = left(pg_walfile_name(pg_current_wal_lsn()), 8) AND system = (pg_control_system()).system_identifier
$$;
