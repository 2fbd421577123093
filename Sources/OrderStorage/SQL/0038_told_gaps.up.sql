-- Whose orders were all told that no history fills a gap (RELIABILITY.md 4.4). NULL: not yet.
ALTER TABLE feed_gaps ADD COLUMN told_at timestamptz;
CREATE INDEX feed_gaps_untold ON feed_gaps (from_time) WHERE NOT is_backfilled AND told_at IS NULL;
