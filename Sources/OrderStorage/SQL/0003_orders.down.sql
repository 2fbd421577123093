DROP TABLE outbox, idempotency, fills, intents, events, orders;
DROP FUNCTION refuse_intent_update(), refuse_order_update();
DROP DOMAIN order_status, order_phase, order_health, price_source, order_side, venue_order_type, intent_state, job_name,
    job_state, quantity, ordinal, shard_number;
