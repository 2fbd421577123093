-- Answers with a secret in them are kept sealed to the credential that asked (INTERFACES.md 1.4). Those of an older program
-- stood in clear: what is left of them shows the secret no more.
UPDATE answers SET body = regexp_replace(body, '"secret":"so_[^"]*"', '"secret":null')
WHERE body LIKE '%"secret":"so\_%';
UPDATE answers SET body = regexp_replace(body, '"url":"[^"]*/s/[^"]*"', '"url":null') WHERE body LIKE '%/s/%';
-- Changes of accounts are answered with their version, and repeated with it.
ALTER TABLE answers ADD COLUMN entity_tag text, ADD COLUMN location text;
