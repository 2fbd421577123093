ALTER TABLE idempotency DROP COLUMN status, DROP COLUMN entity_tag, DROP COLUMN location, DROP COLUMN body;
ALTER TABLE idempotency RESET (toast_tuple_target);
