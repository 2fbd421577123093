DROP TABLE outbox, idempotency, fills, intents, events, orders;
DROP FUNCTION refuse_intent_update(), refuse_order_update();
