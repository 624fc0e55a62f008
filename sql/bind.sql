-- Tables that exist already, put to use as they are.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS own CASCADE;
CREATE EXTENSION inventory_lock;
CREATE SCHEMA own;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

-- the smallest table there is: movements go beside it
CREATE TABLE own.products (id integer PRIMARY KEY, title text, stock integer NOT NULL);
INSERT INTO own.products VALUES (7, 'cup', 10), (8, 'plate', 10);
SET client_min_messages = notice;
SELECT inventory_lock.bind('small', 'own.products', variant_column => 'id', on_hand_column => 'stock');
SET client_min_messages = error;
SELECT variant_id, quantity_before, quantity_after, replayed FROM inventory_lock.adjust_stock_locked(7, -3, request_key => 'r1', binding => 'small');
SELECT variant_id, quantity_after, replayed FROM inventory_lock.adjust_stock_locked(7, -3, request_key => 'r1', binding => 'small');
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(8, 10, binding => 'small');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase(8, 1, binding => 'small')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, 2147483647, binding => 'small')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('cup', 1, binding => 'small')$$);
SELECT * FROM own.products ORDER BY id;
SELECT variant_id, location_id, kind, delta, on_hand_after, request_key FROM own.products_movement ORDER BY movement_id;
SELECT pg_typeof(variant_id) FROM own.products_movement LIMIT 1;
SELECT * FROM inventory_lock.verify_stock(binding => 'small');
SELECT pg_temp.try('DELETE FROM own.products_movement');
SELECT severity, table_name, message FROM inventory_lock.check_binding('small');
SELECT pg_temp.try($$SELECT inventory_lock.bind('small', 'own.products')$$);

-- nothing but movements is made beside it when that is asked for
CREATE TABLE own.bare (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0)) WITH (fillfactor = 70);
INSERT INTO own.bare VALUES (7, 3);
SET client_min_messages = notice;
SELECT inventory_lock.bind('bare', 'own.bare', create_missing => false);
SET client_min_messages = error;
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(7, 1, binding => 'bare');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": 7, "quantity": 1}]', options => '{"binding": "bare"}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('u', '[{"variant_id": 7, "quantity": 1}]', '1 min', binding => 'bare')$$);
SELECT inventory_lock.unbind('bare');

-- uuid ids, locations, other names, orders of one's own
CREATE TABLE own.inventory (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), variant uuid NOT NULL, warehouse integer NOT NULL,
    quantity_available bigint NOT NULL CHECK (quantity_available >= 0), quantity_reserved bigint NOT NULL DEFAULT 0,
    safety bigint NOT NULL DEFAULT 0, row_version bigint NOT NULL DEFAULT 0, row_fence bigint NOT NULL DEFAULT 0,
    UNIQUE (variant, warehouse)) WITH (fillfactor = 70);
CREATE TABLE own.adjustments (id bigserial PRIMARY KEY, item uuid NOT NULL, place integer NOT NULL, quantity_change bigint NOT NULL,
    reason text, adjusted_by text, notes text, after_change bigint);
CREATE TABLE own.sales (sale uuid PRIMARY KEY DEFAULT gen_random_uuid(), customer bigint NOT NULL, idem text NOT NULL, state text NOT NULL,
    payload jsonb NOT NULL, fingerprint text NOT NULL, answer jsonb NOT NULL, UNIQUE (customer, idem));
CREATE TABLE own.sale_items (sale uuid NOT NULL REFERENCES own.sales, pos integer NOT NULL, item uuid NOT NULL, place integer, qty bigint NOT NULL,
    undone bigint NOT NULL DEFAULT 0, shipped bigint NOT NULL DEFAULT 0, PRIMARY KEY (sale, pos));
INSERT INTO own.inventory (variant, warehouse, quantity_available) SELECT v::uuid, w, 10
    FROM unnest('{00000000-0000-0000-0000-00000000000a, 00000000-0000-0000-0000-00000000000b}'::text[]) v, generate_series(1, 2) w;
SET client_min_messages = notice;
SELECT inventory_lock.bind('large', 'own.inventory', 'own.adjustments', 'own.sales', 'own.sale_items',
    variant_column => 'variant', location_column => 'warehouse', on_hand_column => 'quantity_available',
    held_column => 'quantity_reserved', version_column => 'row_version', fence_column => 'row_fence',
    columns => '{"stock_level": {"safety_stock": "safety"},
        "movement": {"movement_id": "id", "variant_id": "item", "location_id": "place", "delta": "quantity_change", "actor": "adjusted_by", "note": "notes", "on_hand_after": "after_change"},
        "orders": {"order_id": "sale", "user_id": "customer", "idempotency_key": "idem", "status": "state", "data": "payload", "request_fingerprint": "fingerprint", "response": "answer"},
        "order_line": {"order_id": "sale", "line_no": "pos", "variant_id": "item", "location_id": "place", "quantity": "qty", "cancelled": "undone", "fulfilled": "shipped"}}');
