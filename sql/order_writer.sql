-- A function of the shop's own makes its orders; the tables beside the stock table remember the requests.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS own CASCADE;
CREATE EXTENSION inventory_lock;
CREATE SCHEMA own;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

CREATE TABLE own.products (id integer PRIMARY KEY, stock integer NOT NULL CHECK (stock >= 0)) WITH (fillfactor = 70);
INSERT INTO own.products VALUES (7, 10), (8, 10);
CREATE TABLE own.invoice (number bigint GENERATED ALWAYS AS IDENTITY (START 5001) PRIMARY KEY, customer text, gift boolean);
CREATE TABLE own.invoice_item (number bigint REFERENCES own.invoice, product integer REFERENCES own.products, pieces integer, price numeric);
CREATE FUNCTION own."place Order"(customer text, key text, lines jsonb, data jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    IF data->>'fail' IS NOT NULL THEN
        RAISE EXCEPTION 'credit card refused' USING ERRCODE = 'CC001';
    END IF;
    IF data->>'nothing' IS NOT NULL THEN
        RETURN NULL;
    END IF;
    IF data->>'ship' IS NOT NULL THEN
        UPDATE own.products SET stock = stock - 1 WHERE id = 8;
    END IF;
    IF data->>'hold' IS NOT NULL THEN
        PERFORM FROM inventory_lock.reserve_stock_locked('writer', '[{"variant_id": 8, "quantity": 1}]', '1 hour');
    END IF;
    INSERT INTO own.invoice (customer, gift) VALUES (customer, (data->>'gift')::boolean) RETURNING number INTO made;
    INSERT INTO own.invoice_item SELECT made, (l->>'variant_id')::integer, (l->>'quantity')::integer, (l->>'unit_price')::numeric FROM jsonb_array_elements(lines) l;
    RETURN made;
END $$;

-- what cannot write orders
CREATE FUNCTION own.no_lines(text, text) RETURNS text LANGUAGE sql AS 'SELECT 1::text';
CREATE FUNCTION own.no_id(text, text, jsonb, jsonb) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION own.many(text, text, jsonb, jsonb) RETURNS SETOF text LANGUAGE sql AS 'SELECT 1::text';
SELECT pg_temp.try(format($$SELECT inventory_lock.bind('x', 'own.products', variant_column => 'id', on_hand_column => 'stock', order_writer => %L)$$, f))
    FROM unnest('{own.no_lines(text\,text),own.no_id(text\,text\,jsonb\,jsonb),own.many(text\,text\,jsonb\,jsonb)}'::text[]) f;
CREATE TABLE own.other (id integer);
SELECT pg_temp.try($$SELECT inventory_lock.bind('x', 'own.products', orders => 'own.other', order_writer => 'own."place Order"(text, text, jsonb, jsonb)')$$);

-- what it needs is made also when nothing else is
SELECT inventory_lock.bind('bare', 'own.products', variant_column => 'id', on_hand_column => 'stock', create_missing => false,
    order_writer => 'own."place Order"(text, text, jsonb, jsonb)');
SELECT orders, order_line, reservation FROM inventory_lock.binding;
SELECT inventory_lock.unbind('bare');

SELECT inventory_lock.bind('default', 'own.products', variant_column => 'id', on_hand_column => 'stock', order_writer => 'own."place Order"(text, text, jsonb, jsonb)');
SELECT order_writer FROM inventory_lock.binding;
SELECT * FROM inventory_lock.check_binding();

-- once per key, and its id is the order's
SELECT order_id, status, replayed, total FROM inventory_lock.place_order_locked('anna', 'k1', '[{"variant_id": 7, "quantity": 2, "unit_price": 3}, {"variant_id": 8, "quantity": 1, "unit_price": 4}]', '{"gift": true}');
SELECT order_id, status, replayed, total FROM inventory_lock.place_order_locked('anna', 'k1', '[{"variant_id": 7, "quantity": 2, "unit_price": 3}, {"variant_id": 8, "quantity": 1, "unit_price": 4}]', '{"gift": true}');
SELECT * FROM own.invoice;
SELECT * FROM own.invoice_item ORDER BY product;
SELECT * FROM own.products ORDER BY id;
SELECT reference_id, variant_id, delta FROM own.products_movement ORDER BY variant_id;
-- it is not asked for what is refused, and what it refuses is undone
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k2', '[{"variant_id": 7, "quantity": 9}]')$$);
SELECT order_id ~ '^[0-9a-f-]{36}$' AS uuid, status, replayed FROM inventory_lock.place_order_locked('anna', 'k3', '[{"variant_id": 7, "quantity": 9}]', options => '{"on_failure": "record"}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k4', '[{"variant_id": 7, "quantity": 1}]', '{"fail": 1}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k5', '[{"variant_id": 7, "quantity": 1}]', '{"nothing": 1}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k5', '[{"variant_id": 8, "quantity": 1}]', '{"ship": 1}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k5', '[{"variant_id": 8, "quantity": 1}]', '{"hold": 1}')$$);
SELECT order_id, replayed FROM inventory_lock.place_order_locked('anna', 'k4', '[{"variant_id": 7, "quantity": 1}]');
-- it gets what the lines get, also out of a reservation
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('ben', '[{"variant_id": 7, "quantity": 5}]', '1 hour') \gset
SELECT order_id, status FROM inventory_lock.place_order_locked('ben', 'k1', '[{"variant_id": 7, "quantity": 20}]', options => jsonb_build_object('reservation_id', :'hold', 'partial', 'available'));
SELECT * FROM own.invoice_item WHERE number = (SELECT max(number) FROM own.invoice);
SELECT state, confirmed, order_id = (SELECT max(number)::text FROM own.invoice) AS same FROM own.products_reservation;
-- its orders are cancelled and fulfilled as others
SELECT status, restored FROM inventory_lock.cancel_order_locked(5001, '[{"variant_id": 7, "quantity": 1}]');
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation(8, 1, order_id => '5001');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation(8, 1, order_id => '5001')$$);
SELECT status, shipped FROM inventory_lock.fulfil_order_locked(5001);
SELECT variant_id, drift FROM inventory_lock.verify_stock();

-- who may call it, and when it is gone
CREATE ROLE clerk;
GRANT USAGE ON SCHEMA own TO clerk;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA own TO clerk;
REVOKE EXECUTE ON FUNCTION own."place Order" FROM PUBLIC;
SET ROLE clerk;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k6', '[{"variant_id": 8, "quantity": 1}]')$$);
RESET ROLE;
DROP OWNED BY clerk;
DROP ROLE clerk;
DROP FUNCTION own."place Order";
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('anna', 'k6', '[{"variant_id": 8, "quantity": 1}]')$$);
SELECT severity, table_name, message FROM inventory_lock.check_binding();
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(8, 1);
CREATE FUNCTION own."place Order"(text, text, jsonb, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'W-' || $2 $$;
SELECT order_id FROM inventory_lock.place_order_locked('anna', 'k6', '[{"variant_id": 8, "quantity": 1}]');
DROP EXTENSION inventory_lock;
DROP SCHEMA own CASCADE;
