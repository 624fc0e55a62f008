-- Events of stock: one for every crossing, none without, and none skipped by those who read them.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
-- what has been written since the last look
CREATE FUNCTION pg_temp.events() RETURNS TABLE (kind text, variant_id text, location_id text, available_before bigint, available bigint)
    LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM shop.outbox RETURNING *)
    SELECT kind, variant_id, location_id, available_before, available FROM gone ORDER BY event_id
$$;
INSERT INTO shop.stock_level (variant_id, on_hand, safety_stock, low_stock_threshold) VALUES
    ('1', 20, 2, 5), ('2', 20, 0, NULL), ('3', 0, 0, 3);
INSERT INTO shop.stock_level (variant_id, location_id, on_hand, low_stock_threshold) VALUES
    ('4', 'aachen', 5, 4), ('4', 'berlin', 0, 4);

-- adjust: available is on_hand less the safety stock; a crossing is told once, in whichever direction
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', -12);
SELECT * FROM pg_temp.events();
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', -1);
SELECT * FROM pg_temp.events();
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', -1);
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', -4);
SELECT * FROM pg_temp.events();
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', -1);
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', 1);
SELECT * FROM pg_temp.events();
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', 1);
SELECT quantity_after, available, stock_status FROM inventory_lock.adjust_stock_locked('1', 10);
SELECT * FROM pg_temp.events();
-- from plenty to nothing at once: it ran out, and is not called low as well
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('2', 20);
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation('2', 20);
SELECT * FROM pg_temp.events();
-- what is not written is not told
BEGIN;
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('2', 20);
ROLLBACK;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('2', 21)$$);
SELECT quantity_after, replayed FROM inventory_lock.adjust_stock_locked('2', -20, request_key => 'r1');
SELECT quantity_after, replayed FROM inventory_lock.adjust_stock_locked('2', -20, request_key => 'r1');
SELECT * FROM pg_temp.events();
-- stock take
SELECT delta, quantity_after FROM inventory_lock.set_stock_locked('2', 20);
SELECT delta, quantity_after FROM inventory_lock.set_stock_locked('2', 20);
SELECT delta, quantity_after FROM inventory_lock.set_stock_locked('3', 3);
SELECT * FROM pg_temp.events();
-- bulk: what all items together do to a level
SELECT item, quantity_after, sqlstate FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "3", "delta": -3},
    {"variant_id": "3", "delta": 2}, {"variant_id": "2", "delta": -20}, {"variant_id": "4", "delta": -9, "location_id": "aachen"}]', 'best_effort');
SELECT * FROM pg_temp.events();
-- transfer: both ends
SELECT location_id, quantity_after FROM inventory_lock.transfer_stock_locked('4', 5, 'aachen', 'berlin');
SELECT * FROM pg_temp.events();
-- orders and their cancellation; nothing crossed, nothing written
UPDATE shop.stock_level SET on_hand = 20;
SELECT status FROM inventory_lock.place_order_locked('u', 'k1', '[{"variant_id": "1", "quantity": 3}, {"variant_id": "2", "quantity": 3}]');
SELECT restored FROM inventory_lock.cancel_order_locked('1');
SELECT count(*) FROM shop.outbox;
SELECT status FROM inventory_lock.place_order_locked('u', 'k2', '[{"variant_id": "1", "quantity": 18}, {"variant_id": "2", "quantity": 3}, {"variant_id": "4", "quantity": 16}]');
SELECT * FROM pg_temp.events();
SELECT replayed FROM inventory_lock.place_order_locked('u', 'k2', '[{"variant_id": "1", "quantity": 18}, {"variant_id": "2", "quantity": 3}, {"variant_id": "4", "quantity": 16}]');
SELECT restored FROM inventory_lock.cancel_order_locked('2');
SELECT * FROM pg_temp.events();
SELECT status FROM inventory_lock.place_order_locked('u', 'k3', '[{"variant_id": "2", "quantity": 99}]', '{}', '{"on_failure": "record"}');
SELECT status FROM inventory_lock.place_order_locked('u', 'k4', '[{"variant_id": "2", "quantity": 99}]', '{}', '{"partial": "available"}');
SELECT * FROM pg_temp.events();
SELECT restored FROM inventory_lock.cancel_order_locked('4');
SELECT * FROM pg_temp.events();
-- reservations: what is held is not available; an order that uses its hold takes no more
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS
    $$SELECT reservation_id::text FROM shop.reservation WHERE holder = name ORDER BY created_at DESC LIMIT 1$$;