SET client_min_messages = error;
SELECT * FROM inventory_lock.check_binding('large');
SELECT location_id, quantity_after, version, fence > 0 AS fenced FROM inventory_lock.adjust_stock_locked('00000000-0000-0000-0000-00000000000a'::uuid, 5, location_id => '2', actor => 'bea', note => 'found', binding => 'large');
SELECT location_id, quantity_after FROM inventory_lock.transfer_stock_locked('00000000-0000-0000-0000-00000000000a'::uuid, 4, '2', '1', binding => 'large');
SELECT status, replayed FROM inventory_lock.place_order_locked(12::bigint, 'k1', '[{"variant_id": "00000000-0000-0000-0000-00000000000a", "quantity": 2, "location_id": 1}, {"variant_id": "00000000-0000-0000-0000-00000000000b", "quantity": 10}]', options => '{"binding": "large"}');
SELECT status, replayed FROM inventory_lock.place_order_locked(12::bigint, 'k1', '[{"variant_id": "00000000-0000-0000-0000-00000000000a", "quantity": 2, "location_id": 1}, {"variant_id": "00000000-0000-0000-0000-00000000000b", "quantity": 10}]', options => '{"binding": "large"}');
SELECT status FROM own.sales s, inventory_lock.cancel_order_locked(s.sale::text, '[{"line_no": 2, "quantity": 4}]', binding => 'large');
SELECT right(variant::text, 1) AS variant, warehouse, quantity_available, row_version FROM own.inventory ORDER BY variant, warehouse;
SELECT pos, right(item::text, 1) AS item, place, qty, undone FROM own.sale_items ORDER BY pos;
SELECT right(item::text, 1) AS item, place, quantity_change, after_change, adjusted_by, notes FROM own.adjustments ORDER BY item, id;
SELECT count(*) FROM inventory_lock.verify_stock(binding => 'large') WHERE drift <> 0;
-- a writer from outside is judged by the rows of the binding
SELECT inventory_lock.assert_fence('inventory_lock:00000000-0000-0000-0000-00000000000b', 8000000000000001, 'large');
SELECT warehouse, row_fence FROM own.inventory WHERE right(variant::text, 1) = 'b' ORDER BY warehouse;
SELECT pg_temp.try($$SELECT inventory_lock.assert_fence('inventory_lock:00000000-0000-0000-0000-00000000000b', 8000000000000000, binding => 'large')$$);
SELECT pg_temp.try($$SELECT inventory_lock.assert_fence('inventory_lock:00000000-0000-0000-0000-00000000000b', 9000000000000000, binding => 'nowhere')$$);
SELECT count(*) FROM inventory_lock.fence;

-- numeric and partitioned
CREATE TABLE own.parts (sku varchar(20) NOT NULL PRIMARY KEY, amount numeric NOT NULL) PARTITION BY HASH (sku);
CREATE TABLE own.parts_0 PARTITION OF own.parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE own.parts_1 PARTITION OF own.parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO own.parts VALUES ('bolt', 5), ('nut', 6);
SELECT inventory_lock.bind('parts', 'own.parts', columns => '{"stock_level": {"variant_id": "sku", "on_hand": "amount"}}');
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_locked('bolt', -2, binding => 'parts');
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_locked('nut', -2, binding => 'parts');
SELECT * FROM own.parts ORDER BY sku;

-- ids of a domain, found by search_path alone
SET search_path = own, public;
CREATE DOMAIN sku AS varchar(20) CHECK (value <> '');
CREATE TABLE labels (id sku PRIMARY KEY, stock integer NOT NULL);
INSERT INTO labels VALUES ('tag', 5);
SELECT inventory_lock.bind('labels', 'labels', variant_column => 'id', on_hand_column => 'stock');
RESET search_path;
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_locked('tag', -2, binding => 'labels');
SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'own.labels_movement'::regclass AND attname = 'variant_id';
SELECT inventory_lock.unbind('labels');

-- what cannot be bound
CREATE VIEW own.a_view AS SELECT * FROM own.products;
CREATE TABLE own.no_key (variant_id text, on_hand bigint NOT NULL);
CREATE TABLE own.nullable (variant_id text UNIQUE, on_hand bigint NOT NULL);
CREATE TABLE own.floating (variant_id text PRIMARY KEY, on_hand float8 NOT NULL);
CREATE TABLE own.dates (variant_id date PRIMARY KEY, on_hand bigint NOT NULL);
CREATE TABLE own.two (variant_id text, location_id text, on_hand bigint, PRIMARY KEY (variant_id, location_id));
CREATE TABLE own.movement (variant_id text, delta bigint);
CREATE TABLE own.counted (variant_id integer PRIMARY KEY, on_hand bigint NOT NULL);
SELECT pg_temp.try(format($$SELECT inventory_lock.bind('x', %s)$$, arguments)) FROM unnest(ARRAY[
    $$'own.a_view', 'own.movement'$$,
    $$'own.products', 'own.movement'$$,
    $$'own.products'$$,
    $$'own.no_key', 'own.movement'$$,
    $$'own.nullable', 'own.movement'$$,
    $$'own.floating', 'own.movement'$$,
    $$'own.dates', 'own.movement'$$,
    $$'own.two', 'own.movement'$$,
    $$'own.two', 'own.movement', columns => '{"stock_level": {"location_id": null}}'$$,
    $$'own.two', 'own.movement', 'own.sales'$$,
    $$'own.counted', 'own.adjustments', columns => '{"movement": {"variant_id": "item", "delta": "quantity_change"}}'$$,
    $$NULL$$,
    $$'own.two', 'own.movement', columns => '[]'$$,
    $$'own.two', 'own.movement', columns => '{"stock": {}}'$$,
    $$'own.two', 'own.movement', columns => '{"stock_level": {"price": "p"}}'$$,
    $$'own.two', 'own.movement', columns => '{"stock_level": {"on_hand": 1}}'$$,
    $$'own.two', 'own.movement', columns => '{"stock_level": {"on_hand": "on_hand"}}', on_hand_column => 'held'$$]) arguments;
