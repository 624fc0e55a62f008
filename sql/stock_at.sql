-- stock_at: what a level was, told by its movements.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES
    ('1', 'main', 10), ('1', 'aachen', 4), ('2', 'main', 7);
CREATE TEMP TABLE moment (name text PRIMARY KEY, at timestamptz);
CREATE FUNCTION pg_temp.at(moment text) RETURNS timestamptz LANGUAGE sql AS
    $$ SELECT m.at FROM moment m WHERE name = moment $$;
INSERT INTO moment VALUES ('before', clock_timestamp());
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(1, -3, location_id => 'main');
INSERT INTO moment VALUES ('one', clock_timestamp());
SELECT quantity_after FROM inventory_lock.set_stock_locked(1, 20, location_id => 'main');
SELECT location_id, quantity_after FROM inventory_lock.transfer_stock_locked(1, 4, 'aachen', 'main');
INSERT INTO moment VALUES ('two', clock_timestamp());
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(1, 24, location_id => 'main');
-- before the first movement, between them, and after the last one
SELECT m.name, s.* FROM moment m, inventory_lock.stock_at(1, m.at) s ORDER BY m.at, s.location_id;
SELECT s.* FROM inventory_lock.stock_at(1, clock_timestamp()) s;
SELECT s.* FROM inventory_lock.stock_at('1', '-infinity', 'main') s;
SELECT s.* FROM inventory_lock.stock_at('1', 'infinity', 'aachen') s;
-- the moment itself counts; a microsecond earlier does not
SELECT m.kind, earlier.on_hand AS earlier, then_.on_hand AS then_
    FROM shop.stock_movement m,
         inventory_lock.stock_at(m.variant_id, m.occurred_at, m.location_id) then_,
         inventory_lock.stock_at(m.variant_id, m.occurred_at - interval '1 microsecond', m.location_id) earlier
    ORDER BY m.movement_id;
-- each movement says the same itself
SELECT count(*) AS movements, count(*) FILTER (WHERE s.on_hand = m.on_hand_after) AS agree
    FROM shop.stock_movement m, inventory_lock.stock_at(m.variant_id, m.occurred_at, m.location_id) s;
-- a level without movements, a level whose row is gone, nothing at all
SELECT s.* FROM inventory_lock.stock_at(2, 'infinity') s;
DELETE FROM shop.stock_level WHERE location_id = 'aachen';
SELECT s.* FROM inventory_lock.stock_at(1, pg_temp.at('one')) s;
SELECT s.* FROM inventory_lock.stock_at(3, 'infinity') s;
SELECT s.* FROM inventory_lock.stock_at(1, 'infinity', 'ulm') s;
-- a change behind the extension's back is in no ledger
UPDATE shop.stock_level SET on_hand = 99 WHERE variant_id = '1';
SELECT s.* FROM inventory_lock.stock_at(1, clock_timestamp(), 'main') s;
-- reading only
BEGIN READ ONLY;
SELECT s.* FROM inventory_lock.stock_at(1, pg_temp.at('two'), 'main') s;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
COMMIT;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock_at(1, NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock_at(NULL::text, now())$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock_at('', now())$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock_at(1, now(), binding => 'none')$$);
-- the caller's own privileges decide
DROP ROLE IF EXISTS il_reader;
CREATE ROLE il_reader;
GRANT USAGE ON SCHEMA shop TO il_reader;
GRANT SELECT ON shop.stock_level TO il_reader;
SET ROLE il_reader;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock_at(1, now())$$);
RESET ROLE;
GRANT SELECT ON shop.stock_movement TO il_reader;
SET ROLE il_reader;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock_at(1, now())$$);
RESET ROLE;
-- an archived ledger: without its oldest movements it still agrees with the level, without others it does not
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('5', 100);
SELECT count(*) FROM generate_series(1, 5) n, inventory_lock.adjust_stock_locked('5', -n);
BEGIN;
ALTER TABLE shop.stock_movement DISABLE TRIGGER append_only;
DELETE FROM shop.stock_movement WHERE variant_id = '5' AND delta >= -2;
ALTER TABLE shop.stock_movement ENABLE TRIGGER append_only;
SELECT * FROM inventory_lock.verify_stock('5');
COMMIT;
SELECT on_hand FROM inventory_lock.stock_at('5', '-infinity');
BEGIN;
ALTER TABLE shop.stock_movement DISABLE TRIGGER append_only;
DELETE FROM shop.stock_movement WHERE variant_id = '5' AND delta = -4;
SELECT * FROM inventory_lock.verify_stock('5');
ROLLBACK;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
DROP ROLE il_reader;
