-- return_order_locked: goods that come back after they have been shipped, once.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
CREATE FUNCTION pg_temp.lines() RETURNS TABLE (line text) LANGUAGE sql AS
    $$SELECT format('%s.%s: %s of %s at %s, cancelled %s, fulfilled %s, returned %s', order_id, line_no, quantity, variant_id, location_id, cancelled, fulfilled, returned)
      FROM shop.order_line ORDER BY order_id, line_no$$;
CREATE FUNCTION pg_temp.levels() RETURNS text LANGUAGE sql AS
    $$SELECT string_agg(format('%s@%s %s', variant_id, location_id, on_hand), ', ' ORDER BY variant_id, location_id) FROM shop.stock_level$$;
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('1', 'main', 10), ('1', 'outlet', 0), ('2', 'main', 6), ('3', 'aachen', 2), ('3', 'berlin', 2);
SELECT order_id FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 5}, {"variant_id": 2, "quantity": 6}]');

-- what has not gone out cannot come back
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(1, '[{"line_no": 1, "quantity": 1}]')$$);
SELECT shipped FROM inventory_lock.fulfil_order_locked(1, '[{"line_no": 1, "quantity": 4}, {"line_no": 2}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(1, '[{"line_no": 1, "quantity": 5}]')$$);
-- in parts, by line or variant; back to where it came from
SELECT order_id, status, replayed, received, lines, fence > 0 AS fenced, protection IN ('redis', 'database') AS protected
    FROM inventory_lock.return_order_locked(1, '[{"line_no": 1, "quantity": 1}]');
SELECT received, status FROM inventory_lock.return_order_locked('1', '[{"variant_id": "1", "quantity": 1}, {"variant_id": "2", "quantity": 2}]', reason => 'too small');
SELECT pg_temp.levels();
SELECT variant_id, kind, delta, on_hand_after, reason, reference_type, reference_id FROM shop.stock_movement WHERE kind = 'return' ORDER BY movement_id;
-- there is stock of it again
SELECT kind, variant_id, available FROM shop.outbox ORDER BY event_id;
-- elsewhere, or not to be sold again: then the books alone know of it
SELECT received FROM inventory_lock.return_order_locked(1, '[{"line_no": 1, "quantity": 1}]', location_id => 'outlet');
SELECT received FROM inventory_lock.return_order_locked(1, '[{"line_no": 2, "quantity": 1}]', restock => false, reason => 'damaged');
SELECT variant_id, location_id, delta, on_hand_after, reason FROM shop.stock_movement WHERE kind = 'return' ORDER BY movement_id DESC LIMIT 2;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(1, '[{"line_no": 1}]', location_id => 'ulm')$$);
SELECT * FROM pg_temp.lines();
-- cancelling restores what was never shipped, and nothing of what came back
SELECT restored, status FROM inventory_lock.cancel_order_locked(1);
SELECT pg_temp.levels();
-- the rest; again, there is nothing left
SELECT received, replayed, status FROM inventory_lock.return_order_locked(1);
SELECT received, replayed, status FROM inventory_lock.return_order_locked(1);
SELECT received, replayed FROM inventory_lock.return_order_locked(1, '[{"line_no": 1}]');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(1, '[{"line_no": 1, "quantity": 1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked(1, '[{"line_no": 1, "quantity": 1}]')$$);
SELECT * FROM pg_temp.lines();
SELECT pg_temp.levels();
-- a line that was split comes back to its locations
SELECT status FROM inventory_lock.place_order_locked('ann', 'k2', '[{"variant_id": 3, "quantity": 4}]', '{}', '{"location": "split"}');
SELECT shipped FROM inventory_lock.fulfil_order_locked(2);
SELECT received FROM inventory_lock.return_order_locked(2, '[{"variant_id": 3, "quantity": 3}]');
SELECT * FROM pg_temp.lines() WHERE line LIKE '2.%';
SELECT pg_temp.levels();

-- a request_key: once, restocked or not, whatever keys there are beside it
SELECT status FROM inventory_lock.place_order_locked('ann', 'k3', '[{"variant_id": 1, "quantity": 6}, {"variant_id": 3, "quantity": 1}]');
SELECT shipped FROM inventory_lock.fulfil_order_locked(3);
SELECT received, replayed FROM inventory_lock.return_order_locked(3, '[{"line_no": 1, "quantity": 1}, {"line_no": 2, "quantity": 1}]', request_key => 'a:1');
SELECT received, replayed FROM inventory_lock.return_order_locked(3, '[{"line_no": 1, "quantity": 1}, {"line_no": 2, "quantity": 1}]', request_key => 'a:1');
SELECT received, replayed FROM inventory_lock.return_order_locked(3, '[{"line_no": 1, "quantity": 2}]', restock => false, request_key => 'a');
SELECT received, replayed FROM inventory_lock.return_order_locked(3, '[{"line_no": 1, "quantity": 2}]', restock => false, request_key => 'a');
SELECT * FROM pg_temp.lines() WHERE line LIKE '3.%';
SELECT request_key, delta FROM shop.stock_movement WHERE request_key IS NOT NULL ORDER BY movement_id;
-- the same of cancelling
SELECT status FROM inventory_lock.place_order_locked('ann', 'k4', '[{"variant_id": 1, "quantity": 2}]');
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(4, '[{"line_no": 1, "quantity": 1}]', request_key => 'a:1');
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(4, '[{"line_no": 1, "quantity": 1}]', request_key => 'a');
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(4, '[{"line_no": 1, "quantity": 1}]', request_key => 'a');
-- what has not been cancelled altogether has nothing to come back
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(4)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(99)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(3, '[{"line_no": 9}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(3, '[]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(3, restock => NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(3, reason => NULL)$$);
SELECT status FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": 1, "quantity": 999}]', '{}', '{"on_failure": "record"}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked((SELECT max(order_id) FROM shop.orders))$$);
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
-- the table holds it as well
SELECT pg_temp.try($$UPDATE shop.order_line SET returned = fulfilled + 1 WHERE order_id = 3 AND line_no = 1$$);
-- tables that know no returns
ALTER TABLE shop.order_line DROP COLUMN returned;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.return_order_locked(3)$$);
SELECT restored, replayed FROM inventory_lock.cancel_order_locked(4);
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
