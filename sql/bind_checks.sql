-- What bind says about tables that work badly, and functions of the ledger over bound tables.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS own CASCADE;
CREATE EXTENSION inventory_lock;
CREATE SCHEMA own;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

CREATE TABLE own.level (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0), held integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0) WITH (fillfactor = 70);
INSERT INTO own.level VALUES (7, 10), (8, 10);
CREATE TABLE own.sale (order_id serial PRIMARY KEY, user_id text, idempotency_key text, status text, data jsonb, request_fingerprint text, response jsonb);
ALTER TABLE own.sale ALTER user_id SET NOT NULL, ALTER idempotency_key SET NOT NULL, ADD UNIQUE (user_id, idempotency_key);
CREATE TABLE own.sale_line (order_id integer NOT NULL, line_no integer NOT NULL, variant_id integer, quantity integer, cancelled integer,
    fulfilled integer NOT NULL DEFAULT 0, PRIMARY KEY (order_id, line_no));
CREATE TABLE own.hold (reservation_id uuid NOT NULL, line_no integer NOT NULL, holder text, variant_id integer, quantity integer,
    confirmed text NOT NULL DEFAULT '0', state text, expires_at timestamptz, PRIMARY KEY (reservation_id, line_no));

-- numbers that are added to begin at 0 and are never NULL
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line', reservation => 'own.hold')$$);
ALTER TABLE own.sale_line ALTER cancelled SET NOT NULL;
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line', reservation => 'own.hold')$$);
ALTER TABLE own.sale_line ALTER cancelled TYPE float8;
ALTER TABLE own.sale_line ALTER cancelled SET DEFAULT 0;
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line', reservation => 'own.hold')$$);
ALTER TABLE own.sale_line ALTER cancelled TYPE smallint, ALTER cancelled DROP NOT NULL;
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line')$$);
ALTER TABLE own.sale_line ALTER cancelled SET NOT NULL;
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line', reservation => 'own.hold')$$);
ALTER TABLE own.hold ALTER confirmed DROP DEFAULT, ALTER confirmed TYPE integer USING 0, ALTER confirmed SET DEFAULT 0;

-- a column that is computed cannot be written, but read; from 18 on it need not be stored
SELECT CASE WHEN current_setting('server_version_num')::integer < 180000 THEN 'STORED' ELSE 'VIRTUAL' END AS kept,
    current_setting('server_version_num')::integer >= 180000 AS since_18 \gset
CREATE TABLE own.computed (variant_id integer PRIMARY KEY, arrived integer NOT NULL, sold integer NOT NULL DEFAULT 0,
    on_hand integer NOT NULL GENERATED ALWAYS AS (arrived - sold) STORED, version bigint GENERATED ALWAYS AS (sold * 2) :kept,
    low_stock_threshold integer GENERATED ALWAYS AS (sold / 10) :kept, safety_stock integer GENERATED ALWAYS AS (variant_id % 10) :kept);
SELECT pg_temp.try($$SELECT inventory_lock.bind('computed', 'own.computed')$$);
ALTER TABLE own.computed ALTER on_hand DROP EXPRESSION;
SELECT pg_temp.try($$SELECT inventory_lock.bind('computed', 'own.computed')$$);
SELECT inventory_lock.bind('computed', 'own.computed', columns => '{"stock_level": {"version": null}}');
INSERT INTO own.computed (variant_id, arrived, sold, on_hand) VALUES (101, 90, 40, 50);
SELECT variant_id, on_hand FROM inventory_lock.stock(101, binding => 'computed');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase(101, 50, binding => 'computed')$$);
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(101, 47, binding => 'computed');
SELECT on_hand, safety_stock, low_stock_threshold FROM own.computed;
SELECT inventory_lock.unbind('computed');
CREATE TABLE own.numbered (order_id integer NOT NULL, line_no integer GENERATED ALWAYS AS IDENTITY, variant_id integer, quantity integer,
    cancelled integer NOT NULL DEFAULT 0, fulfilled integer NOT NULL DEFAULT 0, UNIQUE (order_id, line_no));
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.numbered')$$);

-- a column is not free of NULL while its constraint is not validated, and a CHECK that is not enforced keeps nothing out
CREATE TABLE own.loose (variant_id integer PRIMARY KEY, on_hand integer, fence bigint NOT NULL DEFAULT 0) WITH (fillfactor = 70);
INSERT INTO own.loose VALUES (1, NULL);
\if :since_18
ALTER TABLE own.loose ADD CONSTRAINT filled NOT NULL on_hand NOT VALID;
ALTER TABLE own.loose ADD CHECK (on_hand >= 0) NOT ENFORCED;
\endif
SELECT pg_temp.try($$SELECT inventory_lock.bind('loose', 'own.loose', create_missing => false)$$);
UPDATE own.loose SET on_hand = 1;
ALTER TABLE own.loose ALTER on_hand SET NOT NULL;
SELECT inventory_lock.bind('loose', 'own.loose');
SELECT severity, message FROM inventory_lock.check_binding('loose');
SELECT inventory_lock.unbind('loose');