SELECT state FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": "2", "quantity": 20}]', '10 minutes');
SELECT * FROM pg_temp.events();
SELECT status FROM inventory_lock.place_order_locked('ann', 'k5', '[{"variant_id": "2", "quantity": 15}]', '{}', jsonb_build_object('reservation_id', pg_temp.hold('ann')));
SELECT on_hand, held FROM inventory_lock.stock('2');
SELECT * FROM pg_temp.events();
SELECT state FROM inventory_lock.reserve_stock_locked('bob', '[{"variant_id": "2", "quantity": 5}]', '10 minutes');
SELECT state FROM inventory_lock.release_reservation(pg_temp.hold('bob'));
SELECT * FROM pg_temp.events();
SELECT state FROM inventory_lock.reserve_stock_locked('cat', '[{"variant_id": "2", "quantity": 5}]', '10 minutes');
SELECT state FROM inventory_lock.confirm_reservation(pg_temp.hold('cat'), '[{"line_no": 1, "quantity": 3}]');
SELECT * FROM pg_temp.events();
-- an expired hold comes back when somebody needs it
SELECT state FROM inventory_lock.reserve_stock_locked('dan', '[{"variant_id": "2", "quantity": 2}]', '10 minutes');
UPDATE shop.reservation SET expires_at = now() - interval '1 s' WHERE holder = 'dan';
SELECT status FROM inventory_lock.place_order_locked('u', 'k6', '[{"variant_id": "2", "quantity": 1}]');
SELECT * FROM pg_temp.events();
-- a level that is set to its ledger
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('5', 7);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('5', 1);
UPDATE shop.stock_level SET on_hand = 0 WHERE variant_id = '5';
SELECT rebuilt, level, ledger FROM inventory_lock.rebuild_stock('5');
SELECT * FROM pg_temp.events();
SELECT rebuilt, level, ledger FROM inventory_lock.rebuild_stock('5', false);
SELECT * FROM pg_temp.events();

