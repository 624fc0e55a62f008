-- What a schema lacks lives in tables beside its stock table: movements, holds, orders, idempotency.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS own CASCADE;
CREATE EXTENSION inventory_lock;
CREATE SCHEMA own;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

CREATE TABLE own.products (id integer PRIMARY KEY, stock integer NOT NULL CHECK (stock >= 0)) WITH (fillfactor = 70);
INSERT INTO own.products VALUES (7, 10), (8, 10);
SELECT inventory_lock.bind('default', 'own.products', variant_column => 'id', on_hand_column => 'stock');
SELECT * FROM inventory_lock.check_binding();

-- idempotency
SELECT status, replayed, total, jsonb_array_length(lines) AS lines FROM inventory_lock.place_order_locked('u1', 'k1', '[{"variant_id": 7, "quantity": 2, "unit_price": 1.5}, {"variant_id": 8, "quantity": 1}]');
SELECT status, replayed FROM inventory_lock.place_order_locked('u1', 'k1', '[{"variant_id": 8, "quantity": 1}, {"variant_id": 7, "quantity": 2, "unit_price": 1.50}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u1', 'k1', '[{"variant_id": 7, "quantity": 3}]')$$);
SELECT order_id ~ '^[0-9a-f-]{36}$' AS uuid, user_id, idempotency_key, status FROM own.products_orders;
SELECT pg_typeof(variant_id), variant_id, location_id, quantity, unit_price FROM own.products_order_line ORDER BY line_no;
-- an order of the shop's own, known by its movements only
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(8, 2, order_id => '1');
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation(8, 2, order_id => '1');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation(8, 1, order_id => '1')$$);
-- cancelled once, fulfilled, and no more
SELECT c.status, replayed, restored FROM own.products_orders o, inventory_lock.cancel_order_locked(o.order_id, '[{"line_no": 1, "quantity": 1}]', request_key => 'c1') c;
SELECT c.status, replayed, restored FROM own.products_orders o, inventory_lock.cancel_order_locked(o.order_id, '[{"line_no": 1, "quantity": 1}]', request_key => 'c1') c;
SELECT f.status, shipped FROM own.products_orders o, inventory_lock.fulfil_order_locked(o.order_id) f;
SELECT pg_temp.try(format($$SELECT * FROM inventory_lock.cancel_order_locked(%L, '[{"line_no": 2, "quantity": 1}]')$$, order_id)) FROM own.products_orders;

-- holds are counted in the reservations themselves
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', '[{"variant_id": 7, "quantity": 6}]', '1 hour') \gset
SELECT on_hand, held, available FROM inventory_lock.stock(7);
SELECT stock FROM own.products WHERE id = 7;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase(7, 4)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u2', 'k2', '[{"variant_id": 7, "quantity": 4}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('ben', '[{"variant_id": 7, "quantity": 4}]', '1 hour')$$);
SELECT quantity_after, available FROM inventory_lock.decrement_stock_on_purchase(7, 3);
-- the holder's own hold does not stand in his way
SELECT status FROM inventory_lock.place_order_locked('anna', 'k3', '[{"variant_id": 7, "quantity": 4}]', options => jsonb_build_object('reservation_id', :'hold'));
SELECT on_hand, held, available FROM inventory_lock.stock(7);
SELECT state, confirmed FROM own.products_reservation;
SELECT pg_temp.try(format($$SELECT * FROM inventory_lock.release_reservation(%L)$$, :'hold'));
-- confirmed in part, released, expired
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', '[{"variant_id": 8, "quantity": 5}]', '1 hour') \gset
SELECT state FROM inventory_lock.confirm_reservation(:'hold', '[{"line_no": 1, "quantity": 2}]');
SELECT on_hand, held FROM inventory_lock.stock(8);
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', '[{"variant_id": 8, "quantity": 5}]', '1 hour') \gset
SELECT state FROM inventory_lock.release_reservation(:'hold');
SELECT on_hand, held FROM inventory_lock.stock(8);
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', '[{"variant_id": 8, "quantity": 5}]', '1 hour') \gset
UPDATE own.products_reservation SET expires_at = now() WHERE state = 'held';
SELECT on_hand, held FROM inventory_lock.stock(8);
SELECT quantity_after, available FROM inventory_lock.decrement_stock_on_purchase(8, 7);
SELECT state, count(*) FROM own.products_reservation GROUP BY 1 ORDER BY 1;
SELECT kind, delta, on_hand_after, reason FROM own.products_movement WHERE variant_id = 8 ORDER BY movement_id;
SELECT variant_id, drift FROM inventory_lock.verify_stock();

-- the fence of a level is that of its last movement
SELECT s.fence = m.fence AND s.fence > 0 AS same FROM inventory_lock.stock(7) s, (SELECT fence FROM own.products_movement WHERE variant_id = 7 ORDER BY movement_id DESC LIMIT 1) m;
SELECT a.fence > s.fence AS grown FROM inventory_lock.stock(7) s, inventory_lock.adjust_stock_locked(7, 1) a;
SELECT pg_temp.try($$SELECT inventory_lock.assert_fence('inventory_lock:7', 1)$$) ~ 'IL011: lock "inventory_lock:7" has been given to somebody since' AS refused;

-- what an application needs
CREATE ROLE clerk;
GRANT USAGE ON SCHEMA own TO clerk;
GRANT SELECT, UPDATE ON own.products TO clerk;
GRANT SELECT, INSERT ON own.products_movement TO clerk;
SET ROLE clerk;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, 1)$$);
RESET ROLE;
GRANT SELECT ON own.products_reservation TO clerk;
SET ROLE clerk;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, 1)$$);
RESET ROLE;
ALTER TABLE own.products_reservation ENABLE ROW LEVEL SECURITY;
SET ROLE clerk;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, 1)$$);
RESET ROLE;
DROP OWNED BY clerk;
DROP ROLE clerk;

-- ids of other types, and locations
CREATE TABLE own.shelf (sku varchar(10) NOT NULL, shelf smallint NOT NULL, amount numeric NOT NULL CHECK (amount >= 0), PRIMARY KEY (sku, shelf)) WITH (fillfactor = 70);
INSERT INTO own.shelf VALUES ('nut', 1, 5), ('nut', 2, 5);
SELECT inventory_lock.bind('shelves', 'own.shelf', variant_column => 'sku', location_column => 'shelf', on_hand_column => 'amount');
SELECT lines FROM inventory_lock.reserve_stock_locked('anna', '[{"variant_id": "nut", "quantity": 4, "location_id": "2"}]', '1 hour', binding => 'shelves');
SELECT location_id, on_hand, held, available FROM inventory_lock.stock('nut', binding => 'shelves');
SELECT location_id, quantity_after FROM inventory_lock.decrement_stock_on_purchase('nut', 2, binding => 'shelves');
SELECT status, lines->0->>'location_id' AS location FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": "nut", "quantity": 3}]', options => '{"binding": "shelves"}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('nut', 2, binding => 'shelves')$$);
SELECT DISTINCT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'own' AND table_name LIKE 'shelf\_%' AND column_name IN ('variant_id', 'location_id') ORDER BY 1, 2;
SELECT variant_id, location_id, drift FROM inventory_lock.verify_stock(binding => 'shelves');

-- all of it stays
DROP EXTENSION inventory_lock;
SELECT count(*) FROM own.products_orders;
DROP SCHEMA own CASCADE;
