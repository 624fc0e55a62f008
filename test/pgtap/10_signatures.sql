-- The signatures that users rely on: names, arguments, defaults and results as documented.
-- A change here is a change of the interface and belongs into CHANGELOG.md.
BEGIN;
SELECT plan(53 + 6);

CREATE TEMP TABLE documented (name text, arguments text, result text);
INSERT INTO documented VALUES
    ('confirm_reservation', 'reservation_id text, lines jsonb DEFAULT NULL::jsonb, order_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(reservation_id text, holder text, state text, expires_at timestamp with time zone, lines jsonb, protection text, waited_ms double precision)'),
    ('extend_reservation', 'reservation_id text, ttl interval, binding text DEFAULT ''default''::text',
     'TABLE(reservation_id text, holder text, state text, expires_at timestamp with time zone, lines jsonb, protection text, waited_ms double precision)'),
    ('release_reservation', 'reservation_id text, binding text DEFAULT ''default''::text',
     'TABLE(reservation_id text, holder text, state text, expires_at timestamp with time zone, lines jsonb, protection text, waited_ms double precision)'),
    ('reserve_stock_locked', 'holder text, lines jsonb, ttl interval, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(reservation_id text, holder text, state text, expires_at timestamp with time zone, lines jsonb, protection text, waited_ms double precision)'),
    ('adjust_stock_bulk_locked', 'items jsonb, policy text DEFAULT ''all_or_nothing''::text, reason text DEFAULT ''adjust''::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(item bigint, variant_id text, location_id text, delta bigint, quantity_before bigint, quantity_after bigint, fence bigint, protection text, sqlstate text, message text)'),
    ('fulfil_order_locked', 'order_id bigint, lines jsonb DEFAULT NULL::jsonb, binding text DEFAULT ''default''::text',
     'TABLE(order_id text, status text, replayed boolean, shipped bigint, lines jsonb, fence bigint, protection text, waited_ms double precision)'),
    ('fulfil_order_locked', 'order_id text, lines jsonb DEFAULT NULL::jsonb, binding text DEFAULT ''default''::text',
     'TABLE(order_id text, status text, replayed boolean, shipped bigint, lines jsonb, fence bigint, protection text, waited_ms double precision)'),
    ('fulfil_order_locked', 'order_id uuid, lines jsonb DEFAULT NULL::jsonb, binding text DEFAULT ''default''::text',
     'TABLE(order_id text, status text, replayed boolean, shipped bigint, lines jsonb, fence bigint, protection text, waited_ms double precision)'),
    ('set_stock_locked', 'variant_id bigint, counted bigint, reason text DEFAULT ''count''::text, location_id text DEFAULT NULL::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, expected bigint DEFAULT NULL::bigint, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('set_stock_locked', 'variant_id text, counted bigint, reason text DEFAULT ''count''::text, location_id text DEFAULT NULL::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, expected bigint DEFAULT NULL::bigint, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('set_stock_locked', 'variant_id uuid, counted bigint, reason text DEFAULT ''count''::text, location_id text DEFAULT NULL::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, expected bigint DEFAULT NULL::bigint, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('transfer_stock_locked', 'variant_id bigint, quantity bigint, from_location text, to_location text, reason text DEFAULT ''transfer''::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('transfer_stock_locked', 'variant_id text, quantity bigint, from_location text, to_location text, reason text DEFAULT ''transfer''::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('transfer_stock_locked', 'variant_id uuid, quantity bigint, from_location text, to_location text, reason text DEFAULT ''transfer''::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('acquire_lock', 'name text, wait_timeout interval DEFAULT NULL::interval, ttl interval DEFAULT NULL::interval',
     'bigint'),
    ('acquire_stock_lock', 'variant_id bigint, location_id text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'bigint'),
    ('acquire_stock_lock', 'variant_id text, location_id text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'bigint'),
    ('acquire_stock_lock', 'variant_id uuid, location_id text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'bigint'),
    ('adjust_stock_locked', 'variant_id bigint, delta bigint, reason text DEFAULT ''adjust''::text, location_id text DEFAULT NULL::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, expected bigint DEFAULT NULL::bigint, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('adjust_stock_locked', 'variant_id text, delta bigint, reason text DEFAULT ''adjust''::text, location_id text DEFAULT NULL::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, expected bigint DEFAULT NULL::bigint, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('adjust_stock_locked', 'variant_id uuid, delta bigint, reason text DEFAULT ''adjust''::text, location_id text DEFAULT NULL::text, reference_type text DEFAULT NULL::text, reference_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, note text DEFAULT NULL::text, request_key text DEFAULT NULL::text, expected bigint DEFAULT NULL::bigint, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('assert_fence', 'key text, fence bigint',
     'void'),
    ('cancel_order_locked', 'order_id bigint, lines jsonb DEFAULT NULL::jsonb, reason text DEFAULT ''cancelled''::text, request_key text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(order_id text, status text, replayed boolean, restored bigint, lines jsonb, fence bigint, protection text, waited_ms double precision)'),
    ('cancel_order_locked', 'order_id text, lines jsonb DEFAULT NULL::jsonb, reason text DEFAULT ''cancelled''::text, request_key text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(order_id text, status text, replayed boolean, restored bigint, lines jsonb, fence bigint, protection text, waited_ms double precision)'),
    ('cancel_order_locked', 'order_id uuid, lines jsonb DEFAULT NULL::jsonb, reason text DEFAULT ''cancelled''::text, request_key text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(order_id text, status text, replayed boolean, restored bigint, lines jsonb, fence bigint, protection text, waited_ms double precision)'),
    ('bind', 'name text, stock_level regclass, movement regclass DEFAULT NULL::regclass, orders regclass DEFAULT NULL::regclass, order_line regclass DEFAULT NULL::regclass, reservation regclass DEFAULT NULL::regclass, columns jsonb DEFAULT ''{}''::jsonb, lock_per_location boolean DEFAULT false, variant_column text DEFAULT NULL::text, location_column text DEFAULT NULL::text, product_column text DEFAULT NULL::text, on_hand_column text DEFAULT NULL::text, held_column text DEFAULT NULL::text, version_column text DEFAULT NULL::text, fence_column text DEFAULT NULL::text',
     'void'),
    ('check_binding', 'name text DEFAULT ''default''::text',
     'TABLE(severity text, table_name text, message text, hint text)'),
    ('unbind', 'name text',
     'boolean'),
    ('create_tables', 'schema name DEFAULT ''shop''::name',
     'void'),
    ('decrement_stock_on_purchase', 'variant_id bigint, quantity bigint, order_id text DEFAULT NULL::text, location_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('decrement_stock_on_purchase', 'variant_id text, quantity bigint, order_id text DEFAULT NULL::text, location_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('decrement_stock_on_purchase', 'variant_id uuid, quantity bigint, order_id text DEFAULT NULL::text, location_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('force_release_lock', 'key text',
     'boolean'),
    ('get_lock_stats', '',
     'jsonb'),
    ('increment_stock_on_cancellation', 'variant_id bigint, quantity bigint, order_id text DEFAULT NULL::text, location_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('increment_stock_on_cancellation', 'variant_id text, quantity bigint, order_id text DEFAULT NULL::text, location_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('increment_stock_on_cancellation', 'variant_id uuid, quantity bigint, order_id text DEFAULT NULL::text, location_id text DEFAULT NULL::text, actor text DEFAULT NULL::text, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint, quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint, protection text, replayed boolean, waited_ms double precision)'),
    ('place_order_locked', 'user_id bigint, idempotency_key text, lines jsonb, order_data jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb',
     'TABLE(order_id text, status text, replayed boolean, total numeric, lines jsonb, fence bigint, protection text, waited_ms double precision, sqlstate text, response jsonb, created_at timestamp with time zone)'),
    ('place_order_locked', 'user_id text, idempotency_key text, lines jsonb, order_data jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb',
     'TABLE(order_id text, status text, replayed boolean, total numeric, lines jsonb, fence bigint, protection text, waited_ms double precision, sqlstate text, response jsonb, created_at timestamp with time zone)'),
    ('place_order_locked', 'user_id uuid, idempotency_key text, lines jsonb, order_data jsonb DEFAULT ''{}''::jsonb, options jsonb DEFAULT ''{}''::jsonb',
     'TABLE(order_id text, status text, replayed boolean, total numeric, lines jsonb, fence bigint, protection text, waited_ms double precision, sqlstate text, response jsonb, created_at timestamp with time zone)'),
    ('rebuild_stock', 'variant_id bigint, dry_run boolean DEFAULT true, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, level bigint, ledger bigint, drift bigint, rebuilt boolean)'),
    ('rebuild_stock', 'variant_id text, dry_run boolean DEFAULT true, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, level bigint, ledger bigint, drift bigint, rebuilt boolean)'),
    ('rebuild_stock', 'variant_id uuid, dry_run boolean DEFAULT true, wait_timeout interval DEFAULT NULL::interval, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, level bigint, ledger bigint, drift bigint, rebuilt boolean)'),
    ('stat_reset', '',
     'void'),
    ('status', '',
     'jsonb'),
    ('stock', 'variant_id bigint, location_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, on_hand bigint, held bigint, safety_stock bigint, available bigint, stock_status text, version bigint, fence bigint)'),
    ('stock', 'variant_id text, location_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, on_hand bigint, held bigint, safety_stock bigint, available bigint, stock_status text, version bigint, fence bigint)'),
    ('stock', 'variant_id uuid, location_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, on_hand bigint, held bigint, safety_stock bigint, available bigint, stock_status text, version bigint, fence bigint)'),
    ('stock_at', 'variant_id bigint, at timestamp with time zone, location_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, on_hand bigint)'),
    ('stock_at', 'variant_id text, at timestamp with time zone, location_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, on_hand bigint)'),
    ('stock_at', 'variant_id uuid, at timestamp with time zone, location_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, on_hand bigint)'),
    ('try_acquire_lock', 'name text, ttl interval DEFAULT NULL::interval',
     'bigint'),
    ('verify_stock', 'variant_id text DEFAULT NULL::text, binding text DEFAULT ''default''::text',
     'TABLE(variant_id text, location_id text, level bigint, ledger bigint, drift bigint)');

CREATE TEMP VIEW functions AS
    SELECT p.*, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
    FROM pg_proc p WHERE pronamespace = 'inventory_lock'::regnamespace;

SELECT is((SELECT array_agg(result) FROM functions f WHERE f.proname = d.name AND f.arguments = d.arguments), ARRAY[d.result],
          format('%s(%s)', d.name, split_part(d.arguments, ',', 1)))
    FROM documented d ORDER BY d.name, d.arguments;

SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE provolatile <> 'v'$$, 'all functions are VOLATILE');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE proparallel <> 'u'$$, 'all functions are PARALLEL UNSAFE');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE prosecdef$$, 'all functions are SECURITY INVOKER');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE proconfig IS NOT NULL$$, 'no function sets anything, search_path included');
SELECT is_empty($$SELECT oid::regprocedure FROM functions WHERE proisstrict$$, 'no function is STRICT: a NULL is answered with an error');
-- a call without arguments must be unique
SELECT is_empty($$SELECT proname FROM functions WHERE pronargs = pronargdefaults GROUP BY proname HAVING count(*) > 1$$,
    'where every argument has a default, one overload has them');

SELECT * FROM finish();
ROLLBACK;
