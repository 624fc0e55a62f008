-- Which tables hold stock and orders.

REVOKE CREATE ON SCHEMA inventory_lock FROM PUBLIC;
GRANT USAGE ON SCHEMA inventory_lock TO PUBLIC;
COMMENT ON SCHEMA inventory_lock IS 'stock changes and orders locked in Redis, then in the row';

CREATE TABLE inventory_lock.binding (
    name text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    stock_level regclass NOT NULL,
    movement regclass NOT NULL,
    orders regclass,
    order_line regclass,
    reservation regclass,
    outbox regclass,
    outbox_consumer regclass,
    order_writer text,
    lock_per_location boolean NOT NULL DEFAULT false,
    columns jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(columns) = 'object')
);
COMMENT ON TABLE inventory_lock.binding IS
    'tables that hold stock and orders; columns: {"stock_level": {"on_hand": "name in the table or null"}}, without what is called as usual';
-- A table that is gone would be dumped as a number, which may be that of any table where it is restored.
SELECT pg_catalog.pg_extension_config_dump('inventory_lock.binding', $$WHERE NOT EXISTS (
    SELECT FROM pg_catalog.unnest(ARRAY[stock_level, movement, orders, order_line, reservation, outbox, outbox_consumer]) AS t
    WHERE t IS NOT NULL AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) t))$$);
REVOKE ALL ON inventory_lock.binding FROM PUBLIC;
GRANT SELECT ON inventory_lock.binding TO PUBLIC;

CREATE FUNCTION inventory_lock.binding_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_binding_changed';
REVOKE ALL ON FUNCTION inventory_lock.binding_changed() FROM PUBLIC;
COMMENT ON FUNCTION inventory_lock.binding_changed() IS 'tells all sessions to read the bindings again';
CREATE TRIGGER binding_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON inventory_lock.binding
    FOR EACH STATEMENT EXECUTE FUNCTION inventory_lock.binding_changed();

CREATE FUNCTION inventory_lock.create_tables(schema name DEFAULT 'shop') RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_create_tables';
REVOKE ALL ON FUNCTION inventory_lock.create_tables(name) FROM PUBLIC;
COMMENT ON FUNCTION inventory_lock.create_tables(name) IS
    'creates tables for stock and orders that belong to the caller, and binds them as default';

CREATE FUNCTION inventory_lock.bind(
        name text, stock_level regclass, movement regclass DEFAULT NULL, orders regclass DEFAULT NULL,
        order_line regclass DEFAULT NULL, reservation regclass DEFAULT NULL, columns jsonb DEFAULT '{}',
        lock_per_location boolean DEFAULT false, variant_column text DEFAULT NULL,
        location_column text DEFAULT NULL, product_column text DEFAULT NULL, on_hand_column text DEFAULT NULL,
        held_column text DEFAULT NULL, version_column text DEFAULT NULL, fence_column text DEFAULT NULL,
        create_missing boolean DEFAULT true, order_writer regprocedure DEFAULT NULL)
    RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_bind';
REVOKE ALL ON FUNCTION inventory_lock.bind(text, regclass, regclass, regclass, regclass, regclass, jsonb, boolean,
    text, text, text, text, text, text, text, boolean, regprocedure) FROM PUBLIC;
COMMENT ON FUNCTION inventory_lock.bind(text, regclass, regclass, regclass, regclass, regclass, jsonb, boolean,
    text, text, text, text, text, text, text, boolean, regprocedure) IS 'puts tables that exist already to use, under a name';

CREATE FUNCTION inventory_lock.create_outbox(binding text DEFAULT 'default') RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_create_outbox';
REVOKE ALL ON FUNCTION inventory_lock.create_outbox(text) FROM PUBLIC;
COMMENT ON FUNCTION inventory_lock.create_outbox(text) IS
    'creates tables for events beside the stock table of a binding; from then on events are written';

CREATE FUNCTION inventory_lock.unbind(name text) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_unbind';
REVOKE ALL ON FUNCTION inventory_lock.unbind(text) FROM PUBLIC;
COMMENT ON FUNCTION inventory_lock.unbind(text) IS 'forgets a binding; its tables stay as they are';

CREATE FUNCTION inventory_lock.check_binding(name text DEFAULT 'default')
    RETURNS TABLE (severity text, table_name text, message text, hint text)
    LANGUAGE c ROWS 10 AS 'MODULE_PATHNAME', 'inventory_lock_check_binding';
REVOKE ALL ON FUNCTION inventory_lock.check_binding(text) FROM PUBLIC;
COMMENT ON FUNCTION inventory_lock.check_binding(text) IS 'what is wrong with the tables of a binding, or will hurt';
