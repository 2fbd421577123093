CREATE OR REPLACE FUNCTION take_hook_call() RETURNS SETOF hook_calls
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        UPDATE hook_calls SET lease_until = clock_timestamp() + interval '10 s', tries = tries + 1
        WHERE (id, account_id) = (
            SELECT id, account_id FROM hook_calls WHERE outcome = 'RECEIVED' AND lease_until < clock_timestamp()
            ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING *
    $$;
ALTER TABLE hook_calls DROP COLUMN unsettled;
