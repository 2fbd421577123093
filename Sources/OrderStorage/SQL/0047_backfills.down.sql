ALTER TABLE control DROP COLUMN price_revision;
DROP INDEX feed_gaps_filled;
DROP TABLE backfills;
