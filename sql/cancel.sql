-- cancel_order_locked and increment_stock_on_cancellation: stock comes back exactly once.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql

INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 100), ('2', 100), ('3', 100);
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 5}, {"variant_id": 2, "quantity": 6}]');
SELECT order_id, status, replayed, restored, lines, fence > 0 AS fenced, protection IN ('redis', 'database') AS protected
    FROM inventory_lock.cancel_order_locked(1);
SELECT order_id, status, replayed, restored FROM inventory_lock.cancel_order_locked('1');
SELECT order_id, status, replayed, restored FROM inventory_lock.cancel_order_locked('1', request_key => 'again');
SELECT variant_id, on_hand FROM shop.stock_level ORDER BY 1;
SELECT variant_id, kind, delta, reason, reference_type, reference_id FROM shop.stock_movement WHERE kind = 'cancel' ORDER BY 1;
-- by line, by variant, in part
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 5, "unit_price": 1},
    {"variant_id": 1, "quantity": 2, "unit_price": 2}, {"variant_id": 2, "quantity": 6}]');
SELECT status, restored FROM inventory_lock.cancel_order_locked('2', '[{"line_no": 3, "quantity": 2}]', 'changed mind');
SELECT status, restored, lines FROM inventory_lock.cancel_order_locked('2', '[{"variant_id": 1, "quantity": 6}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('2', '[{"variant_id": 1, "quantity": 2}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('2', '[{"variant_id": 1}, {"variant_id": 3, "quantity": 1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('2', '[{"line_no": 3, "quantity": 3}, {"line_no": 3, "quantity": 2}]')$$);
-- a request_key makes a part repeatable
SELECT status, replayed, restored FROM inventory_lock.cancel_order_locked('2', '[{"line_no": 3, "quantity": 1}]', request_key => 'r1');
SELECT status, replayed, restored FROM inventory_lock.cancel_order_locked('2', '[{"line_no": 3, "quantity": 1}]', request_key => 'r1');
SELECT status, replayed, restored FROM inventory_lock.cancel_order_locked('2');
SELECT line_no, quantity, cancelled FROM shop.order_line WHERE order_id = 2 ORDER BY 1;
-- what has been fulfilled stays sold
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 5}]');
UPDATE shop.order_line SET fulfilled = 2 WHERE order_id = 3;
SELECT status, replayed, restored FROM inventory_lock.cancel_order_locked('3');
SELECT status, replayed, restored FROM inventory_lock.cancel_order_locked('3');
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 1, "quantity": 5}]');
UPDATE shop.order_line SET fulfilled = 5 WHERE order_id = 4;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('4')$$);
-- what cannot be cancelled
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('99')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('ninety')$$);
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": 1, "quantity": 500}]', '{}', '{"on_failure": "record"}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('5')$$);
-- one variant of an order at a time
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k6', '[{"variant_id": 3, "quantity": 5}, {"variant_id": 2, "quantity": 1}]');
SELECT quantity_before, delta, quantity_after FROM inventory_lock.increment_stock_on_cancellation('3', 3, '6');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation('3', 3, '6')$$);
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation(3, 2, '6');
SELECT status FROM shop.orders WHERE order_id = 6;
SELECT status, restored FROM inventory_lock.cancel_order_locked('6');
-- orders that are kept elsewhere: their movements say what they hold
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('3', 4, 'web-17');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation('3', 5, 'web-17')$$);
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation('3', 3, 'web-17');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation('3', 2, 'web-17')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation('2', 1, 'web-17')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation('3', 1, 'web-18')$$);
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('3', 'aachen', 1);
SELECT location_id, quantity_after FROM inventory_lock.increment_stock_on_cancellation('3', 1, 'web-17');
-- an order's number as large as its column takes
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('many', 10);
ALTER TABLE shop.orders ALTER order_id RESTART WITH 9223372036854775807;
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k7', '[{"variant_id": "many", "quantity": 5}]');
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation('many', 5, '9223372036854775807');
SELECT restored FROM inventory_lock.cancel_order_locked(9223372036854775807);
SELECT on_hand FROM shop.stock_level WHERE variant_id = 'many';
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
SELECT bool_and(cancelled + fulfilled <= quantity) FROM shop.order_line;
-- ids of lines are those of the stock table, however they are written
CREATE TABLE shop.article (variant_id uuid NOT NULL, location_id integer NOT NULL, on_hand integer NOT NULL CHECK (on_hand >= 0), held integer NOT NULL DEFAULT 0,
    fence bigint NOT NULL DEFAULT 0, PRIMARY KEY (variant_id, location_id));
INSERT INTO shop.article VALUES ('aaaaaaaa-bbbb-1ccc-8ddd-eeeeeeeeeeee', 1, 5), ('aaaaaaaa-bbbb-1ccc-8ddd-eeeeeeeeeeee', 2, 9);
SELECT inventory_lock.bind('article', 'shop.article');
SELECT lines -> 0 ->> 'location_id' AS location FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": "AAAAAAAA-BBBB-1CCC-8DDD-EEEEEEEEEEEE", "quantity": 2}]',
    options => '{"binding": "article", "locations": ["02", "1"]}');
SELECT restored FROM inventory_lock.cancel_order_locked((SELECT order_id::text FROM shop.article_orders), '[{"variant_id": "AAAAAAAA-BBBB-1CCC-8DDD-EEEEEEEEEEEE", "location_id": "02", "quantity": 1}]', binding => 'article');
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
