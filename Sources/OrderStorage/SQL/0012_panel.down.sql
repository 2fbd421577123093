ALTER TABLE accounts DROP COLUMN trigger_source, DROP COLUMN deleted_at;
DROP TABLE presets, preferences, sign_in_codes, sign_ins;
