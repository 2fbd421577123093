-- What operators ask of processes and shards.

ALTER TABLE workers ADD COLUMN wants_stop boolean NOT NULL DEFAULT false;

-- The worker that an operator chose; null: whoever the hash names. Void when that worker is gone.
ALTER TABLE shards ADD COLUMN pinned text;
CREATE INDEX shards_pinned ON shards (id) WHERE pinned IS NOT NULL;

-- Who was made to resign does not lead again at once.
ALTER TABLE leader ADD COLUMN resigned text, ADD COLUMN resigned_at timestamptz;

-- Few rows or none; health changes seldom, so updates of orders stay on their page.
CREATE INDEX orders_attention ON orders (id) WHERE health = 'NEEDS_ATTENTION';
