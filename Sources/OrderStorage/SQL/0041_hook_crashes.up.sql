-- A call that ends the process that works on it must not end the next ones for ever: how often it was taken since its
-- outcome, or its next try, was last stored. Counted before the work; at five it is given up and its owner is shown why.
ALTER TABLE hook_calls ADD COLUMN unsettled integer NOT NULL DEFAULT 0;

CREATE OR REPLACE FUNCTION take_hook_call() RETURNS SETOF hook_calls
    LANGUAGE sql SECURITY DEFINER SET search_path = public
    AS $$
        WITH given_up AS (
            UPDATE hook_calls SET outcome = 'FAILED', code = 'INTERNAL',
                detail = 'given up: whoever worked on it ended ' || unsettled || ' times'
            WHERE outcome = 'RECEIVED' AND lease_until < clock_timestamp() AND unsettled >= 5
        )
        UPDATE hook_calls SET lease_until = clock_timestamp() + interval '10 s', tries = tries + 1,
            unsettled = unsettled + 1
        WHERE (id, account_id) = (
            SELECT id, account_id FROM hook_calls
            WHERE outcome = 'RECEIVED' AND lease_until < clock_timestamp() AND unsettled < 5
            ORDER BY at LIMIT 1 FOR UPDATE SKIP LOCKED
        )
        RETURNING *
    $$;
