-- Shaped like Solidus': stock items that are marked as deleted, and movements that name the stock
-- item and not the variant. Its own movements are kept by a trigger on ours.
\set binding solidus
SET client_min_messages = error;
CREATE TABLE spree_stock_items (
    id serial PRIMARY KEY,
    stock_location_id integer NOT NULL,
    variant_id integer NOT NULL,
    count_on_hand integer NOT NULL DEFAULT 0,
    backorderable boolean NOT NULL DEFAULT false,
    created_at timestamp(6) DEFAULT now(),
    updated_at timestamp(6) DEFAULT now(),
    deleted_at timestamp);
CREATE UNIQUE INDEX ON spree_stock_items (variant_id, stock_location_id) WHERE deleted_at IS NULL;
CREATE TABLE spree_stock_movements (
    id serial PRIMARY KEY,
    stock_item_id integer REFERENCES spree_stock_items,
    quantity integer DEFAULT 0,
    action text,
    originator_type text,
    originator_id text,
    created_at timestamp(6) DEFAULT now());
INSERT INTO spree_stock_items (stock_location_id, variant_id, count_on_hand) VALUES (1, 1, 10), (1, 2, 5), (2, 1, 0);
SELECT inventory_lock.bind('solidus', 'spree_stock_items', location_column => 'stock_location_id', on_hand_column => 'count_on_hand',
    columns => '{"stock_level": {"backorder_limit": "backorderable"}}');
CREATE FUNCTION copy_movement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO spree_stock_movements (stock_item_id, quantity, action, originator_type, originator_id)
        SELECT i.id, NEW.delta, NEW.kind, NEW.reference_type, NEW.reference_id FROM spree_stock_items i
        WHERE (i.variant_id, i.stock_location_id) = (NEW.variant_id, NEW.location_id) AND i.deleted_at IS NULL AND NEW.delta <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER copy_movement AFTER INSERT ON spree_stock_items_movement FOR EACH ROW EXECUTE FUNCTION copy_movement();
CREATE FUNCTION id(n integer) RETURNS text LANGUAGE sql AS $$ SELECT n::text $$;
CREATE FUNCTION place(n integer) RETURNS text LANGUAGE sql AS $$ SELECT n::text $$;
CREATE FUNCTION on_hand(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT count_on_hand FROM spree_stock_items WHERE variant_id = n AND stock_location_id = 1 AND deleted_at IS NULL $$;
CREATE FUNCTION own_history(n integer) RETURNS bigint LANGUAGE sql AS
$$ SELECT sum(quantity) FROM spree_stock_movements m JOIN spree_stock_items i ON i.id = m.stock_item_id WHERE i.variant_id = n AND i.stock_location_id = 1 $$;
CREATE FUNCTION spoil(n integer) RETURNS void LANGUAGE sql AS
$$ UPDATE spree_stock_items SET count_on_hand = count_on_hand + 7 WHERE variant_id = n AND stock_location_id = 1 AND deleted_at IS NULL $$;
CREATE FUNCTION remove(n integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE spree_stock_items SET deleted_at = now() WHERE variant_id = n AND stock_location_id = 1 AND deleted_at IS NULL;
    RETURN true;
END $$;
CREATE FUNCTION again(n integer) RETURNS void LANGUAGE sql AS $$ INSERT INTO spree_stock_items (stock_location_id, variant_id, count_on_hand) VALUES (1, n, 7) $$;
