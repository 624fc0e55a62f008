-- options.partial: an order that takes what there is.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10), ('2', 3), ('3', 0);
CREATE FUNCTION pg_temp.plain(lines jsonb) RETURNS jsonb LANGUAGE sql AS
    $$SELECT jsonb_agg(l - 'fence' - 'protection' - 'location_id' - 'on_hand_after') FROM jsonb_array_elements(lines) AS l$$;
SELECT status, total, pg_temp.plain(lines) AS lines, pg_temp.plain(response -> 'unserved') AS unserved
    FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 4, "unit_price": 2}, {"variant_id": 2, "quantity": 5, "unit_price": 10},
        {"variant_id": 3, "quantity": 1, "unit_price": 7}]', '{}', '{"partial": "available"}');
SELECT line_no, variant_id, quantity, unit_price FROM shop.order_line ORDER BY 1;
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY 1;
SELECT total, status FROM shop.orders;
-- the same request is answered as before, more stock or not
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', 5);
SELECT replayed, total, pg_temp.plain(lines) AS lines
    FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 4, "unit_price": 2}, {"variant_id": 2, "quantity": 5, "unit_price": 10},
        {"variant_id": 3, "quantity": 1, "unit_price": 7}]', '{}', '{"partial": "available"}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 4, "unit_price": 2}, {"variant_id": 2, "quantity": 3, "unit_price": 10},
        {"variant_id": 3, "quantity": 1, "unit_price": 7}]', '{}', '{"partial": "available"}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 4, "unit_price": 2}, {"variant_id": 2, "quantity": 5, "unit_price": 10},
        {"variant_id": 3, "quantity": 1, "unit_price": 7}]')$$);
-- one variant at two prices: the first lines are served first
SELECT total, pg_temp.plain(lines) AS lines, pg_temp.plain(response -> 'unserved') AS unserved
    FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 2, "quantity": 4, "unit_price": 1}, {"variant_id": 2, "quantity": 4, "unit_price": 2}]', '{}', '{"partial": "available"}');
SELECT total, pg_temp.plain(lines) AS lines, pg_temp.plain(response -> 'unserved') AS unserved
    FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 4, "unit_price": 1}, {"variant_id": 1, "quantity": 4, "unit_price": 2}]', '{}', '{"partial": "available"}');
-- nothing at all is a shortage; an unknown variant is a mistake
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 3, "quantity": 2}, {"variant_id": 1, "quantity": 1}]', '{}', '{"partial": "available"}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 9, "quantity": 2}]', '{}', '{"partial": "available"}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 9, "quantity": 2}]', '{}', '{"partial": "some"}')$$);
SELECT status, restored FROM inventory_lock.cancel_order_locked('1');
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY 1;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
