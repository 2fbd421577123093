-- A cursor speaks of the orders that its holder had heard of: those of transactions before this one. NULL: of all.
ALTER TABLE cursors ADD COLUMN heard bigint;
ALTER TABLE handovers ADD COLUMN heard bigint;
