ALTER TABLE control DROP COLUMN queue_partitions;
DROP TABLE dead_notes;
DROP INDEX outbox_dead;
ALTER TABLE outbox DROP COLUMN ended_at;
