-- `orders_live` begins with the account too: what is open of an account is found there, and every version that moves a row
-- writes one index less.
DROP INDEX orders_open;
