-- What stock and orders do, over whichever tables a shape has: run unchanged for each.
--
-- A shape (shape_*.sql) has made its tables, bound them under the name :binding and defined, with
-- variant 1 at 10 units and variant 2 at 5, all at one place:
--   id(n)        the id of variant n; 9 is one that no row has
--   place(n)     the id of place n, NULL where the shape has one place only
--   on_hand(n)   what the shop's own column says of variant n at place 1
--   own_history(n)  sum of the changes in the shop's own history, NULL where it keeps none
--   remove(n)    marks variant n's row as deleted, the shop's way; false where it has none
SELECT no_plan();
SET inventory_lock.wait_timeout = '5 s';

CREATE FUNCTION pg_temp.line(n integer, quantity bigint) RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_strip_nulls(jsonb_build_object('variant_id', id(n), 'quantity', quantity, 'unit_price', 2.50)) $$;
CREATE FUNCTION pg_temp.options(more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
$$ SELECT jsonb_build_object('binding', current_setting('shape.binding')) || more $$;
CREATE FUNCTION pg_temp.adjust(n integer, delta bigint, request_key text DEFAULT NULL, expected bigint DEFAULT NULL)
    RETURNS text LANGUAGE sql AS
$$ SELECT concat_ws(' ', quantity_before, quantity_after, CASE WHEN replayed THEN 'replayed' END) FROM inventory_lock.adjust_stock_locked(id(n), delta,
    request_key => request_key, expected => expected, location_id => place(1), binding => current_setting('shape.binding')) $$;
CREATE FUNCTION pg_temp.place_order(key text, lines jsonb, more jsonb DEFAULT '{}')
    RETURNS TABLE (order_id text, status text, replayed boolean, total numeric) LANGUAGE sql AS
$$ SELECT order_id, status, replayed, total FROM inventory_lock.place_order_locked('7', key, lines, '{"note": "hi"}', pg_temp.options(more)) $$;
CREATE FUNCTION pg_temp.levels() RETURNS text LANGUAGE sql AS $$ SELECT on_hand(1) || ' ' || on_hand(2) $$;
CREATE FUNCTION pg_temp.stock_of(n integer) RETURNS text LANGUAGE sql AS
$$ SELECT concat_ws(' ', on_hand, held, available, stock_status) FROM inventory_lock.stock(id(n), place(1), current_setting('shape.binding')) $$;

-- the binding
SELECT is_empty($$SELECT * FROM inventory_lock.check_binding(current_setting('shape.binding')) WHERE severity = 'error'$$, 'the tables can be bound');
SELECT is(pg_temp.stock_of(1), '10 0 10 in_stock', 'stock is read');
SELECT throws_ok($$SELECT * FROM inventory_lock.adjust_stock_locked(id(9), 1, binding => current_setting('shape.binding'))$$, 'IL002', NULL, 'a variant without a row is not found');

-- adjusting
SELECT is(pg_temp.adjust(1, -3), '10 7', 'an adjustment says what it was and is');
SELECT is(on_hand(1), 7::bigint, 'and the shop''s own column has it');
SELECT is(pg_temp.adjust(1, 2, 'k1'), '7 9', 'with a request key');
SELECT is(pg_temp.adjust(1, 2, 'k1'), '7 9 replayed', 'once');
SELECT throws_ok($$SELECT pg_temp.adjust(1, 3, 'k1')$$, 'IL021', NULL, 'and for nothing else');
SELECT throws_ok($$SELECT pg_temp.adjust(1, 1, expected => 7)$$, 'IL004', NULL, 'compare and set refuses');
SELECT is(pg_temp.adjust(1, 1, expected => 9), '9 10', 'compare and set');
SELECT throws_ok($$SELECT pg_temp.adjust(1, -11)$$, 'IL001', NULL, 'never below zero');
SELECT throws_ok($$SELECT pg_temp.adjust(1, 0)$$, 'IL003', NULL, 'nothing is no change');
SELECT is(on_hand(1), 10::bigint, 'what was refused changed nothing');

-- counting, bulk, transfer
SELECT is((SELECT ROW(quantity_before, delta, quantity_after) FROM inventory_lock.set_stock_locked(id(2), 6, location_id => place(1), binding => :'binding')), ROW(5::bigint, 1::bigint, 6::bigint), 'a count writes the difference');
SELECT is((SELECT string_agg(concat_ws(' ', delta, quantity_after, coalesce(sqlstate, 'done')), ', ' ORDER BY item) FROM inventory_lock.adjust_stock_bulk_locked(
    jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('variant_id', id(1), 'delta', -1, 'location_id', place(1))), jsonb_build_object('variant_id', id(2), 'delta', -99),
        jsonb_build_object('variant_id', id(9), 'delta', 1), jsonb_strip_nulls(jsonb_build_object('variant_id', id(2), 'delta', -1, 'location_id', place(1)))), 'best_effort', binding => :'binding')),
    '-1 9 done, -99 IL001, 1 IL002, -1 5 done', 'bulk does what it can and says what it could not');
