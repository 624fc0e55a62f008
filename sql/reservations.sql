-- Reservations: units held until they are ordered, given up, or the time is over.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10), ('2', 10);
-- the last reservation of a holder
CREATE FUNCTION pg_temp.hold(name text) RETURNS text LANGUAGE sql AS
    $$SELECT reservation_id::text FROM shop.reservation WHERE holder = name ORDER BY created_at DESC LIMIT 1$$;
CREATE FUNCTION pg_temp.expire(name text) RETURNS void LANGUAGE sql AS
    $$UPDATE shop.reservation SET expires_at = now() - interval '1 second' WHERE holder = name$$;
SELECT reservation_id IS NOT NULL AS reserved, holder, state, expires_at > now() + interval '9 minutes' AS later, lines, protection IN ('redis', 'database') AS protected
    FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": 2, "quantity": 3}, {"variant_id": 1, "quantity": 4}, {"variant_id": 1, "quantity": 1}]', '10 minutes');
SELECT on_hand, held, available FROM inventory_lock.stock('1');
-- what is held is not for others
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('bob', 'k1', '[{"variant_id": 1, "quantity": 6}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('bob', '[{"variant_id": 1, "quantity": 6}, {"variant_id": 2, "quantity": 8}]', '1 minute')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('1', 6)$$);
-- but for its holder
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 9}]', '{}',
    jsonb_build_object('reservation_id', pg_temp.hold('ann')));
SELECT status, replayed FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 9}]', '{}',
    jsonb_build_object('reservation_id', pg_temp.hold('ann')));
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k1', '[{"variant_id": 1, "quantity": 9}]')$$);
SELECT variant_id, on_hand, held FROM shop.stock_level ORDER BY 1;
SELECT line_no, variant_id, quantity, confirmed, state, order_id FROM shop.reservation ORDER BY 1;
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.place_order_locked(''ann'', ''k2'', ''[{"variant_id": 2, "quantity": 1}]'', ''{}'', ''{"reservation_id": "%s"}'')', pg_temp.hold('ann')));
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.confirm_reservation(%L)', pg_temp.hold('ann')));
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.release_reservation(%L)', pg_temp.hold('ann')));
-- confirm without an order of ours: all, or a part
SELECT state FROM inventory_lock.reserve_stock_locked('bob', '[{"variant_id": 2, "quantity": 6}]', '1 minute');
SELECT state, lines FROM inventory_lock.confirm_reservation(pg_temp.hold('bob'), '[{"variant_id": 2, "quantity": 4}]', 'web-5');
SELECT on_hand, held FROM inventory_lock.stock('2');
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation('2', 4, 'web-5');
SELECT state FROM inventory_lock.reserve_stock_locked('bob', '[{"variant_id": 2, "quantity": 6}]', '1 minute');
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.confirm_reservation(%L, ''[{"line_no": 1, "quantity": 7}]'')', pg_temp.hold('bob')));
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.confirm_reservation(%L, ''[{"line_no": 2}]'')', pg_temp.hold('bob')));
SELECT state FROM inventory_lock.release_reservation(pg_temp.hold('bob'));
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.release_reservation(%L)', pg_temp.hold('bob')));
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.confirm_reservation(%L)', pg_temp.hold('bob')));
SELECT on_hand, held FROM inventory_lock.stock('2');
-- extended
SELECT state FROM inventory_lock.reserve_stock_locked('cid', '[{"variant_id": 2, "quantity": 10}]', '1 minute');
SELECT state, expires_at > now() + interval '59 minutes' AS later FROM inventory_lock.extend_reservation(pg_temp.hold('cid'), '1 hour');
-- over: it binds nobody, tidied up or not
SELECT pg_temp.try($$SELECT * FROM inventory_lock.decrement_stock_on_purchase('2', 1)$$);
SELECT pg_temp.expire('cid');
SELECT on_hand, held, available FROM inventory_lock.stock('2');
SELECT held FROM shop.stock_level WHERE variant_id = '2';
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.confirm_reservation(%L)', pg_temp.hold('cid')));
SELECT pg_temp.try(format('SELECT * FROM inventory_lock.extend_reservation(%L, ''1 hour'')', pg_temp.hold('cid')));
SELECT quantity_after, available FROM inventory_lock.decrement_stock_on_purchase('2', 1);
SELECT held FROM shop.stock_level WHERE variant_id = '2';
SELECT state FROM inventory_lock.reserve_stock_locked('dan', '[{"variant_id": 2, "quantity": 9}]', '1 minute');
SELECT pg_temp.expire('dan');
SELECT status FROM inventory_lock.place_order_locked('eve', 'k1', '[{"variant_id": 2, "quantity": 8}]');
SELECT state FROM inventory_lock.reserve_stock_locked('dan', '[{"variant_id": 2, "quantity": 1}]', '1 minute');
SELECT pg_temp.expire('dan');
SELECT state FROM inventory_lock.reserve_stock_locked('eve', '[{"variant_id": 2, "quantity": 1}]', '1 minute');
SELECT holder, state FROM shop.reservation WHERE holder IN ('cid', 'dan', 'eve') ORDER BY created_at;
-- a hold is used whole: what the order does not take is free again
SELECT status FROM inventory_lock.place_order_locked('eve', 'k2', '[{"variant_id": 1, "quantity": 1}]', '{}', jsonb_build_object('reservation_id', pg_temp.hold('eve')));
SELECT variant_id, on_hand, held FROM shop.stock_level ORDER BY 1;
-- a count found less than is held: who comes first gets it, nobody gets what is not there
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES (4, 10);
SELECT state FROM inventory_lock.reserve_stock_locked('fay', '[{"variant_id": 4, "quantity": 3}]', '1 hour');
SELECT state FROM inventory_lock.reserve_stock_locked('gil', '[{"variant_id": 4, "quantity": 5}]', '1 hour');
SELECT quantity_after, available FROM inventory_lock.set_stock_locked(4, 4);
SELECT pg_temp.try(format($$SELECT * FROM inventory_lock.confirm_reservation(%L)$$, pg_temp.hold('gil')));
SELECT state FROM inventory_lock.confirm_reservation(pg_temp.hold('fay'));
SELECT state, confirmed FROM inventory_lock.confirm_reservation(pg_temp.hold('gil'), '[{"line_no": 1, "quantity": 1}]'), jsonb_to_recordset(lines) AS l (confirmed bigint);
SELECT on_hand, held FROM shop.stock_level WHERE variant_id = '4';
-- wrong input
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked(NULL, '[{"variant_id": 2, "quantity": 1}]', '1 minute')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('', '[{"variant_id": 2, "quantity": 1}]', '1 minute')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('x', '[{"variant_id": 2, "quantity": 1}]', NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('x', '[{"variant_id": 2, "quantity": 1}]', '0')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('x', '[{"variant_id": 2, "quantity": 0}]', '1 minute')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.reserve_stock_locked('x', '[{"variant_id": 3, "quantity": 1}]', '1 minute')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.confirm_reservation('00000000-0000-4000-8000-000000000000')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.confirm_reservation('none')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k9', '[{"variant_id": 1, "quantity": 1}]', '{}', '{"reservation_id": "00000000-0000-4000-8000-000000000000"}')$$);
SELECT kind, count(*), sum(delta) FROM shop.stock_movement GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
SELECT bool_and(held = (SELECT coalesce(sum(quantity), 0) FROM shop.reservation r WHERE r.variant_id = l.variant_id AND state = 'held')) AS held_adds_up
    FROM shop.stock_level l;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
