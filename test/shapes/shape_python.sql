-- Shaped like the Python platform's: one row per variant with its place in it, reserved units and a
-- version, and adjustments that name the row. Its own adjustments are kept by a trigger on ours.
\set binding python
SET client_min_messages = error;
CREATE TABLE inventory (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    variant_id uuid NOT NULL UNIQUE,
    location_id uuid NOT NULL,
    quantity_available integer NOT NULL DEFAULT 0,
    quantity_reserved integer NOT NULL DEFAULT 0,
    low_stock_threshold integer NOT NULL DEFAULT 1,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE stock_adjustments (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    inventory_id uuid NOT NULL REFERENCES inventory,
    quantity_change integer NOT NULL,
    reason varchar(50) NOT NULL,
    adjusted_by_user_id uuid,
    notes text,
    created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO inventory (variant_id, location_id, quantity_available) VALUES ('00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-0000000000ff', 10),
    ('00000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-0000000000ff', 5);
SELECT inventory_lock.bind('python', 'inventory', on_hand_column => 'quantity_available', held_column => 'quantity_reserved');
CREATE FUNCTION copy_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO stock_adjustments (inventory_id, quantity_change, reason, adjusted_by_user_id, notes)
        SELECT i.id, NEW.delta, NEW.reason, NEW.actor::uuid, NEW.note FROM inventory i WHERE i.variant_id = NEW.variant_id AND NEW.delta <> 0;
    RETURN NULL;
END $$;
CREATE TRIGGER copy_adjustment AFTER INSERT ON inventory_movement FOR EACH ROW WHEN (NEW.delta <> 0) EXECUTE FUNCTION copy_adjustment();
CREATE FUNCTION id(n integer) RETURNS text LANGUAGE sql AS $$ SELECT '00000000-0000-4000-8000-00000000000' || n $$;
CREATE FUNCTION place(n integer) RETURNS text LANGUAGE sql AS $$ SELECT CASE n WHEN 1 THEN '00000000-0000-4000-8000-0000000000ff' END $$;
CREATE FUNCTION on_hand(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT quantity_available FROM inventory WHERE variant_id = id(n)::uuid $$;
CREATE FUNCTION own_history(n integer) RETURNS bigint LANGUAGE sql AS
$$ SELECT sum(quantity_change) FROM stock_adjustments a JOIN inventory i ON i.id = a.inventory_id WHERE i.variant_id = id(n)::uuid $$;
CREATE FUNCTION spoil(n integer) RETURNS void LANGUAGE sql AS $$ UPDATE inventory SET quantity_available = quantity_available + 7 WHERE variant_id = id(n)::uuid $$;
CREATE FUNCTION remove(n integer) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$;
CREATE FUNCTION again(n integer) RETURNS void LANGUAGE sql AS $$ SELECT $$;
