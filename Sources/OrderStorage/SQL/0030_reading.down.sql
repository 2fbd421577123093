DROP INDEX orders_sides;