-- reading: all that is not acknowledged, again and again
TRUNCATE shop.outbox RESTART IDENTITY;
UPDATE shop.stock_level SET on_hand = 20, held = 0;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', -18);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', -20);
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('1', 18);
SELECT event_id, kind, variant_id, location_id, available_before, available, occurred_at <= clock_timestamp() AS past FROM inventory_lock.outbox_fetch('mail');
SELECT event_id, position FROM inventory_lock.outbox_fetch('mail', 2);
SELECT inventory_lock.outbox_ack('mail', 5);
SELECT event_id, position FROM inventory_lock.outbox_fetch('mail', 2);
SELECT inventory_lock.outbox_ack('mail', 4);
SELECT inventory_lock.outbox_ack('mail', 6);
SELECT event_id FROM inventory_lock.outbox_fetch('mail');
-- each consumer for himself
SELECT event_id FROM inventory_lock.outbox_fetch('search index', 1);
SELECT consumer, position, acknowledged_at IS NOT NULL AS acknowledged FROM shop.outbox_consumer ORDER BY 1;
-- a position that a rolled back fetch gave out is not given out again
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', 1);
BEGIN;
SELECT event_id, position FROM inventory_lock.outbox_fetch('mail');
ROLLBACK;
SELECT event_id, position FROM inventory_lock.outbox_fetch('mail');
-- what everybody has is nobody's
DELETE FROM shop.outbox WHERE position <= (SELECT min(position) FROM shop.outbox_consumer);
SELECT event_id, position FROM shop.outbox ORDER BY 1;
SELECT pg_temp.try($$SELECT inventory_lock.outbox_ack('mail', 11)$$);
SELECT pg_temp.try($$SELECT inventory_lock.outbox_ack('nobody', 5)$$);
SELECT pg_temp.try($$SELECT inventory_lock.outbox_ack('', 5)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch(repeat('x', 256))$$);
SELECT pg_temp.try($$SELECT inventory_lock.outbox_ack('mail', NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch(NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail', 0)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail', 10001)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail', binding => 'none')$$);
BEGIN READ ONLY;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail')$$);
SELECT pg_temp.try($$SELECT inventory_lock.outbox_ack('mail', 6)$$);
COMMIT;

-- who changes levels must be able to write events; who reads them need not see stock
CREATE ROLE il_seller;
CREATE ROLE il_mailer;
GRANT USAGE ON SCHEMA shop TO il_seller, il_mailer;
GRANT SELECT, INSERT, UPDATE ON shop.stock_level, shop.orders, shop.order_line, shop.reservation TO il_seller;
GRANT SELECT, INSERT ON shop.stock_movement TO il_seller;
GRANT SELECT, UPDATE (position) ON shop.outbox TO il_mailer;
GRANT SELECT, INSERT, UPDATE ON shop.outbox_consumer TO il_mailer;
SET ROLE il_seller;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('2', 1)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('u', 'k7', '[{"variant_id": "2", "quantity": 1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail')$$);
SELECT pg_temp.try($$SELECT inventory_lock.create_outbox()$$);
RESET ROLE;
GRANT INSERT ON shop.outbox TO il_seller;
SET ROLE il_seller;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', -1);
SET ROLE il_mailer;
SELECT kind, variant_id FROM inventory_lock.outbox_fetch('mail') ORDER BY position DESC LIMIT 1;
SELECT inventory_lock.outbox_ack('mail', (SELECT max(position) FROM inventory_lock.outbox_fetch('mail')));
RESET ROLE;

-- tables that existed already: events from the day they are asked for
CREATE TABLE shop.goods (id bigint PRIMARY KEY, quantity integer NOT NULL);
INSERT INTO shop.goods VALUES (7, 1);
SELECT inventory_lock.bind('goods', 'shop.goods', variant_column => 'id', on_hand_column => 'quantity');
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(7, 1, binding => 'goods');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail', binding => 'goods')$$);
SET client_min_messages = notice;
SELECT inventory_lock.create_outbox('goods');
SELECT inventory_lock.create_outbox('goods');
SET client_min_messages = error;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(7, 3, binding => 'goods');
SELECT kind, variant_id, location_id, available_before, available FROM inventory_lock.outbox_fetch('mail', binding => 'goods');
-- what is held there is the sum of the reservations
SELECT state FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": 7, "quantity": 3}]', '10 minutes', binding => 'goods');
SELECT r.state FROM shop.goods_reservation g, inventory_lock.release_reservation(g.reservation_id::text, 'goods') r;
SELECT state FROM inventory_lock.reserve_stock_locked('ben', '[{"variant_id": 7, "quantity": 3}]', '10 minutes', binding => 'goods');
UPDATE shop.goods_reservation SET expires_at = now() - interval '1 s';
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(7, 1, binding => 'goods');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(7, 1, binding => 'goods');
SELECT kind, available_before, available FROM shop.goods_outbox ORDER BY event_id;
-- one that is gone is said, and made again
DROP TABLE shop.goods_outbox;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked(7, -3, binding => 'goods')$$);
SELECT inventory_lock.create_outbox('goods');
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(7, -3, binding => 'goods');
SELECT kind FROM inventory_lock.outbox_fetch('mail', binding => 'goods');
-- and where positions would begin anew below those that were acknowledged, nothing is skipped in silence
SELECT inventory_lock.outbox_ack('mail', 2, 'goods');
TRUNCATE shop.goods_outbox RESTART IDENTITY;
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(7, 3, binding => 'goods');
SELECT pg_temp.try($$SELECT * FROM inventory_lock.outbox_fetch('mail', binding => 'goods')$$);
UPDATE shop.goods_outbox_consumer SET position = 0;
SELECT kind FROM inventory_lock.outbox_fetch('mail', binding => 'goods');
-- and without one again
UPDATE inventory_lock.binding SET outbox = NULL, outbox_consumer = NULL WHERE name = 'goods';
SELECT quantity_after FROM inventory_lock.adjust_stock_locked(7, -3, binding => 'goods');
SELECT count(*) FROM shop.goods_outbox;
SELECT pg_temp.try($$SELECT inventory_lock.create_outbox('none')$$);
-- a column renamed: bound again, the tables go on with the outbox they had
ALTER TABLE shop.stock_level RENAME COLUMN on_hand TO quantity;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('2', 1)$$);
SET client_min_messages = notice;
SELECT inventory_lock.unbind('default');
SELECT inventory_lock.bind('default', 'shop.stock_level', 'shop.stock_movement', 'shop.orders', 'shop.order_line', 'shop.reservation',
    on_hand_column => 'quantity');
SELECT table_name, message, hint FROM inventory_lock.check_binding();
SELECT inventory_lock.create_outbox();
SET client_min_messages = error;
SELECT outbox, outbox_consumer FROM inventory_lock.binding WHERE name = 'default';
SELECT count(*) FROM inventory_lock.check_binding();
SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', 1);
SELECT kind, variant_id, available FROM inventory_lock.outbox_fetch('mail');
-- but not with a table of this name that is something else
SELECT inventory_lock.unbind('default');
ALTER TABLE shop.outbox RENAME COLUMN position TO place;
SELECT inventory_lock.bind('default', 'shop.stock_level', 'shop.stock_movement', 'shop.orders', 'shop.order_line', 'shop.reservation',
    on_hand_column => 'quantity');
SELECT count(*) FROM inventory_lock.check_binding();
SELECT inventory_lock.create_outbox();
SELECT outbox, outbox_consumer FROM inventory_lock.binding WHERE name = 'default';
-- they are the user's, not the extension's
DROP EXTENSION inventory_lock;
SELECT count(*) > 0 AS kept FROM shop.outbox;
DROP SCHEMA shop CASCADE;
DROP ROLE il_seller, il_mailer;
