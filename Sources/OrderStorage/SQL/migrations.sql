-- The list of applied migrations.

-- name: create
CREATE TABLE IF NOT EXISTS schema_migrations (
    version        integer PRIMARY KEY,
    name           text NOT NULL,
    sha256         text NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    binary_version text NOT NULL
)

-- name: exists
SELECT to_regclass('schema_migrations') IS NOT NULL

-- name: applied
SELECT version::bigint, name, sha256, applied_at FROM schema_migrations ORDER BY version

-- name: checksums
SELECT encode(sha256(f.content), 'hex') FROM unnest($1::bytea[]) WITH ORDINALITY AS f(content, place) ORDER BY place
