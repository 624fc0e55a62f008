-- Shaped like Medusa's: quantities in numeric beside their raw forms, ids of text, rows marked as
-- deleted, and one row per item and location among those that are not. What it reserves is held.
\set binding medusa
SET client_min_messages = error;
CREATE TABLE inventory_level (
    id text PRIMARY KEY DEFAULT 'ilev_' || gen_random_uuid(),
    inventory_item_id text NOT NULL,
    location_id text NOT NULL,
    stocked_quantity numeric NOT NULL DEFAULT 0,
    reserved_quantity numeric NOT NULL DEFAULT 0,
    incoming_quantity numeric NOT NULL DEFAULT 0,
    raw_stocked_quantity jsonb,
    metadata jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz);
CREATE UNIQUE INDEX ON inventory_level (inventory_item_id, location_id) WHERE deleted_at IS NULL;
INSERT INTO inventory_level (inventory_item_id, location_id, stocked_quantity) VALUES ('iitem_1', 'sloc_1', 10), ('iitem_2', 'sloc_1', 5), ('iitem_1', 'sloc_2', 0);
INSERT INTO inventory_level (inventory_item_id, location_id, stocked_quantity, deleted_at) VALUES ('iitem_1', 'sloc_1', 99, now());
SELECT inventory_lock.bind('medusa', 'inventory_level', variant_column => 'inventory_item_id', on_hand_column => 'stocked_quantity', held_column => 'reserved_quantity');
CREATE FUNCTION id(n integer) RETURNS text LANGUAGE sql AS $$ SELECT 'iitem_' || n $$;
CREATE FUNCTION place(n integer) RETURNS text LANGUAGE sql AS $$ SELECT 'sloc_' || n $$;
CREATE FUNCTION on_hand(n integer) RETURNS bigint LANGUAGE sql AS
$$ SELECT stocked_quantity::bigint FROM inventory_level WHERE inventory_item_id = id(n) AND location_id = 'sloc_1' AND deleted_at IS NULL $$;
CREATE FUNCTION own_history(n integer) RETURNS bigint LANGUAGE sql AS $$ SELECT NULL::bigint $$;
CREATE FUNCTION spoil(n integer) RETURNS void LANGUAGE sql AS
$$ UPDATE inventory_level SET stocked_quantity = stocked_quantity + 7 WHERE inventory_item_id = id(n) AND location_id = 'sloc_1' AND deleted_at IS NULL $$;
CREATE FUNCTION remove(n integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE inventory_level SET deleted_at = now() WHERE inventory_item_id = id(n) AND location_id = 'sloc_1' AND deleted_at IS NULL;
    RETURN true;
END $$;
CREATE FUNCTION again(n integer) RETURNS void LANGUAGE sql AS $$ INSERT INTO inventory_level (inventory_item_id, location_id, stocked_quantity) VALUES (id(n), 'sloc_1', 7) $$;
