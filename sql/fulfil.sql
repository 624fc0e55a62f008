-- fulfil_order_locked: what has gone out cannot be cancelled.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 100), ('2', 100);
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 5}, {"variant_id": 2, "quantity": 6}]');
SELECT order_id, status, replayed, shipped, lines, fence > 0 AS fenced, protection IN ('redis', 'database') AS protected
    FROM inventory_lock.fulfil_order_locked(1, '[{"line_no": 1, "quantity": 2}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.fulfil_order_locked(1, '[{"variant_id": 1, "quantity": 4}]')$$);
SELECT status, restored FROM inventory_lock.cancel_order_locked(1, '[{"line_no": 1}]');
SELECT status, shipped FROM inventory_lock.fulfil_order_locked('1');
SELECT status, replayed, shipped FROM inventory_lock.fulfil_order_locked('1');
SELECT status, replayed, restored FROM inventory_lock.cancel_order_locked('1');
SELECT line_no, quantity, cancelled, fulfilled FROM shop.order_line ORDER BY 1;
SELECT status FROM shop.orders;
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY 1;
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 5}]');
SELECT status, shipped FROM inventory_lock.fulfil_order_locked('2');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('2')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation(1, 1, '2')$$);
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 5}]');
SELECT status, restored FROM inventory_lock.cancel_order_locked('3');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.fulfil_order_locked('3')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.fulfil_order_locked('4')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.fulfil_order_locked(NULL::bigint)$$);
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
