ALTER TABLE control DROP COLUMN recovered;
DROP TABLE recoveries;
