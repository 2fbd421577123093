DROP INDEX orders_whole_position;
ALTER TABLE orders DROP COLUMN whole_position;
