-- Every function works as the first of a session, with nothing of ours loaded or cached yet.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10), ('test_1', 10);
ALTER DATABASE :DBNAME SET client_min_messages = error;
\c -
SELECT inventory_lock.acquire_stock_lock('1') > 0 AS fenced;
\c -
SELECT inventory_lock.acquire_lock('x') > 0 AS fenced;
\c -
SELECT inventory_lock.try_acquire_lock('x') > 0 AS fenced;
\c -
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', 1);
\c -
SELECT status FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 1}]');
\c -
SELECT restored FROM shop.orders o, inventory_lock.cancel_order_locked(o.order_id::text);
\c -
SELECT state FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": 1, "quantity": 1}]', '1 minute');
\c -
SELECT item, quantity_after FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": 1}]');
\c -
SELECT on_hand FROM inventory_lock.stock('1');
\c -
SELECT drift FROM inventory_lock.verify_stock('1');
\c -
SELECT on_hand FROM inventory_lock.stock_at('1', '-infinity');
\c -
SELECT rebuilt FROM inventory_lock.rebuild_stock('1');
\c -
SELECT * FROM inventory_lock.check_binding();
\c -
SELECT quantity_after FROM inventory_lock.test_decrement('test_1');
\c -
SELECT fence > 0 AS fenced FROM inventory_lock.test_concurrent_access('test_1', '0');
\c -
SELECT inventory_lock.clear_test_locks() >= 0 AS answers;
\c -
SELECT inventory_lock.status() IS NOT NULL, inventory_lock.get_lock_stats() IS NOT NULL, inventory_lock.metrics() IS NOT NULL;
\c -
SELECT count(*) >= 0 AS answers FROM inventory_lock.active_locks;
\c -
SELECT inventory_lock.unbind('default');
ALTER DATABASE :DBNAME RESET client_min_messages;
