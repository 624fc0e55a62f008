-- create_tables: ordinary tables that belong to the caller.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
DROP SCHEMA IF EXISTS "Other shop" CASCADE;
CREATE EXTENSION inventory_lock;
-- nothing is bound yet
SELECT * FROM inventory_lock.stock('1');
SET client_min_messages = notice;
SELECT inventory_lock.create_tables();
SELECT inventory_lock.create_tables('shop');
-- the default binding is about one schema's tables
SELECT inventory_lock.create_tables('Other shop');
SELECT inventory_lock.create_tables(NULL);
SELECT inventory_lock.create_tables('');
SELECT count(*) FROM pg_namespace WHERE nspname = 'Other shop';
SELECT name, stock_level, movement, orders, order_line, reservation FROM inventory_lock.binding;
-- a table that has been dropped is made again, and bound again
DROP TABLE shop.stock_level;
SELECT * FROM inventory_lock.stock('1');
SELECT inventory_lock.create_tables();
SELECT count(*) FROM inventory_lock.stock('1');
-- every column but variant_id has a default
INSERT INTO shop.stock_level (variant_id) VALUES ('1');
SELECT location_id, product_id, on_hand, held, safety_stock, backorder_limit, low_stock_threshold, version, fence
    FROM shop.stock_level;
\set VERBOSITY terse
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('2', -1);
INSERT INTO shop.stock_level (variant_id, on_hand, backorder_limit) VALUES ('2', -5, 5);
INSERT INTO shop.stock_level (variant_id, held) VALUES ('3', -1);
-- the ledger is append only, also for nothing
UPDATE shop.stock_movement SET delta = 0;
DELETE FROM shop.stock_movement WHERE false;
TRUNCATE shop.stock_movement;
\set VERBOSITY default
-- room for HOT updates, and no index on a quantity
SELECT reloptions FROM pg_class WHERE oid = 'shop.stock_level'::regclass;
SELECT indrelid::regclass, string_agg(attname, ', ' ORDER BY attname)
    FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
    WHERE indrelid IN ('shop.stock_level'::regclass, 'shop.stock_movement'::regclass)
    GROUP BY indexrelid, indrelid ORDER BY 1, 2;
-- a shop outlives the extension, without CASCADE
DROP EXTENSION inventory_lock;
SELECT count(*) FROM shop.stock_level;
TRUNCATE shop.stock_movement;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
SELECT count(*) FROM inventory_lock.stock('2');
-- tables of other shapes under these names are not taken for ours
DROP EXTENSION inventory_lock;
SET client_min_messages = error;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION inventory_lock;
CREATE SCHEMA shop;
CREATE TABLE shop.stock_level (id int);
SELECT inventory_lock.create_tables();
SELECT count(*) FROM inventory_lock.binding;
-- a default binding of other tables is not replaced
DROP TABLE shop.stock_level;
CREATE TABLE shop.products (id bigint PRIMARY KEY, stock bigint NOT NULL);
SELECT inventory_lock.bind('default', 'shop.products', variant_column => 'id', on_hand_column => 'stock');
SELECT inventory_lock.create_tables();
SELECT inventory_lock.unbind('default');
CREATE TABLE shop.stock_level (variant_id text PRIMARY KEY, stock bigint NOT NULL);
SELECT inventory_lock.bind('default', 'shop.stock_level', on_hand_column => 'stock');
SELECT inventory_lock.create_tables();
SELECT stock_level, movement FROM inventory_lock.binding;
-- what a binding of these tables was told is kept
SELECT inventory_lock.unbind('default');
DROP SCHEMA shop CASCADE;
SELECT inventory_lock.create_tables();
UPDATE inventory_lock.binding SET lock_per_location = true;
DROP TABLE shop.outbox;
SELECT inventory_lock.create_tables();
SELECT outbox, lock_per_location FROM inventory_lock.binding;
-- and tables are not taken from their owner
DROP EXTENSION inventory_lock;
DROP ROLE IF EXISTS il_clerk;
CREATE ROLE il_clerk;
CREATE EXTENSION inventory_lock;
GRANT EXECUTE ON FUNCTION inventory_lock.create_tables(name) TO il_clerk;
SET ROLE il_clerk;
SELECT inventory_lock.create_tables();
RESET ROLE;
SELECT count(*) FROM inventory_lock.binding;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
DROP ROLE il_clerk;
