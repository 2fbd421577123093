ALTER TABLE feed_gaps DROP COLUMN told_at;
