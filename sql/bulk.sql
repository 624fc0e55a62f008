-- adjust_stock_bulk_locked: many variants in one call, all or nothing or as far as possible.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/sql/include/try.sql
INSERT INTO shop.stock_level (variant_id, on_hand) SELECT n::text, 10 FROM generate_series(1, 2000) AS n;
SELECT item, variant_id, location_id, delta, quantity_before, quantity_after, fence > 0 AS fenced, protection IN ('redis', 'database') AS protected, sqlstate
    FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 7, "delta": 5}, {"variant_id": "10", "delta": -3},
        {"variant_id": 7, "delta": -15, "location_id": "main"}, {"variant_id": 9, "delta": 1, "expected": 10}]', actor => 'ann');
SELECT variant_id, kind, delta, on_hand_after, reason, actor FROM shop.stock_movement ORDER BY variant_id;
-- the order of items counts: units that come first may go afterwards
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 7, "delta": -1}, {"variant_id": 7, "delta": 5}]')$$);
SELECT item, quantity_after FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 7, "delta": 5}, {"variant_id": 7, "delta": -1}]');
-- all shortages at once
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": -11}, {"variant_id": 2, "delta": -1}, {"variant_id": 3, "delta": -12}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": -11}, {"variant_id": "none", "delta": -1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": -1, "expected": 3}]')$$);
SELECT sum(on_hand) FROM shop.stock_level WHERE variant_id IN ('1', '2', '3');
SELECT item, variant_id, location_id, quantity_after, sqlstate, message
    FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": -11}, {"variant_id": 2, "delta": -1}, {"variant_id": "none", "delta": 1},
        {"variant_id": 3, "delta": -1, "expected": 3}, {"variant_id": 1, "delta": -10}, {"variant_id": 4, "delta": 9223372036854775807}]', 'best_effort');
SELECT item, sqlstate FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "none", "delta": 1}]', 'best_effort');
-- wrong input
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked(NULL)$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('{}')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[7]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": 0}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": 1.5}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "", "delta": 1}]')$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": 1, "delta": 1}]', 'half')$$);
-- thousands; a transaction's keys are limited
CREATE VIEW pg_temp.many AS SELECT jsonb_agg(jsonb_build_object('variant_id', n, 'delta', 1)) AS items FROM generate_series(1, 2000) AS n;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked((SELECT items FROM pg_temp.many))$$);
SET inventory_lock.max_keys_per_transaction = 2002;
SELECT count(*), count(sqlstate) AS failed FROM inventory_lock.adjust_stock_bulk_locked((SELECT items FROM pg_temp.many));
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
SELECT sum(on_hand) FROM shop.stock_level;
-- failures at both ends of a change that is worked off in parts: in the order of the items
CREATE VIEW pg_temp.failing AS SELECT jsonb_agg(jsonb_build_object('variant_id', n,
    'delta', CASE WHEN n IN (999, 1) THEN -1000 ELSE 1 END) ORDER BY n <> 999, n) AS items FROM generate_series(1, 2000) AS n;
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked((SELECT items FROM pg_temp.failing))$$);
SELECT pg_temp.try($$SELECT * FROM inventory_lock.adjust_stock_bulk_locked((SELECT '[{"variant_id": "y", "delta": 1}, {"variant_id": "b", "delta": 1}]' || items
    FROM pg_temp.many))$$);
SELECT sum(on_hand) FROM shop.stock_level;
SELECT item, variant_id, quantity_before, sqlstate, fence IS NULL AS no_fence
    FROM inventory_lock.adjust_stock_bulk_locked((SELECT items FROM pg_temp.failing), 'best_effort') WHERE item < 3 OR sqlstate IS NOT NULL;
SELECT sum(on_hand) FROM shop.stock_level;
SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0;
-- needs of one variant, with a location and without, mean the same level
SELECT item, quantity_before, quantity_after FROM inventory_lock.adjust_stock_bulk_locked((SELECT items || '[{"variant_id": 8, "delta": 2, "location_id": "main"},
    {"variant_id": 8, "delta": 3}]' FROM pg_temp.many)) WHERE variant_id = '8' ORDER BY item;
DROP EXTENSION inventory_lock;
DROP SCHEMA shop CASCADE;
