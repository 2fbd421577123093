DROP TABLE price_extremes, handovers, cursors, shards, leader, workers;
DROP SEQUENCE handover_ids;
