DROP TRIGGER account_reconciled ON batches;
DROP TRIGGER account_switched ON accounts;
DROP TRIGGER account_resumed ON halts;
DROP TRIGGER account_halted ON halts;
DROP FUNCTION tell_account_change();
DROP FUNCTION add_account_event(uuid, text, text, json);
DROP TABLE account_events;
