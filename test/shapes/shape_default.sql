-- The tables that create_tables makes.
\set binding default
SET client_min_messages = error;
SELECT inventory_lock.create_tables();
INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('red', 'main', 10), ('blue', 'main', 5), ('red', 'outlet', 0);
CREATE FUNCTION id(n integer) RETURNS text LANGUAGE sql AS $$ SELECT coalesce((ARRAY['red', 'blue'])[n], 'none') $$;
CREATE FUNCTION place(n integer) RETURNS text LANGUAGE sql AS $$ SELECT (ARRAY['main', 'outlet'])[n] $$;
CREATE FUNCTION on_hand(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT on_hand FROM shop.stock_level WHERE variant_id = id(n) AND location_id = 'main' $$;
CREATE FUNCTION own_history(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT NULL::bigint $$;
CREATE FUNCTION spoil(n integer) RETURNS void LANGUAGE sql AS $$ UPDATE shop.stock_level SET on_hand = on_hand + 7 WHERE variant_id = id(n) AND location_id = 'main' $$;
CREATE FUNCTION remove(n integer) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE FUNCTION again(n integer) RETURNS void LANGUAGE sql AS $$ SELECT $$;
