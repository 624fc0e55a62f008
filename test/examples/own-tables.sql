-- The tables that a reader of docs/own-tables.md has. Another part of the shop has bound inventory already.
CREATE TABLE inventory (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, variant_id integer NOT NULL UNIQUE,
    quantity_available integer NOT NULL, quantity_reserved integer NOT NULL DEFAULT 0);
CREATE TABLE stock_adjustments (adjustment bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory_id integer,
    variant_id integer, quantity_change integer NOT NULL, reason text, notes text, adjusted_by text);
CREATE TABLE sales (sale bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL,
    idempotency_key text NOT NULL, status text NOT NULL, data jsonb, request_fingerprint text, response jsonb,
    UNIQUE (customer, idempotency_key));
CREATE TABLE sale_items (sale bigint NOT NULL, pos integer NOT NULL, variant_id integer NOT NULL, qty integer NOT NULL,
    cancelled integer NOT NULL DEFAULT 0, fulfilled integer NOT NULL DEFAULT 0, PRIMARY KEY (sale, pos));
CREATE TABLE invoice (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL);
CREATE TABLE invoice_item (invoice bigint REFERENCES invoice, product integer, pieces integer, price numeric);
SELECT inventory_lock.bind('default', 'inventory', variant_column => 'variant_id',
    on_hand_column => 'quantity_available', held_column => 'quantity_reserved');
SELECT inventory_lock.unbind('default');
