ALTER TABLE handovers DROP COLUMN heard;
ALTER TABLE cursors DROP COLUMN heard;
