-- Keys that have been used: by rows of somebody else's, by tables that keep little, by another request.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop, own CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
CREATE SCHEMA own;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10), ('2', 10);

-- orders that were there before the columns of this extension
CREATE TABLE own.level (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0), held integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0) WITH (fillfactor = 70);
CREATE TABLE own.sale (order_id serial PRIMARY KEY, user_id text NOT NULL, idempotency_key text NOT NULL, status text, data jsonb,
    request_fingerprint text, response jsonb, UNIQUE (user_id, idempotency_key));
CREATE TABLE own.sale_line (order_id integer NOT NULL, line_no integer NOT NULL, variant_id integer, quantity integer,
    cancelled integer NOT NULL DEFAULT 0, fulfilled integer NOT NULL DEFAULT 0, PRIMARY KEY (order_id, line_no));
CREATE TABLE own.movement (movement_id bigserial PRIMARY KEY, variant_id integer, delta integer, request_key text UNIQUE);
INSERT INTO own.level VALUES (1, 10);
INSERT INTO own.sale (user_id, idempotency_key) VALUES ('ann', 'old');
SELECT inventory_lock.bind('own', 'own.level', movement => 'own.movement', orders => 'own.sale', order_line => 'own.sale_line', create_missing => false);
CREATE FUNCTION pg_temp.place(key text) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.try(format('SELECT * FROM inventory_lock.place_order_locked(''ann'', %L, ''[{"variant_id": 1, "quantity": 1}]'', options => ''{"binding": "own"}'')', key))
$$;
SELECT pg_temp.place('old');
UPDATE own.sale SET request_fingerprint = 'x', response = '{}';
SELECT pg_temp.place('old');
UPDATE own.sale SET data = '{"a": 1}';
SELECT pg_temp.place('old');
-- JSON may be json
ALTER TABLE own.sale ALTER response TYPE json, ALTER data TYPE json;
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'new', '[{"variant_id": 1, "quantity": 1}]', options => '{"binding": "own"}');
SELECT status, replayed, lines -> 0 -> 'on_hand_after' AS on_hand_after FROM inventory_lock.place_order_locked('ann', 'new', '[{"variant_id": 1, "quantity": 1}]', options => '{"binding": "own"}');
-- but not text
ALTER TABLE own.sale ALTER response TYPE text;
SELECT severity, message FROM inventory_lock.check_binding('own') WHERE severity = 'error';
SELECT pg_temp.place('new');
ALTER TABLE own.sale ALTER response TYPE jsonb USING response::jsonb;

-- movements without a kind, a reason, a location, a reference: the rest is compared
SELECT replayed FROM inventory_lock.adjust_stock_locked(1, -1, request_key => 'r1', binding => 'own');
SELECT quantity_after, replayed FROM inventory_lock.adjust_stock_locked(1, -1, request_key => 'r1', binding => 'own');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(1, -2, request_key => 'r1', binding => 'own')$$);
SELECT on_hand FROM own.level;

-- a key of a cancellation that was about something else
SELECT status FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 4}, {"variant_id": 2, "quantity": 2}]');
CREATE FUNCTION pg_temp.cancel(lines text, key text) RETURNS text LANGUAGE sql AS
    $$SELECT pg_temp.try(format('SELECT * FROM inventory_lock.cancel_order_locked(1, %L, request_key => %L)', lines, key))$$;
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(1, '[{"variant_id": 1, "quantity": 1}]', request_key => 'c');
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(1, '[{"line_no": 1, "quantity": 1}]', request_key => 'c');
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(1, '[{"variant_id": 1}]', request_key => 'c');
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(1, request_key => 'c');
SELECT pg_temp.cancel('[{"variant_id": 1, "quantity": 2}]', 'c');
SELECT pg_temp.cancel('[{"variant_id": 2, "quantity": 1}]', 'c');
SELECT pg_temp.cancel('[{"variant_id": 1, "quantity": 1}, {"variant_id": 2, "quantity": 1}]', 'c');
SELECT pg_temp.cancel('[{"line_no": 2}]', 'c');
-- and of a return
SELECT shipped FROM inventory_lock.fulfil_order_locked(1);
SELECT received, replayed FROM inventory_lock.return_order_locked(1, '[{"variant_id": 2, "quantity": 1}]', request_key => 'c');
SELECT received, replayed FROM inventory_lock.return_order_locked(1, '[{"variant_id": 2, "quantity": 1}]', request_key => 'c');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(1, '[{"variant_id": 1, "quantity": 1}]', request_key => 'c')$$);
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY 1;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop, own CASCADE;
