-- Which location serves a call that names none, or one of several.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES
    ('1', 'berlin', 2), ('1', 'aachen', 5), ('1', 'main', 9), ('2', 'berlin', 4), ('3', 'aachen', 1), ('3', 'berlin', 1);
-- a decrease takes the lowest location that has enough
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', -5);
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', -1);
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', -4);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('1', -6)$$);
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', -1, location_id => 'main');
-- an increase goes to main, else to the only one
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', 1);
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('2', 1);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('3', 1)$$);
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('3', 1, location_id => 'berlin');
-- an order's line is served by one location; a named one is served before "any"
UPDATE shop.stock_level SET on_hand = 5;
SELECT status, (SELECT jsonb_agg(l - 'fence' - 'protection') FROM jsonb_array_elements(lines) AS l) AS lines
    FROM inventory_lock.place_order_locked('u', 'k1', '[{"variant_id": "1", "quantity": 3},
        {"variant_id": "1", "quantity": 4, "location_id": "aachen"}, {"variant_id": "3", "quantity": 5}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u', 'k2', '[{"variant_id": "1", "quantity": 6}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u', 'k2', '[{"variant_id": "1", "quantity": 1, "location_id": "ulm"}]')$$);
SELECT location_id, on_hand FROM inventory_lock.stock('1');
SELECT location_id, on_hand FROM inventory_lock.stock('1', 'main');
-- cancelling brings it back to where it was
SELECT restored FROM inventory_lock.cancel_order_locked('1');
SELECT variant_id, location_id, on_hand FROM shop.stock_level ORDER BY 1, 2;
-- a lock for each location
UPDATE inventory_lock.binding SET lock_per_location = true;
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', -2, location_id => 'main');
SELECT location_id, quantity_after FROM inventory_lock.adjust_stock_locked('1', -2);
SELECT status FROM inventory_lock.place_order_locked('u', 'k3', '[{"variant_id": "1", "quantity": 5}, {"variant_id": "2", "quantity": 1}]');
SELECT location_id, on_hand FROM inventory_lock.stock('1');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('9', -2)$$);
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
