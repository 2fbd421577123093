CREATE INDEX intents_due ON intents (next_check_at) WHERE is_live;
DROP INDEX intents_due_stops, intents_due_others, intents_due_resting, intents_due_absent;
DROP FUNCTION lessens_risk(text);
DROP FUNCTION is_present_history(bigint, text);
