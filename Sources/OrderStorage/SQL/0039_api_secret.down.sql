ALTER TABLE control DROP COLUMN api_secret;
