-- Signs what an api process gives out and takes back: list cursors, tokens against forgery, second steps. Random, the same
-- for all processes of the deployment; 244 bits of two random UUIDs.
ALTER TABLE control ADD COLUMN api_secret bytea NOT NULL
    DEFAULT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');
