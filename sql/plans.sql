-- Plans are kept per session and survive whatever happens to the tables between two calls.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 1000);
CREATE FUNCTION pg_temp.work() RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)') || ', ' ||
           pg_temp.try('SELECT * FROM inventory_lock.place_order_locked(1, gen_random_uuid()::text, ''[{"variant_id": 1, "quantity": 1}]'')') || ', ' ||
           pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked((SELECT max(order_id)::text FROM shop.orders))') || ', ' ||
           pg_temp.try('SELECT * FROM inventory_lock.stock(1)')
$$;
-- often enough for generic plans
SELECT pg_temp.work(), count(*) FROM generate_series(1, 12) GROUP BY 1;
SELECT on_hand FROM inventory_lock.stock('1');
-- types
ALTER TABLE shop.stock_level ALTER on_hand TYPE integer;
SELECT pg_temp.work();
-- quantities that the narrower column cannot hold
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, 3000000000)');
ALTER TABLE shop.stock_level ALTER on_hand TYPE numeric;
SELECT pg_temp.work();
ALTER TABLE shop.stock_level ALTER on_hand TYPE bigint;
SELECT pg_temp.work();
-- ids of another type: the key is the id's canonical text
ALTER TABLE shop.stock_level DROP CONSTRAINT stock_level_variant_id_check;
ALTER TABLE shop.stock_level ALTER variant_id TYPE bigint USING variant_id::bigint;
SELECT pg_temp.work();
SELECT variant_id, quantity_after - quantity_before AS delta FROM inventory_lock.adjust_stock_locked('001', 1);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('one', 1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('99999999999999999999', 1)$$);
ALTER TABLE shop.stock_level ALTER variant_id TYPE text;
SELECT pg_temp.work();
-- names: a renamed column is missed until the binding knows of it
ALTER TABLE shop.stock_level RENAME on_hand TO quantity;
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)');
UPDATE inventory_lock.binding SET columns = '{"stock_level": {"on_hand": "quantity", "low_stock_threshold": null}}';
SELECT pg_temp.work();
ALTER TABLE shop.stock_level RENAME quantity TO "On Hand";
UPDATE inventory_lock.binding SET columns = '{"stock_level": {"on_hand": "On Hand"}}';
SELECT pg_temp.work();
ALTER TABLE shop.stock_level RENAME "On Hand" TO on_hand;
UPDATE inventory_lock.binding SET columns = '{}';
ALTER TABLE shop.stock_movement RENAME note TO remark;
SELECT pg_temp.work();
ALTER TABLE shop.stock_level RENAME TO levels;
SELECT pg_temp.work();
ALTER SCHEMA shop RENAME TO "The Shop";
SELECT quantity_after - quantity_before AS delta FROM inventory_lock.adjust_stock_locked('1', -1);
ALTER SCHEMA "The Shop" RENAME TO shop;
SELECT pg_temp.work();
-- columns come and go
ALTER TABLE shop.levels DROP safety_stock, ADD colour text, DROP version;
SELECT pg_temp.work();
SELECT version, safety_stock FROM inventory_lock.stock('1');
-- tables go and come
ALTER TABLE shop.levels RENAME TO stock_level;
DROP TABLE shop.stock_level;
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)');
CREATE TABLE shop.stock_level (variant_id text PRIMARY KEY, on_hand bigint);
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)');
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level VALUES ('1', 10);
SELECT pg_temp.work();
SELECT location_id, on_hand, available FROM inventory_lock.stock('1');
-- within a transaction that changes them itself
BEGIN;
ALTER TABLE shop.stock_level ADD held bigint NOT NULL DEFAULT 4;
SELECT on_hand, held, available FROM inventory_lock.stock('1');
ROLLBACK;
SELECT on_hand, held, available FROM inventory_lock.stock('1');
-- foreign keys onto the level choose the milder row lock
CREATE TABLE shop.cart_item (variant_id text REFERENCES shop.stock_level);
SELECT pg_temp.work();
-- a partitioned table
DROP TABLE shop.cart_item, shop.stock_level;
CREATE TABLE shop.stock_level (variant_id text, on_hand bigint, PRIMARY KEY (variant_id)) PARTITION BY HASH (variant_id);
CREATE TABLE shop.stock_level_0 PARTITION OF shop.stock_level FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE shop.stock_level_1 PARTITION OF shop.stock_level FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level VALUES ('1', 10), ('2', 10), ('3', 10);
SELECT pg_temp.work();
SELECT status FROM inventory_lock.place_order_locked(1, 'parts', '[{"variant_id": 3, "quantity": 1}, {"variant_id": 1, "quantity": 1}, {"variant_id": 2, "quantity": 1}]');
-- a view is no table
DROP TABLE shop.stock_level;
CREATE VIEW shop.stock_level AS SELECT 'x'::text AS variant_id, 1::bigint AS on_hand;
UPDATE inventory_lock.binding SET stock_level = 'shop.stock_level';
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)');
-- the extension itself goes and comes
DROP VIEW shop.stock_level;
DROP EXTENSION inventory_lock;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level VALUES ('1', 'main');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(1, 3);
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
