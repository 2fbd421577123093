DROP TABLE feed_gaps, order_notes;
ALTER TABLE events DROP COLUMN record, DROP COLUMN committed_at;
