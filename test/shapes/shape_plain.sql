-- The smallest there is: a product with its stock in it.
\set binding plain
SET client_min_messages = error;
CREATE TABLE products (id bigint PRIMARY KEY, title text, stock integer NOT NULL CHECK (stock >= 0));
INSERT INTO products VALUES (1, 'cup', 10), (2, 'plate', 5);
SELECT inventory_lock.bind('plain', 'products', variant_column => 'id', on_hand_column => 'stock');
CREATE FUNCTION id(n integer) RETURNS text LANGUAGE sql AS $$ SELECT n::text $$;
CREATE FUNCTION place(n integer) RETURNS text LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION on_hand(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT stock FROM products WHERE id = n $$;
CREATE FUNCTION own_history(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT NULL::bigint $$;
CREATE FUNCTION spoil(n integer) RETURNS void LANGUAGE sql AS $$ UPDATE products SET stock = stock + 7 WHERE id = n $$;
CREATE FUNCTION remove(n integer) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE FUNCTION again(n integer) RETURNS void LANGUAGE sql AS $$ SELECT $$;
