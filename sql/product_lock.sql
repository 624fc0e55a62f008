-- A product's lock excludes changes of all its variants; variants of one product do not exclude each other.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop, own CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
-- the gates of this transaction, by mode: an intent is RowExclusiveLock
CREATE FUNCTION pg_temp.gates() RETURNS TABLE (mode text, count bigint) LANGUAGE sql AS $$
    SELECT mode, count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764 AND pid = pg_backend_pid()
    GROUP BY mode ORDER BY mode
$$;
INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES
    ('red', 'shirt', 100), ('blue', 'shirt', 100), ('cup', 'cup', 100), ('odd', NULL, 100);
SELECT inventory_lock.acquire_product_lock('shirt') > 0 AS fenced;

-- what a change takes: its variant's key alone, and an intent on its product, if it has one
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('odd', -1); SELECT * FROM pg_temp.gates(); COMMIT;
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('red', -1); SELECT * FROM pg_temp.gates();
SELECT FROM inventory_lock.adjust_stock_locked('blue', -1); SELECT * FROM pg_temp.gates();
SELECT FROM inventory_lock.adjust_stock_locked('cup', -1); SELECT * FROM pg_temp.gates(); COMMIT;
SELECT * FROM pg_temp.gates();
BEGIN; SELECT status FROM inventory_lock.place_order_locked('u', 'k1',
    '[{"variant_id": "red", "quantity": 1}, {"variant_id": "cup", "quantity": 1}, {"variant_id": "odd", "quantity": 1}]');
SELECT * FROM pg_temp.gates(); COMMIT;
BEGIN; SELECT FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "red", "delta": 1}, {"variant_id": "blue", "delta": 1}]');
SELECT * FROM pg_temp.gates(); COMMIT;
BEGIN; SELECT state FROM inventory_lock.reserve_stock_locked('h', '[{"variant_id": "red", "quantity": 1}]', '1 hour');
SELECT * FROM pg_temp.gates(); ROLLBACK;
BEGIN; SELECT inventory_lock.acquire_stock_lock('red') > 0 AS fenced; SELECT * FROM pg_temp.gates(); COMMIT;

-- who has the product's lock may change its variants
BEGIN; SELECT inventory_lock.acquire_product_lock('shirt') > 0 AS fenced; SELECT * FROM pg_temp.gates();
SELECT inventory_lock.acquire_product_lock('shirt') > 0 AS again; SELECT * FROM pg_temp.gates();
SELECT quantity_after FROM inventory_lock.set_stock_locked('red', 50);
SELECT status FROM inventory_lock.place_order_locked('u', 'k2', '[{"variant_id": "red", "quantity": 1}, {"variant_id": "blue", "quantity": 1}]');
SELECT * FROM pg_temp.gates(); COMMIT;
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY variant_id;

-- the other way round would be a deadlock waiting to happen
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('red', -1);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('shirt')$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('cup')$$); ROLLBACK;
-- a savepoint takes it back
BEGIN; SAVEPOINT s; SELECT FROM inventory_lock.adjust_stock_locked('red', -1); ROLLBACK TO s; SELECT * FROM pg_temp.gates();
SELECT inventory_lock.acquire_product_lock('shirt') > 0 AS fenced; SELECT * FROM pg_temp.gates(); COMMIT;
BEGIN; SAVEPOINT s; SELECT inventory_lock.acquire_product_lock('shirt') > 0 AS fenced; ROLLBACK TO s; SELECT * FROM pg_temp.gates();
SELECT FROM inventory_lock.adjust_stock_locked('red', -1); SELECT * FROM pg_temp.gates(); COMMIT;
BEGIN; SAVEPOINT s; SELECT inventory_lock.acquire_product_lock('shirt') > 0 AS fenced; RELEASE s;
SELECT FROM inventory_lock.adjust_stock_locked('red', -1); SELECT * FROM pg_temp.gates(); COMMIT;

-- the row decides, whatever an earlier look said
UPDATE shop.stock_level SET product_id = 'mug' WHERE variant_id IN ('cup', 'odd');
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('odd', -1); SELECT * FROM pg_temp.gates();
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('mug')$$); COMMIT;
BEGIN; SELECT FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "cup", "delta": 1}, {"variant_id": "red", "delta": 1}]');
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('mug')$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('shirt')$$); COMMIT;
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('cup', -1); SELECT * FROM pg_temp.gates(); COMMIT;
-- locations of a variant may belong to several products
INSERT INTO shop.stock_level (variant_id, location_id, product_id, on_hand) VALUES ('odd', 'z', 'pot', 5);
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('odd', -1, location_id => 'z'); SELECT * FROM pg_temp.gates();
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('pot')$$); COMMIT;

-- products that no key can name cannot be locked, and stop nobody
INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES ('a', '', 1), ('b', repeat('x', 300), 1), ('c', E'x\ny', 1);
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_bulk_locked(
    '[{"variant_id": "a", "delta": 1}, {"variant_id": "b", "delta": 1}, {"variant_id": "c", "delta": 1}]');
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('')$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock(repeat('x', 300))$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock(E'x\ny')$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock(NULL::text)$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('shirt', '-1 s')$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('shirt', binding => 'no such')$$);

-- ids are as the column has them
CREATE SCHEMA own;
CREATE TABLE own.stock (sku integer PRIMARY KEY, parent uuid, n integer NOT NULL);
INSERT INTO own.stock VALUES (1, '00000000-0000-0000-0000-0000000000ab', 5);
SELECT inventory_lock.bind('own', 'own.stock', variant_column => 'sku', on_hand_column => 'n', product_column => 'parent');
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked(1, -1, binding => 'own'); SELECT * FROM pg_temp.gates();
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('{00000000-0000-0000-0000-0000000000AB}', binding => 'own')$$);
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('00000000-0000-0000-0000-0000000000ab'::uuid, binding => 'own')$$);
COMMIT;
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('shirt', binding => 'own')$$);
CREATE TABLE own.plain (sku integer PRIMARY KEY, n integer NOT NULL);
INSERT INTO own.plain VALUES (1, 5);
SELECT inventory_lock.bind('plain', 'own.plain', variant_column => 'sku', on_hand_column => 'n');
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked(1, -1, binding => 'plain'); SELECT * FROM pg_temp.gates(); COMMIT;
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock(1, binding => 'plain')$$);
-- the row decides also where the statistics know of no product
UPDATE shop.stock_level SET product_id = NULL;
ANALYZE shop.stock_level;
UPDATE shop.stock_level SET product_id = 'shirt' WHERE variant_id IN ('red', 'blue');
UPDATE shop.stock_level SET product_id = 'mug' WHERE variant_id IN ('cup', 'odd');
\c -
SET client_min_messages = error;
CREATE FUNCTION pg_temp.gates() RETURNS TABLE (mode text, count bigint) LANGUAGE sql AS $$
    SELECT mode, count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764 AND pid = pg_backend_pid()
    GROUP BY mode ORDER BY mode
$$;
\i :srcdir/sql/include/try.sql
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('blue', -1); SELECT * FROM pg_temp.gates();
SELECT pg_temp.try($$SELECT inventory_lock.acquire_product_lock('shirt')$$); COMMIT;
BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('cup', -1); SELECT * FROM pg_temp.gates(); COMMIT;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
DROP SCHEMA own CASCADE;
