-- The caller's own privileges, row security and search_path.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
DROP ROLE IF EXISTS il_clerk;
CREATE ROLE il_clerk;
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 100), ('2', 100);
CREATE FUNCTION pg_temp.calls() RETURNS TABLE (call text, result text) LANGUAGE sql AS $$
    SELECT 'adjust', pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)') UNION ALL
    SELECT 'place', pg_temp.try('SELECT * FROM inventory_lock.place_order_locked(1, gen_random_uuid()::text, ''[{"variant_id": 1, "quantity": 1}]'')') UNION ALL
    SELECT 'cancel', pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked(''1'')') UNION ALL
    SELECT 'stock', pg_temp.try('SELECT * FROM inventory_lock.stock(1)') UNION ALL
    SELECT 'verify', pg_temp.try('SELECT * FROM inventory_lock.verify_stock()')
$$;
-- with plans that somebody with all rights has made
SELECT * FROM pg_temp.calls();
SET ROLE il_clerk;
SELECT * FROM pg_temp.calls();
SELECT pg_temp.try('SELECT inventory_lock.create_tables(''mine'')');
SELECT pg_temp.try('INSERT INTO inventory_lock.binding VALUES (''x'', ''pg_class'', ''pg_class'')');
RESET ROLE;
GRANT USAGE ON SCHEMA shop TO il_clerk;
GRANT SELECT ON shop.stock_level TO il_clerk;
SET ROLE il_clerk;
SELECT * FROM pg_temp.calls();
RESET ROLE;
-- columns are enough
GRANT UPDATE (on_hand, version, fence, updated_at) ON shop.stock_level TO il_clerk;
GRANT SELECT, INSERT ON shop.stock_movement TO il_clerk;
GRANT INSERT (occurred_at, kind, variant_id, location_id, available_before, available) ON shop.outbox TO il_clerk;
SET ROLE il_clerk;
SELECT * FROM pg_temp.calls();
RESET ROLE;
GRANT SELECT, INSERT, UPDATE ON shop.orders, shop.order_line TO il_clerk;
SET ROLE il_clerk;
SELECT * FROM pg_temp.calls();
-- refused calls have taken no gate
BEGIN;
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1, location_id => ''nowhere'')');
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
ROLLBACK;
RESET ROLE;
-- who may not change what is on hold takes no reservation, nor an order's units out of one
SELECT reservation_id AS held FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": 2, "quantity": 4}]', '1 hour') \gset
GRANT SELECT, UPDATE ON shop.reservation TO il_clerk;
SET ROLE il_clerk;
SELECT pg_temp.try(format($$SELECT * FROM inventory_lock.place_order_locked('ann', 'held', '[{"variant_id": 2, "quantity": 4}]', options => '{"reservation_id": "%s"}')$$, :'held'));
RESET ROLE;
SELECT held FROM shop.stock_level WHERE variant_id = '2';
SELECT state FROM inventory_lock.release_reservation(:'held');
REVOKE INSERT ON shop.stock_movement FROM il_clerk;
SET ROLE il_clerk;
SELECT * FROM pg_temp.calls() WHERE call IN ('adjust', 'place');
RESET ROLE;
GRANT INSERT ON shop.stock_movement TO il_clerk;
-- row security: what cannot be seen is not there, and its key is not taken
ALTER TABLE shop.stock_level ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.stock_level TO il_clerk USING (variant_id = '1');
SET ROLE il_clerk;
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(1, -1)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(2, -1)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.place_order_locked(1, ''rls'', ''[{"variant_id": 1, "quantity": 1}, {"variant_id": 2, "quantity": 1}]'')');
SELECT count(*) FROM inventory_lock.stock(2);
RESET ROLE;
SELECT on_hand FROM shop.stock_level WHERE variant_id = '2';
-- a search_path full of traps changes nothing
CREATE SCHEMA trap;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE FUNCTION trap.spring(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
CREATE FUNCTION trap.spring(bigint, bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
CREATE FUNCTION trap.spring_bool(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.spring);
CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.spring_bool);
CREATE OPERATOR trap.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.spring);
CREATE OPERATOR trap.- (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.spring);
CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
CREATE FUNCTION trap.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
CREATE TYPE trap.text AS (t int);
CREATE TYPE trap.int8 AS (t int);
CREATE TYPE trap.numeric AS (t int);
CREATE TYPE trap.jsonb AS (t int);
CREATE TABLE trap.stock_level (LIKE shop.stock_level);
\c -
SET client_min_messages = error;
SET search_path = trap, pg_catalog;
SELECT quantity_after IS NOT NULL AS done FROM inventory_lock.adjust_stock_locked(2::pg_catalog.int8, -1, request_key => 'r');
SELECT replayed FROM inventory_lock.adjust_stock_locked(2::pg_catalog.int8, -1, request_key => 'r');
SELECT order_id IS NOT NULL AS placed FROM inventory_lock.place_order_locked('t'::pg_catalog.text, 'trap', '[{"variant_id": 2, "quantity": 1}, {"variant_id": 1, "quantity": 1}]');
SELECT replayed FROM inventory_lock.place_order_locked('t'::pg_catalog.text, 'trap', '[{"variant_id": 2, "quantity": 1}, {"variant_id": 1, "quantity": 1}]');
SELECT status, restored FROM inventory_lock.cancel_order_locked((SELECT pg_catalog.max(order_id)::pg_catalog.text FROM shop.orders), request_key => 'c');
SELECT quantity_after IS NOT NULL AS done FROM inventory_lock.decrement_stock_on_purchase(2::pg_catalog.int8, 1, 'elsewhere');
SELECT quantity_after IS NOT NULL AS done FROM inventory_lock.increment_stock_on_cancellation(2::pg_catalog.int8, 1, 'elsewhere');
SELECT available IS NOT NULL AS done FROM inventory_lock.stock(2::pg_catalog.int8);
SELECT drift FROM inventory_lock.verify_stock() WHERE drift OPERATOR(pg_catalog.<>) 0;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
RESET search_path;
SELECT DISTINCT typnamespace::regnamespace FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
    WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r') AND attnum > 0;
DROP SCHEMA trap CASCADE;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
DROP ROLE il_clerk;
