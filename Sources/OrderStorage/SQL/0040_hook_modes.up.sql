-- The mode that a link's account was in when the link was made: it serves that mode alone (INTERFACES.md 1.2, 1.15). Those
-- that are there already count as made for paper: nobody knows, and a link that is refused is made again.
ALTER TABLE hooks ADD COLUMN mode text NOT NULL DEFAULT 'PAPER' CHECK (mode IN ('PAPER', 'LIVE'));
