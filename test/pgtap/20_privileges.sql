-- Who may call what, and who may see what, as installed.
BEGIN;
SELECT plan(11);

CREATE ROLE il_nobody;
CREATE ROLE il_monitor IN ROLE pg_monitor;

CREATE FUNCTION pg_temp.callable(role name) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT DISTINCT proname::text FROM pg_proc
    WHERE pronamespace = 'inventory_lock'::regnamespace AND has_function_privilege(role, oid, 'EXECUTE')
$$;

SELECT ok(has_schema_privilege('il_nobody', 'inventory_lock', 'USAGE'), 'everybody may use the schema');
SELECT ok(NOT has_schema_privilege('il_nobody', 'inventory_lock', 'CREATE'), 'nobody may create anything in it');

-- stock and orders: the tables' own privileges decide
SELECT set_has($$SELECT pg_temp.callable('il_nobody')$$,
    $$VALUES ('adjust_stock_locked'), ('decrement_stock_on_purchase'), ('increment_stock_on_cancellation'), ('stock'),
             ('verify_stock'), ('stock_at'), ('rebuild_stock'), ('place_order_locked'), ('cancel_order_locked'), ('return_order_locked'),
             ('outbox_fetch'), ('outbox_ack')$$, 'everybody may call stock and order functions');
-- what takes names of the caller's choice, or changes how all others work
SELECT set_hasnt($$SELECT pg_temp.callable('il_nobody')$$,
    $$VALUES ('acquire_lock'), ('try_acquire_lock'), ('acquire_stock_lock'), ('acquire_product_lock'), ('assert_fence'), ('create_tables'),
             ('bind'), ('unbind'), ('check_binding'), ('create_outbox'),
             ('binding_changed'), ('force_release_lock'), ('stat_reset')$$, 'but not these');
-- keys tell who buys what
SELECT set_hasnt($$SELECT pg_temp.callable('il_nobody')$$,
    $$VALUES ('get_lock_stats'), ('get_foreign_locks'), ('status')$$, 'nor what shows keys and statistics');
SELECT set_has($$SELECT pg_temp.callable('il_monitor')$$, $$VALUES ('get_lock_stats'), ('status')$$, 'pg_monitor may');
SELECT set_hasnt($$SELECT pg_temp.callable('il_monitor')$$, $$VALUES ('force_release_lock'), ('stat_reset')$$,
    'but neither force nor reset');
SELECT is_empty($$SELECT relname FROM pg_class WHERE relnamespace = 'inventory_lock'::regnamespace AND relkind = 'v'
    AND has_table_privilege('il_nobody', oid, 'SELECT')$$, 'views are not for everybody');
SELECT is_empty($$SELECT relname FROM pg_class WHERE relnamespace = 'inventory_lock'::regnamespace AND relkind = 'v'
    AND NOT has_table_privilege('il_monitor', oid, 'SELECT')$$, 'pg_monitor sees all views');
SELECT ok(has_table_privilege('il_nobody', 'inventory_lock.binding', 'SELECT'), 'everybody may read the bindings');
SELECT ok(NOT has_table_privilege('il_nobody', 'inventory_lock.binding', 'INSERT, UPDATE, DELETE, TRUNCATE'),
    'nobody else may write them');

SELECT * FROM finish();
ROLLBACK;
