-- One order per user and idempotency key, and the same answer for ever.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10), ('2', 10);
CREATE TEMP TABLE answers AS SELECT * FROM inventory_lock.place_order_locked('ann', 'k',
    '[{"variant_id": 1, "quantity": 2, "unit_price": 1.50}, {"variant_id": 2, "quantity": 1, "unit_price": 3}]', '{"a": 1, "b": [1, 2]}');
-- the same request in other words
INSERT INTO answers SELECT * FROM inventory_lock.place_order_locked('ann', 'k',
    '[{"variant_id": "2", "unit_price": 3.00, "quantity": 1}, {"variant_id": 1, "quantity": 1, "unit_price": 1.5},
      {"variant_id": 1, "quantity": 1, "unit_price": 1.5}]', '{"b": [1.0, 2], "a": 1}', '{"on_conflict": "error"}');
SELECT count(*), count(DISTINCT (order_id, status, total, lines, fence, protection, sqlstate, response, created_at)) AS answers,
       array_agg(replayed ORDER BY replayed) AS replayed FROM answers;
SELECT count(*) FROM shop.orders;
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY 1;
-- another user's key is another key
SELECT replayed FROM inventory_lock.place_order_locked('bob', 'k', '[{"variant_id": 1, "quantity": 1}]');
-- another request under the same key
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 2, "unit_price": 1.50}, {"variant_id": 2, "quantity": 2, "unit_price": 3}]', '{"a": 1, "b": [1, 2]}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 2, "unit_price": 1.50}]', '{"a": 1, "b": [1, 2]}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 2, "unit_price": 1.60}, {"variant_id": 2, "quantity": 1, "unit_price": 3}]', '{"a": 1, "b": [1, 2]}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 2, "unit_price": 1.50}, {"variant_id": 2, "quantity": 1, "unit_price": 3}, {"variant_id": 3, "quantity": 1}]', '{"a": 1, "b": [1, 2]}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 2, "unit_price": 1.50}, {"variant_id": 2, "quantity": 1, "unit_price": 3}]', '{"a": 1, "b": [2, 1]}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 2, "unit_price": 1.50, "location_id": "main"}, {"variant_id": 2, "quantity": 1, "unit_price": 3}]', '{"a": 1, "b": [1, 2]}')$$);
-- a failure that was raised leaves the key free
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 99}]')$$);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', 93);
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 99}]');
-- the answer is the one of then, whatever became of the order
SELECT status, restored FROM inventory_lock.cancel_order_locked((SELECT order_id FROM shop.orders WHERE idempotency_key = 'k2'));
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 99}]');
SELECT on_hand FROM shop.stock_level WHERE variant_id = '1';
-- at other isolation levels
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 99}]');
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 1}]');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 1}]');
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 1, "quantity": 1}]');
COMMIT;
-- twice within one transaction
BEGIN;
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"on_conflict": "error"}');
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"on_conflict": "error"}');
ROLLBACK;
SELECT count(*) FROM shop.orders WHERE idempotency_key = 'k5';
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
