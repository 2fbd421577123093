DROP TRIGGER gaps_opened ON feed_gaps;
DROP TRIGGER gaps_closed ON feed_gaps;
DROP TRIGGER batches_reconciled ON batches;
DROP FUNCTION tell_gap(), tell_reconciled();
