ALTER TABLE answers DROP COLUMN entity_tag, DROP COLUMN location;