-- orders have lines
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale')$$);
SELECT pg_temp.try($$SELECT inventory_lock.bind('shop', 'own.level', order_line => 'own.sale_line')$$);

-- a table that a crash empties; movements that were there before
ALTER TABLE own.hold SET UNLOGGED;
SET client_min_messages = notice;
SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line', reservation => 'own.hold');
SELECT inventory_lock.unbind('shop');
SELECT inventory_lock.bind('shop', 'own.level', orders => 'own.sale', order_line => 'own.sale_line', reservation => 'own.hold');
SET client_min_messages = error;
SELECT severity, table_name, message, hint FROM inventory_lock.check_binding('shop');
CREATE TEMP TABLE level (variant_id integer PRIMARY KEY, on_hand integer NOT NULL);
SELECT pg_temp.try($$SELECT inventory_lock.bind('temporary', 'pg_temp.level', 'own.level_movement')$$) ~ 'IL051: .* a temporary table is seen by one session only' AS refused;

-- movements whose ids do not grow, and no place for a fence
CREATE TABLE own.log (movement_id uuid DEFAULT gen_random_uuid(), variant_id integer, delta integer);
CREATE TABLE own.bare (variant_id integer PRIMARY KEY, on_hand integer NOT NULL CHECK (on_hand >= 0)) WITH (fillfactor = 70);
SELECT inventory_lock.bind('logged', 'own.bare', 'own.log', create_missing => false);
SELECT severity, table_name, message, hint FROM inventory_lock.check_binding('logged');
SELECT inventory_lock.unbind('logged');

-- rows that are marked as deleted, and an index over the others
CREATE TABLE own.item (variant_id integer NOT NULL, place integer NOT NULL, on_hand integer NOT NULL, deleted_at timestamptz) WITH (fillfactor = 70);
CREATE UNIQUE INDEX item_key ON own.item (variant_id, place) WHERE place > 0;
SELECT pg_temp.try($$SELECT inventory_lock.bind('items', 'own.item', location_column => 'place')$$);
DROP INDEX own.item_key;
CREATE UNIQUE INDEX item_key ON own.item (variant_id, place) WHERE deleted_at IS NULL;
SELECT pg_temp.try($$SELECT inventory_lock.bind('items', 'own.item', location_column => 'place', columns => '{"stock_level": {"deleted_at": null}}')$$);
SELECT inventory_lock.bind('items', 'own.item', location_column => 'place');
INSERT INTO own.item VALUES (1, 1, 50, now()), (1, 1, 5, NULL), (1, 2, 50, now());
SELECT location_id, on_hand FROM inventory_lock.stock(1, binding => 'items');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase(1, 6, binding => 'items')$$);
SELECT location_id, quantity_after FROM inventory_lock.decrement_stock_on_purchase(1, 5, binding => 'items');
SELECT place, on_hand, deleted_at IS NOT NULL AS deleted FROM own.item ORDER BY place, on_hand;
SELECT * FROM inventory_lock.verify_stock(binding => 'items');
SELECT inventory_lock.unbind('items');

-- the ledger of bound tables
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_locked(7, -3, binding => 'shop');
SELECT clock_timestamp() AS then \gset
SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_locked(7, 5, binding => 'shop');
SELECT * FROM inventory_lock.stock_at(7, :'then', binding => 'shop');
SELECT * FROM inventory_lock.stock_at(7, '-infinity', binding => 'shop');
UPDATE own.level SET on_hand = 99 WHERE variant_id = 7;
SELECT * FROM inventory_lock.verify_stock(binding => 'shop');
SELECT * FROM inventory_lock.rebuild_stock(7, binding => 'shop');
SELECT * FROM inventory_lock.rebuild_stock(7, dry_run => false, binding => 'shop');
SELECT variant_id, on_hand, fence > 0 AS fenced FROM own.level ORDER BY 1;
SELECT * FROM inventory_lock.verify_stock('7', binding => 'shop');

-- any of the bound tables may go away
BEGIN;
DROP TABLE own.level_movement;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, 1, binding => 'shop')$$);
ROLLBACK;
BEGIN;
DROP TABLE own.sale_line;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": 7, "quantity": 1}]', options => '{"binding": "shop"}')$$);
ROLLBACK;
BEGIN;
DROP TABLE own.hold;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('u', '[{"variant_id": 7, "quantity": 1}]', '1 min', binding => 'shop')$$);
ROLLBACK;
BEGIN;
ALTER TABLE own.level DROP COLUMN on_hand;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock(7, binding => 'shop')$$);
ROLLBACK;
SELECT status FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": 7, "quantity": 1}]', options => '{"binding": "shop"}');
DROP TABLE own.level CASCADE;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.stock(7, binding => 'shop')$$);
SELECT * FROM inventory_lock.check_binding('shop');
DROP EXTENSION inventory_lock;
DROP SCHEMA own CASCADE;
