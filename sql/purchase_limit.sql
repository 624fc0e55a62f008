-- What one customer may buy of a variant: options.purchase_limit.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, location_id, on_hand)
    VALUES ('1', 'main', 100), ('1', 'north', 100), ('2', 'main', 100), ('3', 'main', 1);
SELECT status FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 2}]', '{}', '{"purchase_limit": 3}');
-- what she has counts, by variant, over all locations and lines
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 2}, {"variant_id": 2, "quantity": 3}]', '{}', '{"purchase_limit": 3}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 1, "quantity": 1, "location_id": "main"}, {"variant_id": 1, "quantity": 1, "location_id": "north"}, {"variant_id": 2, "quantity": 4}]', '{}', '{"purchase_limit": 3}')$$);
-- nothing of it was written, and others are not meant
SELECT count(*) FROM shop.orders;
SELECT status FROM inventory_lock.place_order_locked('bob', 'k2', '[{"variant_id": 1, "quantity": 3}]', '{}', '{"purchase_limit": 3}');
-- the same request again is answered as before, whatever the limit is by now
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 2}]', '{}', '{"purchase_limit": 1}');
-- an order without a limit goes through, and counts for later ones
SELECT status FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 5}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"purchase_limit": 7}')$$);
-- what is cancelled does not count
SELECT count(*) FROM shop.orders o, inventory_lock.cancel_order_locked(o.order_id::text) WHERE o.user_id = 'ann' AND o.idempotency_key = 'k3';
SELECT status FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"purchase_limit": 3}');
-- recorded instead of raised; the answer is kept
SELECT status, sqlstate, response->'detail' AS detail FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"purchase_limit": 3, "on_failure": "record"}');
SELECT status, sqlstate, replayed FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"purchase_limit": 300, "on_failure": "record"}');
-- with the order's own lock not waited for
SELECT status FROM inventory_lock.place_order_locked('ann', 'k6', '[{"variant_id": 2, "quantity": 3}]', '{}', '{"purchase_limit": 3, "on_conflict": "error"}');
-- the number itself
SELECT pg_temp.try(format($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k7', '[{"variant_id": 2, "quantity": 1}]', '{}', '{"purchase_limit": %s}')$$, n))
    FROM unnest(ARRAY['0', '-1', '1.5', '"3"', '9223372036854775808']) n;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k7', '[{"variant_id": 2, "quantity": 9223372036854775807}]', '{}', '{"purchase_limit": 9223372036854775807}')$$);
-- earlier orders of the same transaction count
BEGIN;
SELECT status FROM inventory_lock.place_order_locked('cid', 'k1', '[{"variant_id": 2, "quantity": 1}]', '{}', '{"purchase_limit": 2}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('cid', 'k2', '[{"variant_id": 2, "quantity": 2}]', '{}', '{"purchase_limit": 2}')$$);
COMMIT;
SELECT user_id, variant_id, sum(quantity - cancelled) FROM shop.orders JOIN shop.order_line USING (order_id) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
