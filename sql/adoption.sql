-- What is there already is put to use only if nobody else can have code in it: also by superusers, whose
-- privileges that code would have.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop, own CASCADE;
DROP ROLE IF EXISTS il_mallory, il_shop;
CREATE EXTENSION inventory_lock;
CREATE ROLE il_mallory;
CREATE ROLE il_shop;
CREATE SCHEMA shop;
GRANT USAGE, CREATE ON SCHEMA shop TO il_mallory;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

-- the ledger's function
SET ROLE il_mallory;
CREATE FUNCTION shop.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
RESET ROLE;
SELECT pg_temp.try($$SELECT inventory_lock.create_tables()$$);
DROP FUNCTION IF EXISTS shop.refuse_change() CASCADE;
-- a table, which may have triggers
SET ROLE il_mallory;
CREATE TABLE shop.outbox (event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, position bigint UNIQUE, occurred_at timestamptz NOT NULL,
    kind text NOT NULL, variant_id text NOT NULL, location_id text NOT NULL, available_before bigint NOT NULL, available bigint NOT NULL);
CREATE FUNCTION shop.as_superuser() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'mallory runs as %', current_user; END$$;
CREATE TRIGGER trap BEFORE INSERT ON shop.outbox FOR EACH ROW EXECUTE FUNCTION shop.as_superuser();
RESET ROLE;
SELECT pg_temp.try($$SELECT inventory_lock.create_tables()$$);
SELECT count(*) FROM inventory_lock.binding;

-- an owner whom the caller chose by the schema
DROP FUNCTION IF EXISTS shop.as_superuser() CASCADE;
ALTER TABLE shop.outbox OWNER TO il_shop;
ALTER SCHEMA shop OWNER TO il_shop;
SET ROLE il_shop;
CREATE OR REPLACE FUNCTION shop.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
RESET ROLE;
SET client_min_messages = notice;
SELECT inventory_lock.create_tables();
-- what is bound stays so, whoever it is given to
ALTER TABLE shop.stock_level OWNER TO il_mallory;
SELECT inventory_lock.create_tables();
SET client_min_messages = error;
-- the function is as it should be, and still its owner's
SELECT pg_temp.try('DELETE FROM shop.stock_movement');
SELECT proowner::regrole FROM pg_proc WHERE oid = 'shop.refuse_change()'::regprocedure;
-- bound anew, they must be of a role that the superuser is a member of
SELECT inventory_lock.unbind('default');
SELECT pg_temp.try($$SELECT inventory_lock.create_tables()$$);
CREATE ROLE il_admin SUPERUSER IN ROLE il_mallory;
SET ROLE il_admin;
SELECT pg_temp.try($$SELECT inventory_lock.create_tables()$$);
RESET ROLE;

-- tables beside the caller's own, and a function that is left of one
CREATE SCHEMA own;
GRANT USAGE, CREATE ON SCHEMA own TO il_mallory;
CREATE TABLE own.goods (variant_id integer PRIMARY KEY, on_hand integer NOT NULL);
SET ROLE il_mallory;
CREATE TABLE own.goods_movement (variant_id integer, delta integer);
RESET ROLE;
SELECT pg_temp.try($$SELECT inventory_lock.bind('goods', 'own.goods')$$);
DROP TABLE own.goods_movement;
SET ROLE il_mallory;
CREATE FUNCTION own.goods_movement_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
RESET ROLE;
SELECT pg_temp.try($$SELECT inventory_lock.bind('goods', 'own.goods')$$);
ALTER FUNCTION own.goods_movement_refuse_change() OWNER TO il_admin;
SELECT pg_temp.try($$SELECT inventory_lock.bind('goods', 'own.goods')$$);
SELECT pg_temp.try('DELETE FROM own.goods_movement');
CREATE TABLE own.goods_outbox (LIKE shop.outbox);
ALTER TABLE own.goods_outbox OWNER TO il_mallory;
SELECT pg_temp.try($$SELECT inventory_lock.create_outbox('goods')$$);
-- who owns the stock table is trusted with what stands beside it
ALTER TABLE own.goods OWNER TO il_mallory;
SELECT pg_temp.try($$SELECT inventory_lock.create_outbox('goods')$$);
SELECT outbox, outbox_consumer FROM inventory_lock.binding WHERE name = 'goods';

DROP EXTENSION inventory_lock;
DROP SCHEMA shop, own CASCADE;
DROP ROLE il_mallory, il_shop, il_admin;
