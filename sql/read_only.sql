-- A transaction that may not write: what locks or writes refuses with 25006, reads answer.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10);
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
SELECT status FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 1}]');
BEGIN READ ONLY;
SELECT split_part(call, '(', 1) AS function, pg_temp.try('SELECT * FROM inventory_lock.' || call) AS answer FROM unnest(ARRAY[
    $$adjust_stock_locked('1', 1)$$,
    $$decrement_stock_on_purchase('1', 1)$$,
    $$increment_stock_on_cancellation('1', 1)$$,
    $$set_stock_locked('1', 5)$$,
    $$adjust_stock_bulk_locked('[{"variant_id": 1, "delta": 1}]')$$,
    $$transfer_stock_locked('1', 1, 'main', 'north')$$,
    $$rebuild_stock('1', dry_run => false)$$,
    $$place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 1}]')$$,
    $$cancel_order_locked('1')$$,
    $$fulfil_order_locked('1')$$,
    $$reserve_stock_locked('ann', '[{"variant_id": 1, "quantity": 1}]', '1 minute')$$,
    $$acquire_lock('x')$$,
    $$try_acquire_lock('x')$$,
    $$acquire_stock_lock('1')$$,
    $$acquire_product_lock('1')$$,
    $$create_tables('other')$$,
    $$bind('other', 'shop.stock_level', 'shop.stock_movement')$$,
    $$unbind('default')$$,
    $$stock('1')$$,
    $$stock_at('1', now())$$,
    $$rebuild_stock('1')$$,
    $$verify_stock()$$,
    $$check_binding()$$,
    $$active_locks$$,
    $$stat$$,
    $$redis_status$$,
    $$status()$$,
    $$get_lock_stats()$$]) call;
COMMIT;
SELECT on_hand FROM shop.stock_level;