SELECT pg_temp.try($$SELECT inventory_lock.bind('', 'own.two', 'own.movement')$$);
SELECT name FROM inventory_lock.binding ORDER BY name;
SELECT to_regclass('own.two_movement');

-- only the owner, and only who may
CREATE ROLE binder;
GRANT USAGE ON SCHEMA own TO binder;
GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA own TO binder;
SET ROLE binder;
SELECT pg_temp.try($$SELECT inventory_lock.bind('x', 'own.products', 'own.movement')$$);
RESET ROLE;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA inventory_lock TO binder;
SET ROLE binder;
SELECT pg_temp.try($$SELECT inventory_lock.bind('x', 'own.products', 'own.movement')$$);
SELECT pg_temp.try($$SELECT inventory_lock.unbind('small')$$);
RESET ROLE;
DROP OWNED BY binder;
DROP ROLE binder;

-- a yes or no for backorders
CREATE TABLE own.books (isbn text PRIMARY KEY, copies smallint NOT NULL, backorderable boolean);
INSERT INTO own.books VALUES ('yes', 1, true), ('no', 1, false), ('unsaid', 1, NULL);
SELECT inventory_lock.bind('books', 'own.books', columns =>
    '{"stock_level": {"variant_id": "isbn", "on_hand": "copies", "backorder_limit": "backorderable"}}');
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('yes', -5, binding => 'books');
SELECT pg_temp.try($$SELECT inventory_lock.adjust_stock_locked('yes', -32765, binding => 'books')$$);
SELECT pg_temp.try($$SELECT inventory_lock.adjust_stock_locked('no', -2, binding => 'books')$$);
SELECT pg_temp.try($$SELECT inventory_lock.adjust_stock_locked('unsaid', -2, binding => 'books')$$);
SELECT status FROM inventory_lock.place_order_locked('ann', '1', '[{"variant_id": "yes", "quantity": 7}]', options => '{"binding": "books"}');
SELECT * FROM own.books ORDER BY isbn;
DROP TABLE own.books CASCADE;
SELECT inventory_lock.unbind('books');

-- what will hurt
CREATE INDEX ON own.products (stock);
CREATE FUNCTION own.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER every_row BEFORE UPDATE ON own.products FOR EACH ROW EXECUTE FUNCTION own.nothing();
CREATE TABLE own.reviews (product integer REFERENCES own.products);
SET inventory_lock.row_lock = 'update';
SELECT message FROM inventory_lock.check_binding('small') ORDER BY message COLLATE "C";
RESET inventory_lock.row_lock;

-- a bound table that goes away
DROP TABLE own.reviews, own.products CASCADE;
SELECT * FROM inventory_lock.check_binding('small');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, -3, binding => 'small')$$);
SELECT inventory_lock.unbind('small'), inventory_lock.unbind('small');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, -3, binding => 'small')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.check_binding('small')$$);
-- bound again after unbinding, with the movements that are there
SELECT inventory_lock.unbind('parts');
SELECT inventory_lock.bind('parts', 'own.parts', columns => '{"stock_level": {"variant_id": "sku", "on_hand": "amount"}}');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('nut', -1, binding => 'parts');
SELECT count(*) FROM own.parts_movement;
-- names that look like our own texts, or like the end of a name
SET client_min_messages = notice;
CREATE TABLE own."x@.orders (evil" (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0)) WITH (fillfactor = 70);
INSERT INTO own."x@.orders (evil" VALUES (7, 3);
SELECT inventory_lock.bind('evil', 'own."x@.orders (evil"');
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(7, 1, binding => 'evil');
CREATE TABLE own."order_id bigint reservation_held "";" (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0)) WITH (fillfactor = 70);
SELECT inventory_lock.bind('worse', 'own."order_id bigint reservation_held "";"', create_missing => false);
SET client_min_messages = error;
-- the tables are not the extension's
DROP EXTENSION inventory_lock;
SELECT count(*) FROM own.sale_items;
SELECT pg_temp.try('DELETE FROM own.parts_movement');
DROP SCHEMA own CASCADE;
