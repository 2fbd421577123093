DROP INDEX orders_attention;
ALTER TABLE leader DROP COLUMN resigned, DROP COLUMN resigned_at;
ALTER TABLE shards DROP COLUMN pinned;
ALTER TABLE workers DROP COLUMN wants_stop;
