-- Units on hold where tables, policies and privileges are not those of create_tables.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop, own CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
CREATE SCHEMA own;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS
    $$SELECT reservation_id::text FROM shop.reservation WHERE holder = name ORDER BY created_at DESC LIMIT 1$$;
CREATE FUNCTION pg_temp.expire(name text) RETURNS void LANGUAGE sql AS
    $$UPDATE shop.reservation SET expires_at = now() - interval '1 second' WHERE holder = name$$;
CREATE FUNCTION pg_temp.reserve(name text, variant text, quantity int) RETURNS text LANGUAGE sql AS $$
    SELECT state FROM inventory_lock.reserve_stock_locked(name, jsonb_build_array(jsonb_build_object('variant_id', variant, 'quantity', quantity)), '1 hour')
$$;

-- a count that can be NULL is 0
CREATE TABLE own.level (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0), held integer);
INSERT INTO own.level VALUES (1, 5, NULL);
SELECT inventory_lock.bind('own', 'own.level');
SELECT state FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": 1, "quantity": 2}]', '1 hour', binding => 'own');
SELECT on_hand, held FROM own.level;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('bob', '[{"variant_id": 1, "quantity": 4}]', '1 hour', binding => 'own')$$);

-- what has expired binds nobody: in bulk changes and transfers too
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('w', 'main', 5), ('w', 'b', 0), ('x', 'main', 5), ('y', 'main', 5);
SELECT pg_temp.reserve('ann', v, 5) FROM unnest('{w,x,y}'::text[]) v;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "x", "delta": -3}, {"variant_id": "x", "delta": -2}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.transfer_stock_locked('w', 5, 'main', 'b')$$);
SELECT pg_temp.expire('ann');
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "x", "delta": -3}, {"variant_id": "x", "delta": -2}]');
SELECT location_id, quantity_after FROM inventory_lock.transfer_stock_locked('w', 5, 'main', 'b');
SELECT variant_id, on_hand, held FROM shop.stock_level ORDER BY 1, location_id;
SELECT variant_id, state FROM shop.reservation ORDER BY 1;

-- a reservation of one's own where orders may be endless
INSERT INTO shop.stock_level (variant_id, on_hand, backorder_limit) VALUES ('endless', 10, 9223372036854775807);
SELECT pg_temp.reserve('eve', 'endless', 1);
SELECT status FROM inventory_lock.place_order_locked('eve', 'k', '[{"variant_id": "endless", "quantity": 1}]', '{}', jsonb_build_object('reservation_id', pg_temp.hold('eve')));

-- what an extension is protected by
SELECT pg_temp.reserve('fay', 'endless', 1);
SELECT e.protection = s.protection AS same FROM inventory_lock.extend_reservation(pg_temp.hold('fay'), '2 hours') e, inventory_lock.adjust_stock_locked('endless', 1) s;

-- who may read reservations and not write them sees what has expired; who may not write them cannot end them
DROP ROLE IF EXISTS il_clerk;
CREATE ROLE il_clerk;
GRANT USAGE ON SCHEMA shop TO il_clerk;
GRANT SELECT, UPDATE ON shop.stock_level TO il_clerk;
GRANT SELECT, INSERT ON shop.stock_movement TO il_clerk;
GRANT SELECT, INSERT ON shop.outbox TO il_clerk;
GRANT SELECT ON shop.reservation TO il_clerk;
SET ROLE il_clerk;
SELECT available FROM inventory_lock.stock('y');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('y', 1)$$);
RESET ROLE;

-- with policies: only what the caller may change is ended, and once
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('z', 10);
SELECT pg_temp.reserve('il_other', 'z', 4);
SELECT pg_temp.expire('il_other');
SELECT pg_temp.reserve('cid', 'z', 4);
GRANT UPDATE, INSERT ON shop.reservation TO il_clerk;
ALTER TABLE shop.reservation ENABLE ROW LEVEL SECURITY;
CREATE POLICY r ON shop.reservation FOR SELECT USING (true);
CREATE POLICY u ON shop.reservation FOR UPDATE USING (holder = current_user);
SET ROLE il_clerk;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('z', 6)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('z', 4)$$);
RESET ROLE;
SELECT on_hand, held FROM shop.stock_level WHERE variant_id = 'z';
ALTER TABLE shop.reservation DISABLE ROW LEVEL SECURITY;
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('z', 6);
-- and a trigger that refuses is told
CREATE FUNCTION own.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER refuse BEFORE UPDATE ON shop.reservation FOR EACH ROW EXECUTE FUNCTION own.refuse();
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.release_reservation(%L)', pg_temp.hold('cid')));
DROP TRIGGER refuse ON shop.reservation;
SELECT state FROM inventory_lock.confirm_reservation(pg_temp.hold('cid'));
SELECT on_hand, held FROM shop.stock_level WHERE variant_id = 'z';

-- a table without a count, and a caller with privileges on columns alone
CREATE TABLE own.p (variant_id text PRIMARY KEY, stock integer NOT NULL CHECK (stock >= 0));
INSERT INTO own.p VALUES ('a', 10);
SELECT inventory_lock.bind('p', 'own.p', on_hand_column => 'stock');
GRANT USAGE ON SCHEMA own TO il_clerk;
GRANT SELECT, UPDATE (stock) ON own.p TO il_clerk;
GRANT SELECT, INSERT, UPDATE ON own.p_movement, own.p_orders, own.p_order_line, own.p_reservation TO il_clerk;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA own TO il_clerk;
SET ROLE il_clerk;
SELECT state FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": "a", "quantity": 2}]', '1 hour', binding => 'p');
SELECT status FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": "a", "quantity": 2}]', '{}',
    jsonb_build_object('binding', 'p', 'reservation_id', (SELECT reservation_id FROM own.p_reservation)));
RESET ROLE;
SELECT stock FROM own.p;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop, own CASCADE;
DROP ROLE il_clerk;
