DROP INDEX intents_resting, orders_live;
