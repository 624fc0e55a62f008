-- place_order_locked: all lines or none, every shortage at once.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

INSERT INTO shop.stock_level (variant_id, on_hand) SELECT n::text, 10 FROM generate_series(1, 500) AS n;
SELECT order_id, status, replayed, total, fence > 0 AS fenced, protection IN ('redis', 'database') AS protected, sqlstate,
       created_at IS NOT NULL AS dated
    FROM inventory_lock.place_order_locked(7, 'first', '[{"variant_id": 2, "quantity": 3, "unit_price": 9.90},
        {"variant_id": "10", "quantity": 1, "unit_price": 0.10}]', '{"currency": "EUR", "note": "ring twice"}');
SELECT order_id, user_id, idempotency_key, status, total, currency, data FROM shop.orders;
SELECT line_no, variant_id, location_id, quantity, unit_price, cancelled, fulfilled FROM shop.order_line ORDER BY 1;
SELECT variant_id, kind, delta, on_hand_after, reason, reference_type, reference_id FROM shop.stock_movement ORDER BY 1;
-- bigint, uuid and text users
SELECT status FROM inventory_lock.place_order_locked('6f1c7cc0-0000-4000-8000-000000000001'::uuid, 'first', '[{"variant_id": 2, "quantity": 1}]');
SELECT status, total FROM inventory_lock.place_order_locked('ann', 'first', '[{"variant_id": 2, "quantity": 1}]');
-- lines of one variant are one demand; of one price, one row
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'second',
    '[{"variant_id": 5, "quantity": 6}, {"variant_id": 5, "quantity": 5}]')$$);
SELECT status, (SELECT jsonb_agg(l - 'fence' - 'protection') FROM jsonb_array_elements(lines) AS l) AS lines
    FROM inventory_lock.place_order_locked('ann', 'second', '[{"variant_id": 5, "quantity": 2, "unit_price": 1.0},
        {"variant_id": 5, "quantity": 3, "unit_price": 2}, {"variant_id": "5", "quantity": 1, "unit_price": 1}]');
SELECT on_hand FROM shop.stock_level WHERE variant_id = '5';
-- every shortage at once, and nothing is taken
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'third',
    '[{"variant_id": 7, "quantity": 11}, {"variant_id": 6, "quantity": 10}, {"variant_id": 8, "quantity": 99}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'third',
    '[{"variant_id": 7, "quantity": 11}, {"variant_id": "none", "quantity": 1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'third',
    '[{"variant_id": "nobody", "quantity": 11}, {"variant_id": "none", "quantity": 1}]')$$);
SELECT count(*) FROM shop.orders WHERE idempotency_key = 'third';
SELECT sum(on_hand) FROM shop.stock_level WHERE variant_id IN ('6', '7', '8');
-- a failure can be kept: it is the answer from then on
SELECT order_id IS NOT NULL AS kept, status, replayed, total, sqlstate, response -> 'detail' AS detail
    FROM inventory_lock.place_order_locked('ann', 'fourth', '[{"variant_id": 7, "quantity": 11, "unit_price": 2}]', '{}', '{"on_failure": "record"}');
UPDATE shop.stock_level SET on_hand = 100 WHERE variant_id = '7';
SELECT status, replayed, sqlstate FROM inventory_lock.place_order_locked('ann', 'fourth', '[{"variant_id": 7, "quantity": 11, "unit_price": 2}]');
SELECT status, sqlstate FROM inventory_lock.place_order_locked('ann', 'fifth', '[{"variant_id": "none", "quantity": 11}]', '{}', '{"on_failure": "record"}');
SELECT on_hand FROM shop.stock_level WHERE variant_id = '7';
-- 500 lines
SELECT status, jsonb_array_length(lines) FROM inventory_lock.place_order_locked('bob', 'all',
    (SELECT jsonb_agg(jsonb_build_object('variant_id', n, 'quantity', 1, 'unit_price', 0.01)) FROM generate_series(500, 1, -1) AS n));
SELECT count(*), sum(quantity) FROM shop.order_line JOIN shop.orders USING (order_id) WHERE user_id = 'bob';
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
SELECT total FROM shop.orders WHERE user_id = 'bob';
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
