-- What shares a position: the open orders of an account and market, and exits that rest there. Neither index follows a
-- column that changes with most versions, and exits that fill or expire at once are in none.
CREATE INDEX orders_live ON orders (account_id, market, id) WHERE is_live;
CREATE INDEX intents_resting ON intents (account_id, market) WHERE is_live AND is_exit AND type = 'GTC';
