-- Shaped like Saleor's: a row per warehouse and variant, allocated units counted beside them, no
-- history at all.
\set binding saleor
SET client_min_messages = error;
CREATE TABLE product_variant (id serial PRIMARY KEY, sku text UNIQUE);
CREATE TABLE warehouse (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE warehouse_stock (
    id serial PRIMARY KEY,
    quantity integer NOT NULL CHECK (quantity >= 0),
    quantity_allocated integer NOT NULL DEFAULT 0 CHECK (quantity_allocated >= 0),
    product_variant_id integer NOT NULL REFERENCES product_variant,
    warehouse_id uuid NOT NULL REFERENCES warehouse,
    UNIQUE (warehouse_id, product_variant_id));
CREATE TABLE allocation (id serial PRIMARY KEY, order_line_id integer NOT NULL, stock_id integer NOT NULL REFERENCES warehouse_stock, quantity_allocated integer NOT NULL);
INSERT INTO product_variant VALUES (1, 'shirt-red'), (2, 'shirt-blue');
INSERT INTO warehouse VALUES ('00000000-0000-4000-8000-000000000001', 'Oslo'), ('00000000-0000-4000-8000-000000000002', 'Turin');
INSERT INTO warehouse_stock (product_variant_id, warehouse_id, quantity)
    VALUES (1, '00000000-0000-4000-8000-000000000001', 10), (2, '00000000-0000-4000-8000-000000000001', 5), (1, '00000000-0000-4000-8000-000000000002', 0);
SELECT inventory_lock.bind('saleor', 'warehouse_stock', variant_column => 'product_variant_id', location_column => 'warehouse_id',
    on_hand_column => 'quantity', held_column => 'quantity_allocated');
CREATE FUNCTION id(n integer) RETURNS text LANGUAGE sql AS $$ SELECT n::text $$;
CREATE FUNCTION place(n integer) RETURNS text LANGUAGE sql AS $$ SELECT '00000000-0000-4000-8000-00000000000' || n $$;
CREATE FUNCTION on_hand(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT quantity FROM warehouse_stock WHERE product_variant_id = n AND warehouse_id = place(1)::uuid $$;
CREATE FUNCTION own_history(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT NULL::bigint $$;
CREATE FUNCTION spoil(n integer) RETURNS void LANGUAGE sql AS $$ UPDATE warehouse_stock SET quantity = quantity + 7 WHERE product_variant_id = n AND warehouse_id = place(1)::uuid $$;
CREATE FUNCTION remove(n integer) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE FUNCTION again(n integer) RETURNS void LANGUAGE sql AS $$ SELECT $$;
