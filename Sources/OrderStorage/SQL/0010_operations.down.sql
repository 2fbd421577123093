DROP TABLE queue_settings, bulk_items, bulk_operations;