SELECT throws_ok($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked(jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('variant_id', id(1), 'delta', 1, 'location_id', place(1))),
    jsonb_build_object('variant_id', id(2), 'delta', -99)), binding => current_setting('shape.binding'))$$, 'IL001', NULL, 'all or nothing raises');
SELECT is(pg_temp.levels(), '9 5', 'and does nothing');
SELECT CASE WHEN place(2) IS NULL THEN skip('one place only', 3) ELSE collect_tap(
    is((SELECT string_agg(concat_ws(' ', delta, quantity_after), ', ' ORDER BY delta) FROM inventory_lock.transfer_stock_locked(id(1), 4, place(1), place(2), binding => :'binding')), '-4 5, 4 4', 'a transfer'),
    is((SELECT sum(on_hand) FROM inventory_lock.stock(id(1), binding => :'binding')), 9::numeric, 'keeps the sum'),
    is((SELECT count(*) FROM inventory_lock.transfer_stock_locked(id(1), 4, place(2), place(1), binding => :'binding')), 2::bigint, 'and back')) END;

-- sales that are known by their movements
SELECT is((SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(id(1), 2, order_id => '900', location_id => place(1), binding => :'binding')), 7::bigint, 'a purchase');
SELECT throws_ok($$SELECT * FROM inventory_lock.increment_stock_on_cancellation(id(1), 3, order_id => '900', binding => current_setting('shape.binding'))$$, 'IL042', NULL, 'never more back than was sold');
SELECT is((SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation(id(1), 2, order_id => '900', binding => :'binding')), 9::bigint, 'its cancellation');
SELECT throws_ok($$SELECT * FROM inventory_lock.increment_stock_on_cancellation(id(1), 1, order_id => '900', binding => current_setting('shape.binding'))$$, 'IL042', NULL, 'once');

