-- rebuild_stock: drifted levels are set to what their movements say.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
CREATE FUNCTION pg_temp.gates() RETURNS bigint LANGUAGE sql AS
    $$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764 $$;
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES
    ('1', 'main', 10), ('1', 'aachen', 4), ('1', 'berlin', 6), ('2', 'main', 7);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(1, -3, location_id => 'main');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(1, 2, location_id => 'aachen');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(2, 1);
CREATE TEMP TABLE known AS SELECT * FROM shop.stock_level;
-- one fell, one rose, one has no movements: nobody knows what it should be
UPDATE shop.stock_level SET on_hand = 1 WHERE variant_id = '1' AND location_id = 'main';
UPDATE shop.stock_level SET on_hand = 60 WHERE variant_id = '1' AND location_id <> 'main';
UPDATE shop.stock_level SET on_hand = 0 WHERE variant_id = '2';
SELECT * FROM inventory_lock.verify_stock();
-- a dry run, the default, tells and changes nothing, not even a lock
BEGIN READ ONLY;
SELECT * FROM inventory_lock.rebuild_stock(1);
SELECT pg_temp.gates();
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1, dry_run => false)$$);
COMMIT;
SELECT location_id, on_hand, version FROM shop.stock_level WHERE variant_id = '1' ORDER BY location_id;
-- the real one, under the variant's lock
BEGIN;
SELECT * FROM inventory_lock.rebuild_stock('1', dry_run => false);
SELECT pg_temp.gates();
COMMIT;
SELECT location_id, l.on_hand, l.version - k.version AS version_rose, l.fence > k.fence AS fence_rose, l.updated_at > k.updated_at AS later
    FROM shop.stock_level l JOIN known k USING (variant_id, location_id) WHERE variant_id = '1' ORDER BY location_id;
SELECT count(*) AS movements FROM shop.stock_movement;
-- only that variant, and once
SELECT * FROM inventory_lock.verify_stock();
SELECT * FROM inventory_lock.rebuild_stock(1, dry_run => false);
SELECT sum(version) AS versions FROM shop.stock_level WHERE variant_id = '1';
-- business goes on from there, and the ledger agrees
SELECT quantity_before, quantity_after FROM inventory_lock.adjust_stock_locked(1, -7, location_id => 'main');
SELECT count(*) FILTER (WHERE drift <> 0) AS drifted FROM inventory_lock.verify_stock('1');
-- a rollback takes it back
BEGIN;
SELECT * FROM inventory_lock.rebuild_stock(2, dry_run => false);
ROLLBACK;
SELECT on_hand FROM inventory_lock.stock(2);
SELECT pg_temp.gates();
-- a lock per location
UPDATE inventory_lock.binding SET lock_per_location = true;
UPDATE shop.stock_level SET on_hand = 3 WHERE variant_id = '1' AND location_id <> 'berlin';
SELECT location_id, rebuilt FROM inventory_lock.rebuild_stock(1, dry_run => false);
SELECT location_id, on_hand FROM inventory_lock.stock(1);
UPDATE inventory_lock.binding SET lock_per_location = false;
-- never below what the level may be: nothing is changed
INSERT INTO shop.stock_movement (variant_id, location_id, kind, delta, on_hand_after, reason, fence, protection)
    VALUES ('1', 'main', 'adjust', -5, 0, 'lost', 0, 'database');
UPDATE shop.stock_level SET on_hand = 50 WHERE variant_id = '1' AND location_id = 'aachen';
SELECT * FROM inventory_lock.rebuild_stock(1);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1, dry_run => false)$$);
SELECT location_id, on_hand FROM inventory_lock.stock(1);
UPDATE shop.stock_level SET backorder_limit = 5 WHERE variant_id = '1' AND location_id = 'main';
SELECT location_id, ledger, rebuilt FROM inventory_lock.rebuild_stock(1, dry_run => false);
SELECT location_id, on_hand FROM inventory_lock.stock(1);
-- a level whose row is gone stays gone
DELETE FROM shop.stock_level WHERE variant_id = '2';
SELECT * FROM inventory_lock.rebuild_stock(2, dry_run => false);
SELECT count(*) FROM inventory_lock.stock(2);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(3)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(3, dry_run => false)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(NULL::bigint)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1, NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1, binding => 'none')$$);
-- the caller's own privileges decide: a dry run reads only
DROP ROLE IF EXISTS il_auditor;
CREATE ROLE il_auditor;
GRANT USAGE ON SCHEMA shop TO il_auditor;
GRANT SELECT ON shop.stock_level, shop.stock_movement TO il_auditor;
SET ROLE il_auditor;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1, dry_run => false)$$);
RESET ROLE;
GRANT UPDATE (on_hand, version, fence, updated_at) ON shop.stock_level TO il_auditor;
GRANT INSERT ON shop.outbox TO il_auditor;
SET ROLE il_auditor;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.rebuild_stock(1, dry_run => false)$$);
RESET ROLE;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
DROP ROLE il_auditor;
