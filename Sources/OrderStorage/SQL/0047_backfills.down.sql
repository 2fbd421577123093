ALTER TABLE control DROP COLUMN price_revision;
DROP TABLE backfills;
