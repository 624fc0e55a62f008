-- How the row of a level is found must not show: with and without an index that serves, in a child
-- of the table, at one location of several, in columns of smaller types.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS inventory_lock CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level (variant_id, location_id, on_hand)
VALUES ('a', 'main', 10), ('b', 'cellar', 1), ('b', 'main', 10), ('d', 'cellar', 5);
CREATE FUNCTION pg_temp.take(variant text, units bigint, location text DEFAULT NULL)
RETURNS TABLE (location_id text, quantity_before bigint, quantity_after bigint, version bigint)
LANGUAGE sql AS $$
    SELECT location_id, quantity_before, quantity_after, version
    FROM inventory_lock.adjust_stock_locked(variant, -units, location_id => location)
$$;

SELECT * FROM pg_temp.take('a', 1);
SELECT * FROM pg_temp.take('b', 1);
SELECT * FROM pg_temp.take('b', 1);
SELECT * FROM pg_temp.take('b', 1, 'main');
SELECT * FROM pg_temp.take('b', 1, 'cellar');
SELECT * FROM pg_temp.take('b', 1, 'attic');
SELECT * FROM pg_temp.take('d', 1, 'main');
SELECT * FROM pg_temp.take('d', 1);
SELECT location_id, on_hand FROM inventory_lock.stock('b');

-- The index goes, and comes back, under a session that has used it.
ALTER TABLE shop.stock_level DROP CONSTRAINT stock_level_pkey;
ALTER TABLE shop.stock_level ADD CONSTRAINT by_location PRIMARY KEY (location_id, variant_id);
SELECT * FROM pg_temp.take('a', 1);
SELECT * FROM pg_temp.take('b', 1, 'main');
CREATE INDEX by_variant ON shop.stock_level (variant_id);
SELECT * FROM pg_temp.take('a', 1);
SELECT * FROM pg_temp.take('b', 1, 'main');
DROP INDEX shop.by_variant;
CREATE INDEX only_some ON shop.stock_level (variant_id) WHERE on_hand = 0;
SELECT * FROM pg_temp.take('b', 1);

-- A child table has rows of its own, which no index of the parent knows.
CREATE INDEX by_variant ON shop.stock_level (variant_id);
CREATE TABLE shop.more () INHERITS (shop.stock_level);
INSERT INTO shop.more (variant_id, on_hand) VALUES ('c', 5);
INSERT INTO shop.more (variant_id, location_id, on_hand) VALUES ('a', 'attic', 5);
SELECT * FROM pg_temp.take('c', 1);
SELECT * FROM pg_temp.take('a', 1);
DROP TABLE shop.more;

-- In one transaction: what it has written itself is seen.
BEGIN;
SELECT * FROM pg_temp.take('a', 1);
UPDATE shop.stock_level SET on_hand = 2 WHERE variant_id = 'a';
SELECT * FROM pg_temp.take('a', 1);
SAVEPOINT before;
SELECT * FROM pg_temp.take('a', 1);
ROLLBACK TO before;
SELECT * FROM pg_temp.take('a', 1);
SELECT * FROM pg_temp.take('a', 1);
ROLLBACK;

ALTER TABLE shop.stock_level ALTER on_hand TYPE smallint, ALTER version TYPE integer;
SELECT * FROM pg_temp.take('a', 1);
SELECT variant_id, drift FROM inventory_lock.verify_stock('a');
