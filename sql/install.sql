-- CREATE EXTENSION and DROP EXTENSION.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
-- everything lives in one schema, whatever is asked
CREATE EXTENSION inventory_lock SCHEMA public;
CREATE EXTENSION inventory_lock;
ALTER EXTENSION inventory_lock SET SCHEMA public;
SELECT count(*) FROM pg_depend JOIN pg_proc ON classid = 'pg_proc'::regclass AND objid = pg_proc.oid
    WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
    AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'inventory_lock')
    AND pronamespace <> 'inventory_lock'::regnamespace;
SELECT has_schema_privilege('public', 'inventory_lock', 'USAGE') AS usage, has_schema_privilege('public', 'inventory_lock', 'CREATE') AS create;
-- bindings are data that pg_dump carries
SELECT 'inventory_lock.binding'::regclass = ANY (extconfig) AS dumped FROM pg_extension WHERE extname = 'inventory_lock';
-- every function says what it is for
SELECT p.oid::regprocedure FROM pg_proc p LEFT JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
    WHERE pronamespace = 'inventory_lock'::regnamespace AND description IS NULL;
-- what somebody else may think of is refused
SELECT inventory_lock.binding_changed();
-- twice in one session
DROP EXTENSION inventory_lock;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 5);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', -2);
-- in a transaction that is undone
BEGIN;
DROP EXTENSION inventory_lock;
ROLLBACK;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', -2);
DROP EXTENSION inventory_lock;
SELECT on_hand FROM shop.stock_level;
SELECT count(*) FROM shop.stock_movement;
DROP SCHEMA shop CASCADE;