-- orders
SELECT is((SELECT ROW(status, replayed, total) FROM pg_temp.place_order('o1', jsonb_build_array(pg_temp.line(1, 2), pg_temp.line(2, 1), pg_temp.line(1, 1)))), ROW('placed'::text, false, 10.00), 'an order of two variants, one of them on two lines');
SELECT is(pg_temp.levels(), '6 4', 'takes both');
SELECT is((SELECT ROW(status, replayed) FROM pg_temp.place_order('o1', jsonb_build_array(pg_temp.line(2, 1), pg_temp.line(1, 3)))), ROW('placed'::text, true), 'the same request again is replayed');
SELECT is(pg_temp.levels(), '6 4', 'and takes nothing');
SELECT throws_ok($$SELECT * FROM pg_temp.place_order('o1', jsonb_build_array(pg_temp.line(1, 1)))$$, 'IL021', NULL, 'another request under its key is refused');
SELECT throws_ok($$SELECT * FROM pg_temp.place_order('o2', jsonb_build_array(pg_temp.line(1, 1), pg_temp.line(2, 5)))$$, 'IL001', NULL, 'all lines or none');
SELECT is(pg_temp.levels(), '6 4', 'none');
SELECT is((SELECT ROW(status, replayed) FROM pg_temp.place_order('o3', jsonb_build_array(pg_temp.line(2, 5)), '{"on_failure": "record"}')), ROW('rejected'::text, false), 'a rejected order is recorded when that is asked for');
SELECT is((SELECT ROW(status, replayed) FROM pg_temp.place_order('o3', jsonb_build_array(pg_temp.line(2, 5)), '{"on_failure": "record"}')), ROW('rejected'::text, true), 'and replayed');
SELECT is((SELECT status FROM pg_temp.place_order('o4', jsonb_build_array(pg_temp.line(2, 9)), '{"partial": "available"}')), 'placed', 'an order may take what there is');
SELECT is(pg_temp.stock_of(2), '0 0 0 out_of_stock', 'all of it');
SELECT throws_ok($$SELECT * FROM pg_temp.place_order('o5', jsonb_build_array(pg_temp.line(1, 1)), '{"purchase_limit": 3}')$$, 'IL005', NULL, 'a purchase limit counts earlier orders');
SELECT order_id AS o1 FROM pg_temp.place_order('o1', jsonb_build_array(pg_temp.line(2, 1), pg_temp.line(1, 3))) \gset
SELECT order_id AS o4 FROM pg_temp.place_order('o4', jsonb_build_array(pg_temp.line(2, 9)), '{"partial": "available"}') \gset
SELECT is((SELECT ROW(status, restored, replayed) FROM inventory_lock.cancel_order_locked(:'o1', jsonb_build_array(jsonb_build_object('variant_id', id(1), 'quantity', 2)), request_key => 'c1', binding => :'binding')), ROW('partly_cancelled'::text, 2::bigint, false), 'a part is cancelled');
SELECT is((SELECT ROW(status, restored, replayed) FROM inventory_lock.cancel_order_locked(:'o1', jsonb_build_array(jsonb_build_object('variant_id', id(1), 'quantity', 2)), request_key => 'c1', binding => :'binding')), ROW('partly_cancelled'::text, 2::bigint, true), 'once');
SELECT is(pg_temp.levels(), '8 0', 'its stock is back');
SELECT throws_ok(format($$SELECT * FROM inventory_lock.cancel_order_locked(%L, jsonb_build_array(jsonb_build_object('variant_id', id(1), 'quantity', 2)), binding => current_setting('shape.binding'))$$, :'o1'), 'IL042', NULL, 'not more than remains');
SELECT is((SELECT ROW(status, shipped) FROM inventory_lock.fulfil_order_locked(:'o1', binding => :'binding')), ROW('fulfilled'::text, 2::bigint), 'the rest is fulfilled');
SELECT throws_ok(format($$SELECT * FROM inventory_lock.cancel_order_locked(%L, jsonb_build_array(jsonb_build_object('variant_id', id(1), 'quantity', 1)), binding => current_setting('shape.binding'))$$, :'o1'), 'IL042', NULL, 'what is fulfilled is not cancelled');
SELECT is((SELECT ROW(status, restored) FROM inventory_lock.cancel_order_locked(:'o4', binding => :'binding')), ROW('cancelled'::text, 4::bigint), 'a whole order is cancelled');
SELECT is((SELECT ROW(replayed, restored) FROM inventory_lock.cancel_order_locked(:'o4', binding => :'binding')), ROW(true, 0::bigint), 'once');
SELECT throws_ok($$SELECT * FROM inventory_lock.cancel_order_locked('999999', binding => current_setting('shape.binding'))$$, 'IL040', NULL, 'an order that is not there');
SELECT is(pg_temp.levels(), '8 4', 'levels after orders and cancellations');

