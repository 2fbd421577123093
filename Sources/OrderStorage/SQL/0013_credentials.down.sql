DROP TABLE credential_intakes;
ALTER TABLE credentials DROP COLUMN id, DROP COLUMN version, DROP COLUMN last4, DROP COLUMN permissions,
    DROP COLUMN checked_at;
