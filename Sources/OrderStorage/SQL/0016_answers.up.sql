-- A repeated command is answered word for word (INTERFACES.md 1.4): what was answered is kept with the commit.
--
-- Null in rows of an older program, whose replays show the order as it was made or as it stands.
ALTER TABLE idempotency
    ADD COLUMN status     smallint,
    ADD COLUMN entity_tag text,
    ADD COLUMN location   text,
    ADD COLUMN body       text,
    -- A body of some kilobytes stays in its row: taking it apart and compressing it would cost the commit more.
    SET (toast_tuple_target = 8160);
