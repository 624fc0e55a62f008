-- adjust_stock_locked: one change, its movement, its answer.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

INSERT INTO shop.stock_level (variant_id, on_hand, low_stock_threshold) VALUES ('42', 10, 3), ('0042', 7, NULL);
-- bigint, text and named arguments; every id is text in the answer
SELECT variant_id, location_id, quantity_before, delta, quantity_after, available, stock_status, version, fence > 0 AS fenced,
       protection IN ('redis', 'database') AS protected, replayed, waited_ms >= 0 AS waited
    FROM inventory_lock.adjust_stock_locked(42, -3);
SELECT variant_id, quantity_after, stock_status FROM inventory_lock.adjust_stock_locked('42', -4);
SELECT quantity_after, stock_status
    FROM inventory_lock.adjust_stock_locked(variant_id => '42'::text, delta => -3, reason => 'broken', actor => 'ann', note => 'fell down');
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_locked('0042', 1);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', -1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('43', 1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', 1, location_id => 'moon')$$);
-- compare and set
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', 5, expected => 0);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', 5, expected => 0)$$);
-- what is held for others, and how far backorders may go
UPDATE shop.stock_level SET held = 4, backorder_limit = 2 WHERE variant_id = '42';
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', -4)$$);
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('42', -3);
UPDATE shop.stock_level SET held = 0, safety_stock = 2, backorder_limit = 0 WHERE variant_id = '42';
-- a sale leaves the safety stock, a correction need not
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('42', 1)$$);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', -1);
-- overflow
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', 9223372036854775807)$$);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', 9223372036854775806);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', 1)$$);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', -9223372036854775807);
-- a request is applied once
SELECT quantity_after, replayed FROM inventory_lock.adjust_stock_locked('42', 8, request_key => 'delivery-1');
SELECT quantity_before, delta, quantity_after, available, stock_status, version IS NOT NULL AS versioned, replayed
    FROM inventory_lock.adjust_stock_locked('42', 8, request_key => 'delivery-1');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', 9, request_key => 'delivery-1')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('0042', 8, request_key => 'delivery-1')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('42', 8, 'found', request_key => 'delivery-1')$$);
-- purchase and cancellation without an order
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('42', 6);
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation('42', 6);
-- the ledger
SELECT movement_id, variant_id, location_id, kind, delta, on_hand_after, reason, actor, note, request_key
    FROM shop.stock_movement ORDER BY movement_id;
SELECT * FROM inventory_lock.verify_stock();
SELECT * FROM inventory_lock.verify_stock('0042');
UPDATE shop.stock_level SET on_hand = on_hand + 5 WHERE variant_id = '0042';
SELECT * FROM inventory_lock.verify_stock() WHERE drift <> 0;
-- fences of a row only grow
SELECT bool_and(fence > before) FROM (SELECT fence, lag(fence) OVER (PARTITION BY variant_id ORDER BY movement_id) AS before
    FROM shop.stock_movement) AS m WHERE before IS NOT NULL;
-- also when the row has one from a farther future
UPDATE shop.stock_level SET fence = 4000000000000000 WHERE variant_id = '42';
SELECT fence > 4000000000000000 AS above FROM inventory_lock.adjust_stock_locked('42', 1);
-- all in one transaction, a savepoint undone
BEGIN;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', 1);
SAVEPOINT a;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', 10);
ROLLBACK TO a;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', 1);
COMMIT;
SELECT on_hand, held, safety_stock, available, stock_status FROM inventory_lock.stock('42');
SELECT count(*) FROM inventory_lock.stock('nothing');
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
