DROP FUNCTION is_recovering(uuid);
ALTER TABLE accounts DROP CONSTRAINT accounts_callbacks, DROP COLUMN callback_min, DROP COLUMN callback_max,
    DROP COLUMN default_confirm;
DROP INDEX batches_begun;
UPDATE batches SET state = 'DONE' WHERE state = 'CANCELLED';
ALTER TABLE batches DROP CONSTRAINT batches_state_check,
    ADD CONSTRAINT batches_state_check CHECK (state IN ('RUNNING', 'DONE'));
ALTER TABLE workers DROP COLUMN concurrency;