-- reservations
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', jsonb_build_array(pg_temp.line(1, 5) - 'unit_price'), '1 hour', binding => :'binding') \gset
SELECT is(pg_temp.stock_of(1), '8 5 3 in_stock', 'a reservation holds units');
SELECT is(on_hand(1), 8::bigint, 'and takes none');
SELECT throws_ok($$SELECT * FROM inventory_lock.decrement_stock_on_purchase(id(1), 4, location_id => place(1), binding => current_setting('shape.binding'))$$, 'IL001', NULL, 'others buy only what is not held');
SELECT throws_ok($$SELECT * FROM inventory_lock.reserve_stock_locked('ben', jsonb_build_array(pg_temp.line(1, 4) - 'unit_price'), '1 hour', binding => current_setting('shape.binding'))$$, 'IL001', NULL, 'nor hold it again');
SELECT is((SELECT status FROM pg_temp.place_order('o6', jsonb_build_array(pg_temp.line(1, 6)), jsonb_build_object('reservation_id', :'hold'))), 'placed', 'its holder''s order uses it');
SELECT is(pg_temp.stock_of(1), '2 0 2 in_stock', 'and ends it');
SELECT throws_ok(format($$SELECT * FROM inventory_lock.release_reservation(%L, current_setting('shape.binding'))$$, :'hold'), 'IL032', NULL, 'a reservation ends once');
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', jsonb_build_array(pg_temp.line(2, 3) - 'unit_price'), '1 hour', binding => :'binding') \gset
SELECT is((SELECT state FROM inventory_lock.confirm_reservation(:'hold', '[{"line_no": 1, "quantity": 1}]', binding => :'binding')), 'confirmed', 'confirmed in part');
SELECT is(pg_temp.stock_of(2), '3 0 3 in_stock', 'the rest is released');
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', jsonb_build_array(pg_temp.line(2, 3) - 'unit_price'), '1 hour', binding => :'binding') \gset
SELECT is((SELECT state FROM inventory_lock.release_reservation(:'hold', :'binding')), 'released', 'released');
SELECT reservation_id AS hold FROM inventory_lock.reserve_stock_locked('anna', jsonb_build_array(pg_temp.line(2, 3) - 'unit_price'), '1 microsecond', binding => :'binding') \gset
SELECT is(pg_temp.stock_of(2), '3 0 3 in_stock', 'what has expired holds nothing');
SELECT is((SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(id(2), 3, location_id => place(1), binding => :'binding')), 0::bigint, 'and can be bought');
SELECT throws_ok(format($$SELECT * FROM inventory_lock.extend_reservation(%L, '1 hour', current_setting('shape.binding'))$$, :'hold'), 'IL031', NULL, 'it cannot be prolonged any more');

-- the ledger
SELECT is_empty($$SELECT * FROM inventory_lock.verify_stock(binding => current_setting('shape.binding')) WHERE drift <> 0$$, 'levels equal their ledgers');
SELECT throws_ok(format('DELETE FROM %s', (SELECT movement FROM inventory_lock.binding WHERE name = :'binding')), '55000', NULL, 'the ledger is append-only');
SELECT is((SELECT on_hand FROM inventory_lock.stock_at(id(1), '-infinity', place(1), :'binding')), 10::bigint, 'what a level was before everything');
SELECT is((SELECT on_hand FROM inventory_lock.stock_at(id(1), now() + interval '1 hour', place(1), :'binding')), on_hand(1), 'and is');
SELECT ok(a.fence > s.fence AND s.fence > 0, 'every change has a higher fence') FROM inventory_lock.stock(id(1), place(1), :'binding') s,
    inventory_lock.adjust_stock_locked(id(1), 1, location_id => place(1), binding => :'binding') a;
SELECT is(own_history(1), CASE WHEN own_history(1) IS NOT NULL THEN on_hand(1) - 10 END, 'the shop''s own history has every change, where it keeps one');
SELECT lives_ok($$SELECT spoil(1)$$, 'somebody writes behind our back');
SELECT is((SELECT drift FROM inventory_lock.verify_stock(id(1), current_setting('shape.binding')) WHERE drift <> 0), 7::bigint, 'drift is found');
SELECT is((SELECT rebuilt FROM inventory_lock.rebuild_stock(id(1), false, binding => :'binding') WHERE drift <> 0), true, 'and mended');
SELECT is(pg_temp.levels(), '3 0', 'levels at the end');

-- rows that are marked as deleted
SELECT CASE WHEN NOT remove(1) THEN skip('rows are deleted, not marked', 3) ELSE collect_tap(
    throws_ok($$SELECT * FROM inventory_lock.adjust_stock_locked(id(1), 1, location_id => place(1), binding => current_setting('shape.binding'))$$, 'IL002', NULL, 'a deleted row is none'),
    is_empty($$SELECT * FROM inventory_lock.stock(id(1), place(1), current_setting('shape.binding'))$$, 'it is not read'),
    lives_ok($$SELECT again(1)$$, 'and another may take its place'),
    is((SELECT quantity_after FROM inventory_lock.adjust_stock_locked(id(1), 1, location_id => place(1), binding => :'binding')), 8::bigint, 'which is changed alone')) END;
SELECT * FROM finish();
