-- Options location and locations: which locations serve the lines of an order that name none.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
CREATE FUNCTION pg_temp.place(key text, lines jsonb, options jsonb) RETURNS TABLE (status text, replayed boolean, total numeric, served text, unserved text)
    LANGUAGE sql AS $$
    SELECT o.status, o.replayed, o.total,
        (SELECT string_agg(format('%s: %s of %s from %s at %s, left %s', l ->> 'line_no', l ->> 'quantity', l ->> 'variant_id', l ->> 'location_id', l ->> 'unit_price', l ->> 'on_hand_after'), '; ') FROM jsonb_array_elements(o.lines) AS l),
        (SELECT string_agg(format('%s of %s', l ->> 'quantity', l ->> 'variant_id'), '; ') FROM jsonb_array_elements(o.response -> 'unserved') AS l)
    FROM inventory_lock.place_order_locked('u', key, lines, '{}', options) AS o
$$;
CREATE FUNCTION pg_temp.levels() RETURNS text LANGUAGE sql AS
    $$SELECT string_agg(format('%s@%s %s', variant_id, location_id, on_hand), ', ' ORDER BY variant_id, location_id) FROM shop.stock_level$$;
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES
    ('1', 'aachen', 2), ('1', 'berlin', 5), ('1', 'celle', 3), ('2', 'berlin', 4), ('3', 'aachen', 1);

-- one location has it all: no need to split; the fullest first, so that there are few parcels
SELECT * FROM pg_temp.place('k1', '[{"variant_id": "1", "quantity": 4, "unit_price": 1.50}]', '{"location": "split"}');
SELECT inventory_lock.cancel_order_locked('1') IS NOT NULL AS cancelled;
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k2', '[{"variant_id": "1", "quantity": 7}]', '{}')$$);
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k2', '[{"variant_id": "1", "quantity": 7}]', '{"location": "single"}')$$);
SELECT * FROM pg_temp.place('k2', '[{"variant_id": "1", "quantity": 7, "unit_price": 1.50}]', '{"location": "split"}');
SELECT pg_temp.levels();
SELECT line_no, variant_id, location_id, quantity, unit_price FROM shop.order_line WHERE order_id = '2' ORDER BY 1;
SELECT variant_id, location_id, kind, delta, reference_id FROM shop.stock_movement WHERE reference_id = '2' ORDER BY 1, 2;
-- the same request, and what is another one
SELECT replayed, served FROM pg_temp.place('k2', '[{"variant_id": "1", "quantity": 7, "unit_price": 1.50}]', '{"location": "split"}');
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k2', '[{"variant_id": "1", "quantity": 7, "unit_price": 1.50}]', '{}')$$);
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k2', '[{"variant_id": "1", "quantity": 8, "unit_price": 1.50}]', '{"location": "split"}')$$);
-- all of it together is what can be had
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k3', '[{"variant_id": "1", "quantity": 4}, {"variant_id": "2", "quantity": 5}, {"variant_id": "3", "quantity": 1}]', '{"location": "split"}')$$);
SELECT * FROM pg_temp.place('k3', '[{"variant_id": "1", "quantity": 4}, {"variant_id": "2", "quantity": 5}, {"variant_id": "3", "quantity": 1}]', '{"location": "split", "partial": "available"}');
SELECT pg_temp.levels();
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k4', '[{"variant_id": "1", "quantity": 1}]', '{"location": "split", "partial": "available"}')$$);

-- cancelling and fulfilling: line by line, or by variant over all of them
SELECT line_no, location_id, quantity FROM shop.order_line WHERE order_id = '2' ORDER BY 1;
SELECT shipped FROM inventory_lock.fulfil_order_locked('2', '[{"line_no": 2, "quantity": 1}]');
SELECT restored, status FROM inventory_lock.cancel_order_locked('2', '[{"variant_id": "1", "quantity": 4}]');
SELECT line_no, location_id, quantity, cancelled, fulfilled FROM shop.order_line WHERE order_id = '2' ORDER BY 1;
SELECT pg_temp.levels();
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked('2', '[{"variant_id": "1", "quantity": 3}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.fulfil_order_locked('2', '[{"variant_id": "1", "location_id": "berlin", "quantity": 2}]')$$);
SELECT shipped, status FROM inventory_lock.fulfil_order_locked('2', '[{"variant_id": "1", "quantity": 2}]');
SELECT restored, replayed, status FROM inventory_lock.cancel_order_locked('2');
SELECT line_no, location_id, quantity, cancelled, fulfilled FROM shop.order_line WHERE order_id = '2' ORDER BY 1;
SELECT restored, status FROM inventory_lock.cancel_order_locked('3');
SELECT pg_temp.levels();
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;

-- taking back one variant goes to one location; more than came from any of them is more than it can be
UPDATE shop.stock_level SET on_hand = 3 WHERE variant_id = '1';
SELECT served FROM pg_temp.place('k5', '[{"variant_id": "1", "quantity": 8}]', '{"location": "split"}');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.increment_stock_on_cancellation('1', 4, (SELECT max(order_id)::text FROM shop.orders))$$);
SELECT location_id, delta, quantity_after FROM inventory_lock.increment_stock_on_cancellation('1', 3, (SELECT max(order_id)::text FROM shop.orders));
SELECT location_id, delta, quantity_after FROM inventory_lock.increment_stock_on_cancellation('1', 2, (SELECT max(order_id)::text FROM shop.orders), 'celle');
SELECT restored FROM inventory_lock.cancel_order_locked((SELECT max(order_id)::text FROM shop.orders));
SELECT pg_temp.levels();

