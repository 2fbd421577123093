-- What operators reach besides: the width of one worker, and the batches of accounts; what owners set of an account.

-- Jobs that the worker may have in hand at once; null: the program's own number. It is kept while the worker's name is.
ALTER TABLE workers ADD COLUMN concurrency integer CHECK (concurrency BETWEEN 4 AND 1024);

-- A batch can be ended before it is through: what is done stays done.
ALTER TABLE batches DROP CONSTRAINT batches_state_check,
    ADD CONSTRAINT batches_state_check CHECK (state IN ('RUNNING', 'DONE', 'CANCELLED'));
CREATE INDEX batches_begun ON batches (started_at);

-- Callback rates that the account takes; null: as wide as any. Whether the owner is asked before what he does is done.
ALTER TABLE accounts
    ADD COLUMN callback_min numeric CHECK (callback_min BETWEEN 0.001 AND 0.5),
    ADD COLUMN callback_max numeric CHECK (callback_max BETWEEN 0.001 AND 0.5),
    ADD COLUMN default_confirm boolean NOT NULL DEFAULT true,
    ADD CONSTRAINT accounts_callbacks CHECK (callback_min <= callback_max);

-- Whether orders of an account that a lost history left have not all been compared with their venue yet. The API's role
-- does not see which.
CREATE FUNCTION is_recovering(account uuid) RETURNS boolean
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public
    AS $$
        SELECT EXISTS (
            SELECT FROM (SELECT incarnation, quarantine_from FROM control WHERE recovered < incarnation OFFSET 0) AS c
            CROSS JOIN LATERAL (
                SELECT FROM orders AS o
                WHERE o.account_id = account AND o.is_live AND o.created_at < c.quarantine_from + interval '1 minute'
                    AND NOT EXISTS (
                        SELECT FROM recoveries AS r WHERE r.order_id = o.id AND r.account_id = o.account_id
                            AND r.incarnation = c.incarnation
                    )
                LIMIT 1
            ) AS left_over
        )
    $$;
REVOKE EXECUTE ON FUNCTION is_recovering(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION is_recovering(uuid) TO smartorders_api, smartorders_operator;
