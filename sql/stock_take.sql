-- set_stock_locked and transfer_stock_locked.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('1', 'main', 10), ('1', 'aachen', 3), ('2', 'berlin', 7);
-- a stock take says what there is
SELECT location_id, quantity_before, delta, quantity_after, replayed FROM inventory_lock.set_stock_locked(1, 8, actor => 'ann');
SELECT location_id, quantity_before, delta, quantity_after FROM inventory_lock.set_stock_locked(1, 8);
SELECT location_id, delta FROM inventory_lock.set_stock_locked('2', 0, location_id => 'berlin', expected => 7);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.set_stock_locked('2', 5, expected => 7)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.set_stock_locked('2', -1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.set_stock_locked('2', NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.set_stock_locked('3', 1)$$);
SELECT delta, replayed FROM inventory_lock.set_stock_locked('2', 6, request_key => 'count-1');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', -1);
SELECT delta, quantity_after, replayed FROM inventory_lock.set_stock_locked('2', 6, request_key => 'count-1');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.set_stock_locked('2', 7, request_key => 'count-1')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('2', 6, 'count', request_key => 'count-1')$$);
-- between locations
SELECT movement_id IS NOT NULL AS moved, variant_id, location_id, quantity_before, delta, quantity_after, replayed
    FROM inventory_lock.transfer_stock_locked(1, 5, 'main', 'aachen', request_key => 't1', note => 'van 3');
SELECT location_id, quantity_before, delta, quantity_after, replayed
    FROM inventory_lock.transfer_stock_locked(1, 5, 'main', 'aachen', request_key => 't1', note => 'van 3');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked(1, 4, 'main', 'aachen', request_key => 't1')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked(1, 4, 'main', 'aachen')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked(1, 1, 'main', 'main')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked(1, 1, 'main', 'ulm')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked(1, 0, 'main', 'aachen')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked(1, 1, NULL, 'aachen')$$);
UPDATE inventory_lock.binding SET lock_per_location = true;
SELECT location_id, delta, quantity_after FROM inventory_lock.transfer_stock_locked(1, 8, 'aachen', 'main');
SELECT variant_id, location_id, kind, delta, on_hand_after, reason, actor, note, request_key FROM shop.stock_movement ORDER BY movement_id;
SELECT * FROM inventory_lock.verify_stock();
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