-- two prices of one variant, and a line that names its location
SELECT * FROM pg_temp.place('k6', '[{"variant_id": "1", "quantity": 4, "unit_price": 2}, {"variant_id": "1", "quantity": 3, "unit_price": 1},
    {"variant_id": "1", "quantity": 1, "unit_price": 2, "location_id": "celle"}]', '{"location": "split"}');
SELECT line_no, location_id, quantity, unit_price FROM shop.order_line WHERE order_id = (SELECT max(order_id) FROM shop.orders) ORDER BY 1;
SELECT restored FROM inventory_lock.cancel_order_locked((SELECT max(order_id)::text FROM shop.orders));

-- locations: these alone, in this order
SELECT served FROM pg_temp.place('k7', '[{"variant_id": "1", "quantity": 2}]', '{"locations": ["celle", "berlin"]}');
SELECT served FROM pg_temp.place('k8', '[{"variant_id": "1", "quantity": 2}]', '{"locations": ["celle", "berlin"]}');
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k9', '[{"variant_id": "1", "quantity": 2}]', '{"locations": ["celle", "berlin"]}')$$);
SELECT served FROM pg_temp.place('k9', '[{"variant_id": "1", "quantity": 2}]', '{"location": "split", "locations": ["celle", "berlin"]}');
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k10', '[{"variant_id": "1", "quantity": 1}]', '{"location": "split", "locations": ["ulm"]}')$$);
SELECT served FROM pg_temp.place('k10', '[{"variant_id": "1", "quantity": 1, "location_id": "aachen"}, {"variant_id": "2", "quantity": 1}]', '{"locations": ["berlin"]}');
SELECT replayed FROM pg_temp.place('k10', '[{"variant_id": "1", "quantity": 1, "location_id": "aachen"}, {"variant_id": "2", "quantity": 1}]', '{"locations": ["berlin"]}');
SELECT pg_temp.try($$SELECT * FROM pg_temp.place('k10', '[{"variant_id": "1", "quantity": 1, "location_id": "aachen"}, {"variant_id": "2", "quantity": 1}]', '{"locations": ["berlin", "celle"]}')$$);
SELECT pg_temp.levels();

-- with a reservation: its own units first, wherever they are
UPDATE shop.stock_level SET on_hand = CASE location_id WHEN 'aachen' THEN 4 ELSE 3 END;
SELECT state FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": "1", "quantity": 2, "location_id": "berlin"}]', '10 minutes');
SELECT served FROM pg_temp.place('k11', '[{"variant_id": "1", "quantity": 5}]',
    jsonb_build_object('location', 'split', 'reservation_id', (SELECT reservation_id FROM shop.reservation)));
SELECT location_id, on_hand, held FROM shop.stock_level WHERE variant_id = '1' ORDER BY 1;
SELECT line_no, quantity, confirmed, state FROM shop.reservation;
-- chosen locations are asked in their order, also when another one is fuller
UPDATE shop.stock_level SET on_hand = CASE location_id WHEN 'celle' THEN 2 ELSE 5 END, held = 0;
SELECT served FROM pg_temp.place('k13', '[{"variant_id": "1", "quantity": 6}]', '{"location": "split", "locations": ["celle", "berlin", "aachen"]}');
-- with a lock for each location
UPDATE inventory_lock.binding SET lock_per_location = true;
UPDATE shop.stock_level SET on_hand = 3;
SELECT served FROM pg_temp.place('k12', '[{"variant_id": "1", "quantity": 8}]', '{"location": "split"}');
SELECT pg_temp.levels();
-- options of the wrong shape
SELECT pg_temp.try(format('SELECT * FROM pg_temp.place(''x'', ''[{"variant_id": "1", "quantity": 1}]'', %L)', o)) FROM unnest(ARRAY['{"location": "many"}', '{"location": ["a"]}',
    '{"locations": "a"}', '{"locations": []}', '{"locations": [null]}', '{"locations": ["a", 1.5]}', '{"locations": ["a", "b", "a"]}', '{"locations": [7, "7"]}']) AS o;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
