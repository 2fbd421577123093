CREATE OR REPLACE FUNCTION is_present_history(system bigint, known text) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT known = left(pg_walfile_name(pg_current_wal_lsn()), 8)
        AND system = (SELECT system_identifier FROM pg_control_system())
$$;
