-- What nobody should send: the right SQLSTATE, the argument's name, and nothing left behind.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('1', 10);
CREATE FUNCTION pg_temp.adjust(arguments text) RETURNS text LANGUAGE sql AS
    $$SELECT pg_temp.try('SELECT * FROM inventory_lock.adjust_stock_locked(' || arguments || ')')$$;
CREATE FUNCTION pg_temp.place(arguments text) RETURNS text LANGUAGE sql AS
    $$SELECT pg_temp.try('SELECT * FROM inventory_lock.place_order_locked(' || arguments || ')')$$;
CREATE FUNCTION pg_temp.lines(lines text) RETURNS text LANGUAGE sql AS
    $$SELECT pg_temp.try(format('SELECT * FROM inventory_lock.place_order_locked(''u'', ''k'', %L)', lines))$$;
-- NULL
SELECT pg_temp.adjust('NULL::text, 1');
SELECT pg_temp.adjust('NULL::bigint, 1');
SELECT pg_temp.adjust('''1'', NULL');
SELECT pg_temp.adjust('''1'', 1, NULL');
SELECT pg_temp.adjust('''1'', 1, binding => NULL');
SELECT pg_temp.try('SELECT * FROM inventory_lock.decrement_stock_on_purchase(''1'', NULL)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.increment_stock_on_cancellation(NULL::text, 1)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.stock(NULL::text)');
SELECT pg_temp.place('NULL::text, ''k'', ''[]''');
SELECT pg_temp.place('''u'', NULL, ''[]''');
SELECT pg_temp.place('''u'', ''k'', NULL');
SELECT pg_temp.place('''u'', ''k'', ''[]'', NULL');
SELECT pg_temp.place('''u'', ''k'', ''[]'', ''{}'', NULL');
SELECT pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked(NULL::text)');
-- ids
SELECT pg_temp.adjust(''''', 1');
SELECT pg_temp.adjust('repeat(''x'', 300), 1');
SELECT pg_temp.adjust('E''a\nb'', 1');
SELECT pg_temp.adjust('E''a\x7f'', 1');
SELECT pg_temp.adjust('''product:1'', 1');
SELECT pg_temp.adjust('''1'', 1, location_id => ''''');
SELECT pg_temp.adjust('''1'', 1, location_id => E''a\tb''');
SELECT pg_temp.try('SELECT * FROM inventory_lock.decrement_stock_on_purchase(''1'', 1, '''')');
SELECT pg_temp.adjust('''1'', 1, binding => ''none''');
SELECT pg_temp.place(''''', ''k'', ''[{"variant_id": 1, "quantity": 1}]''');
SELECT pg_temp.place('E''u\n'', ''k'', ''[{"variant_id": 1, "quantity": 1}]''');
SELECT pg_temp.place('''u'', '''', ''[{"variant_id": 1, "quantity": 1}]''');
SELECT pg_temp.place('''u'', E''k\r'', ''[{"variant_id": 1, "quantity": 1}]''');
SELECT pg_temp.place('''u'', repeat(''k'', 256), ''[{"variant_id": 1, "quantity": 1}]''');
SELECT pg_temp.place('''u'', repeat(''k'', 255), ''[{"variant_id": 1, "quantity": 1}]''');
-- quantities
SELECT pg_temp.adjust('''1'', 0');
SELECT pg_temp.adjust('''1'', -9223372036854775808');
SELECT pg_temp.adjust('''1'', 9223372036854775807');
SELECT pg_temp.adjust('''1'', -9223372036854775807');
SELECT pg_temp.try('SELECT * FROM inventory_lock.decrement_stock_on_purchase(''1'', 0)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.decrement_stock_on_purchase(''1'', -1)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.decrement_stock_on_purchase(''1'', 9223372036854775807)');
SELECT pg_temp.try('SELECT * FROM inventory_lock.increment_stock_on_cancellation(''1'', -9223372036854775808)');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 0}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1}, {"variant_id": 1, "quantity": -1}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1.5}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1e30}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 9223372036854775807}, {"variant_id": 1, "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 9223372036854775807, "unit_price": 1}, {"variant_id": 1, "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 9223372036854775807}]');
-- JSON of the wrong shape
SELECT pg_temp.lines('1');
SELECT pg_temp.lines('null');
SELECT pg_temp.lines('{}');
SELECT pg_temp.lines('[]');
SELECT pg_temp.lines('[1]');
SELECT pg_temp.lines('[[]]');
SELECT pg_temp.lines('[{}]');
SELECT pg_temp.lines('[{"variant_id": 1}]');
SELECT pg_temp.lines('[{"quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": null, "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": true, "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": 1.5, "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": "", "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": "a\u0001", "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": [], "quantity": 1}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": "1"}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1, "unit_price": "1"}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1, "unit_price": -1}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1, "location_id": {}}]');
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1, "qantity": 1}]');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''[]''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{"currency": 1}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', (''{"a": '' || repeat(''['', 600) || repeat('']'', 600) || ''}'')::jsonb');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''[]''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"on_conflict": "maybe"}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"on_failure": 1}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"wait_timeout": 1}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"wait_timeout": "soon"}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"wait_timeout": "-1 s"}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"binding": "none"}''');
SELECT pg_temp.place('''u'', ''k'', ''[{"variant_id": 1, "quantity": 1}]'', ''{}'', ''{"colour": "red"}''');
SELECT pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked(1, ''{}'')');
SELECT pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked(1, ''[]'')');
SELECT pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked(1, ''[{"quantity": 1}]'')');
SELECT pg_temp.try('SELECT * FROM inventory_lock.cancel_order_locked(1, ''[{"line_no": 1, "quantity": 0}]'')');
-- intervals
SELECT pg_temp.adjust('''1'', 1, wait_timeout => ''-1 second''');
SELECT pg_temp.adjust('''1'', 1, wait_timeout => ''0''');
-- where nothing may be written
BEGIN READ ONLY;
SELECT * FROM inventory_lock.adjust_stock_locked('1', 1);
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": 1, "quantity": 1}]');
ROLLBACK;
BEGIN READ ONLY;
SELECT on_hand FROM inventory_lock.stock('1');
SELECT drift FROM inventory_lock.verify_stock();
COMMIT;
-- a key that no index could hold
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_locked('1', -1, request_key => repeat('k', 1001))$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked(1, request_key => repeat('k', 1001))$$);
-- lists that everything would have to be compared with
SELECT pg_temp.try($$SELECT * FROM inventory_lock.place_order_locked('ann', 'k', '[{"variant_id": 1, "quantity": 1}]', '{}',
    (SELECT jsonb_build_object('locations', jsonb_agg(n)) FROM generate_series(1, 1001) n))$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.cancel_order_locked(1,
    (SELECT jsonb_agg(jsonb_build_object('line_no', n)) FROM generate_series(1, 10001) n))$$);
-- more keys than one transaction may take
SET inventory_lock.max_keys_per_transaction = 2;
SELECT pg_temp.lines('[{"variant_id": 1, "quantity": 1}, {"variant_id": 2, "quantity": 1}, {"variant_id": 3, "quantity": 1}]');
RESET inventory_lock.max_keys_per_transaction;
-- nothing is left: no row but the one good adjustment, no gate
SELECT (SELECT count(*) FROM shop.orders) AS orders, (SELECT count(*) FROM shop.order_line) AS lines,
       (SELECT count(*) FROM shop.stock_movement) AS movements, (SELECT on_hand FROM shop.stock_level) AS on_hand;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
