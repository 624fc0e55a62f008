-- Called from wherever SQL can be written: prepared statements, forced parallel plans, triggers, DO
-- blocks, cursors, procedures, once for each row of a query. Each call happens exactly once, in the
-- caller's transaction.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level (variant_id, on_hand) SELECT i::text, 100 FROM generate_series(1, 9) i;
CREATE FUNCTION pg_temp.left_of(variant text) RETURNS bigint LANGUAGE sql AS
    'SELECT on_hand FROM shop.stock_level WHERE variant_id = variant';
-- prepared, with plans of either kind, and with a table that changes between two executions
PREPARE take(text, bigint) AS SELECT quantity_after FROM inventory_lock.adjust_stock_locked($1, -$2);
SET plan_cache_mode = force_custom_plan;
EXECUTE take('1', 1);
SET plan_cache_mode = force_generic_plan;
EXECUTE take('1', 1);
ALTER TABLE shop.stock_level ADD COLUMN colour text;
EXECUTE take('1', 1);
ALTER TABLE shop.stock_level ALTER COLUMN on_hand TYPE numeric;
EXECUTE take('1', 1);
ALTER TABLE shop.stock_level ALTER COLUMN on_hand TYPE bigint;
RESET plan_cache_mode;
EXECUTE take('1', 1);
DEALLOCATE take;
-- a parallel plan is never made for a call, however cheap it would be
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
DO $$ BEGIN
    PERFORM set_config(CASE WHEN current_setting('server_version_num')::int < 160000
                       THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END, 'on', false);
END $$;
CREATE TABLE shop.cart AS SELECT (i % 3 + 2)::text AS variant FROM generate_series(0, 29) i;
ANALYZE shop.cart;
EXPLAIN (COSTS OFF) SELECT count(*) FROM shop.cart, inventory_lock.adjust_stock_locked(variant, -1);
SELECT count(*) FROM shop.cart, inventory_lock.adjust_stock_locked(variant, -1);
SELECT pg_temp.left_of('2'), pg_temp.left_of('3'), pg_temp.left_of('4');
DO $$ BEGIN
    PERFORM set_config(CASE WHEN current_setting('server_version_num')::int < 160000
                       THEN 'force_parallel_mode' ELSE 'debug_parallel_query' END, 'off', false);
END $$;
-- a data-modifying statement around it
WITH sold AS MATERIALIZED (SELECT quantity_after FROM inventory_lock.adjust_stock_locked('5', -1))
INSERT INTO shop.cart SELECT quantity_after::text FROM sold RETURNING variant;
-- a DO block, with an exception that undoes one of its calls
DO $$
BEGIN
    PERFORM inventory_lock.adjust_stock_locked('5', -1);
    BEGIN
        PERFORM inventory_lock.adjust_stock_locked('5', -10);
        RAISE EXCEPTION 'no';
    EXCEPTION WHEN raise_exception THEN
        PERFORM inventory_lock.adjust_stock_locked('5', -3);
    END;
END $$;
SELECT pg_temp.left_of('5');
-- triggers: before and after, for each row and for the statement, deferred to the commit
CREATE TABLE shop.sale (id int PRIMARY KEY, variant text);
CREATE FUNCTION shop.take() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM inventory_lock.decrement_stock_on_purchase(coalesce(NEW.variant, TG_ARGV[0]), 1);
    RETURN NEW;
END $$;
CREATE TRIGGER before_row BEFORE INSERT ON shop.sale FOR EACH ROW EXECUTE FUNCTION shop.take();
INSERT INTO shop.sale VALUES (1, '6'), (2, '6');
SELECT pg_temp.left_of('6');
DROP TRIGGER before_row ON shop.sale;
CREATE TRIGGER after_statement AFTER INSERT ON shop.sale EXECUTE FUNCTION shop.take('7');
INSERT INTO shop.sale VALUES (3, '6'), (4, '6');
SELECT pg_temp.left_of('6'), pg_temp.left_of('7');
DROP TRIGGER after_statement ON shop.sale;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON shop.sale DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION shop.take();
BEGIN;
INSERT INTO shop.sale VALUES (5, '6'), (6, '6');
SELECT pg_temp.left_of('6') AS not_yet;
COMMIT;
SELECT pg_temp.left_of('6');
-- a deferred trigger that fails takes the whole transaction with it
BEGIN;
INSERT INTO shop.sale VALUES (7, '6'), (8, 'none');
COMMIT;
SELECT pg_temp.left_of('6'), count(*) FROM shop.sale;
-- a trigger on the stock level itself that calls us again for another variant
CREATE FUNCTION shop.mirror() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM inventory_lock.adjust_stock_locked('8', NEW.on_hand - OLD.on_hand);
    RETURN NEW;
END $$;
CREATE TRIGGER mirror AFTER UPDATE ON shop.stock_level FOR EACH ROW WHEN (NEW.variant_id = '7')
    EXECUTE FUNCTION shop.mirror();
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('7', -5);
SELECT pg_temp.left_of('7'), pg_temp.left_of('8');
DROP TRIGGER mirror ON shop.stock_level;
-- a cursor: a row that is not fetched is a call that is not made
BEGIN;
DECLARE sales CURSOR FOR SELECT quantity_after FROM generate_series(1, 3) AS n, LATERAL inventory_lock.adjust_stock_locked('9', -n);
FETCH 2 FROM sales;
CLOSE sales;
COMMIT;
SELECT pg_temp.left_of('9');
DO $$
DECLARE
    answer record;
BEGIN
    FOR answer IN SELECT * FROM inventory_lock.adjust_stock_locked('9', -1) LOOP
        RAISE INFO '% before, % after', answer.quantity_before - answer.quantity_after, answer.delta;
    END LOOP;
END $$;
-- a procedure that commits between two calls
CREATE PROCEDURE shop.twice() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM inventory_lock.adjust_stock_locked('1', -1);
    COMMIT;
    PERFORM inventory_lock.adjust_stock_locked('1', -1);
    ROLLBACK;
END $$;
CALL shop.twice();
SELECT pg_temp.left_of('1');
-- CREATE TABLE AS
CREATE TABLE shop.receipt AS SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', -1);
SELECT * FROM shop.receipt;
SELECT count(*) AS drifted FROM inventory_lock.verify_stock() WHERE drift <> 0;
-- What lingers (lease_linger) is nobody's any more, and soon gone.
DO $$
DECLARE
    interval_s CONSTANT float := 0.01;
BEGIN
    FOR i IN 1 .. 3000 LOOP
        EXIT WHEN NOT EXISTS (SELECT FROM inventory_lock.active_locks);
        PERFORM pg_sleep(interval_s);
    END LOOP;
END $$;
SELECT count(*) AS keys_left FROM inventory_lock.active_locks;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
