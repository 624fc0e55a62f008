-- Stock: changes under lock, and reading it. Only the first id is overloaded; one C function is behind.

CREATE FUNCTION inventory_lock.adjust_stock_locked(
        variant_id bigint, delta bigint, reason text DEFAULT 'adjust', location_id text DEFAULT NULL,
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, request_key text DEFAULT NULL, expected bigint DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_adjust_stock';
COMMENT ON FUNCTION inventory_lock.adjust_stock_locked(bigint, bigint, text, text, text, text, text, text, text, bigint, interval, text) IS
    'changes the stock of a variant by delta, under its lock';

CREATE FUNCTION inventory_lock.adjust_stock_locked(
        variant_id uuid, delta bigint, reason text DEFAULT 'adjust', location_id text DEFAULT NULL,
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, request_key text DEFAULT NULL, expected bigint DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_adjust_stock';
COMMENT ON FUNCTION inventory_lock.adjust_stock_locked(uuid, bigint, text, text, text, text, text, text, text, bigint, interval, text) IS
    'changes the stock of a variant by delta, under its lock';

CREATE FUNCTION inventory_lock.adjust_stock_locked(
        variant_id text, delta bigint, reason text DEFAULT 'adjust', location_id text DEFAULT NULL,
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, request_key text DEFAULT NULL, expected bigint DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_adjust_stock';
COMMENT ON FUNCTION inventory_lock.adjust_stock_locked(text, bigint, text, text, text, text, text, text, text, bigint, interval, text) IS
    'changes the stock of a variant by delta, under its lock';

CREATE FUNCTION inventory_lock.decrement_stock_on_purchase(
        variant_id bigint, quantity bigint, order_id text DEFAULT NULL, location_id text DEFAULT NULL,
        actor text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_decrement_on_purchase';
COMMENT ON FUNCTION inventory_lock.decrement_stock_on_purchase(bigint, bigint, text, text, text, interval, text) IS
    'takes sold units from the stock of a variant, under its lock';

CREATE FUNCTION inventory_lock.decrement_stock_on_purchase(
        variant_id uuid, quantity bigint, order_id text DEFAULT NULL, location_id text DEFAULT NULL,
        actor text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_decrement_on_purchase';
COMMENT ON FUNCTION inventory_lock.decrement_stock_on_purchase(uuid, bigint, text, text, text, interval, text) IS
    'takes sold units from the stock of a variant, under its lock';

CREATE FUNCTION inventory_lock.decrement_stock_on_purchase(
        variant_id text, quantity bigint, order_id text DEFAULT NULL, location_id text DEFAULT NULL,
        actor text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_decrement_on_purchase';
COMMENT ON FUNCTION inventory_lock.decrement_stock_on_purchase(text, bigint, text, text, text, interval, text) IS
    'takes sold units from the stock of a variant, under its lock';

CREATE FUNCTION inventory_lock.increment_stock_on_cancellation(
        variant_id bigint, quantity bigint, order_id text DEFAULT NULL, location_id text DEFAULT NULL,
        actor text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_increment_on_cancellation';
COMMENT ON FUNCTION inventory_lock.increment_stock_on_cancellation(bigint, bigint, text, text, text, interval, text) IS
    'gives units back to the stock of a variant, under its lock; with an order never more than it still holds';

CREATE FUNCTION inventory_lock.increment_stock_on_cancellation(
        variant_id uuid, quantity bigint, order_id text DEFAULT NULL, location_id text DEFAULT NULL,
        actor text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_increment_on_cancellation';
COMMENT ON FUNCTION inventory_lock.increment_stock_on_cancellation(uuid, bigint, text, text, text, interval, text) IS
    'gives units back to the stock of a variant, under its lock; with an order never more than it still holds';

CREATE FUNCTION inventory_lock.increment_stock_on_cancellation(
        variant_id text, quantity bigint, order_id text DEFAULT NULL, location_id text DEFAULT NULL,
        actor text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_increment_on_cancellation';
COMMENT ON FUNCTION inventory_lock.increment_stock_on_cancellation(text, bigint, text, text, text, interval, text) IS
    'gives units back to the stock of a variant, under its lock; with an order never more than it still holds';

CREATE FUNCTION inventory_lock.stock(
        variant_id bigint, location_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, on_hand bigint, held bigint, safety_stock bigint,
        available bigint, stock_status text, version bigint, fence bigint)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_stock';
COMMENT ON FUNCTION inventory_lock.stock(bigint, text, text) IS
    'the stock of a variant, at one location or all; takes no lock';

CREATE FUNCTION inventory_lock.stock(
        variant_id uuid, location_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, on_hand bigint, held bigint, safety_stock bigint,
        available bigint, stock_status text, version bigint, fence bigint)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_stock';
COMMENT ON FUNCTION inventory_lock.stock(uuid, text, text) IS
    'the stock of a variant, at one location or all; takes no lock';

CREATE FUNCTION inventory_lock.stock(
        variant_id text, location_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, on_hand bigint, held bigint, safety_stock bigint,
        available bigint, stock_status text, version bigint, fence bigint)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_stock';
COMMENT ON FUNCTION inventory_lock.stock(text, text, text) IS
    'the stock of a variant, at one location or all; takes no lock';

CREATE FUNCTION inventory_lock.verify_stock(variant_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, level bigint, ledger bigint, drift bigint)
    LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_verify_stock';
COMMENT ON FUNCTION inventory_lock.verify_stock(text, text) IS
    'compares levels with their ledgers: the level before the first movement plus all deltas';

CREATE FUNCTION inventory_lock.set_stock_locked(
        variant_id bigint, counted bigint, reason text DEFAULT 'count', location_id text DEFAULT NULL,
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, request_key text DEFAULT NULL, expected bigint DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_set_stock';
COMMENT ON FUNCTION inventory_lock.set_stock_locked(bigint, bigint, text, text, text, text, text, text, text, bigint, interval, text) IS
    'sets the stock of a variant to what has been counted, under its lock';

CREATE FUNCTION inventory_lock.transfer_stock_locked(
        variant_id bigint, quantity bigint, from_location text, to_location text,
        reason text DEFAULT 'transfer', reference_type text DEFAULT NULL, reference_id text DEFAULT NULL,
        actor text DEFAULT NULL, note text DEFAULT NULL, request_key text DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 2 AS 'MODULE_PATHNAME', 'inventory_lock_transfer_stock';
COMMENT ON FUNCTION inventory_lock.transfer_stock_locked(bigint, bigint, text, text, text, text, text, text, text, text, interval, text) IS
    'moves units of a variant from one location to another, under its lock';

CREATE FUNCTION inventory_lock.set_stock_locked(
        variant_id uuid, counted bigint, reason text DEFAULT 'count', location_id text DEFAULT NULL,
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, request_key text DEFAULT NULL, expected bigint DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_set_stock';
COMMENT ON FUNCTION inventory_lock.set_stock_locked(uuid, bigint, text, text, text, text, text, text, text, bigint, interval, text) IS
    'sets the stock of a variant to what has been counted, under its lock';

CREATE FUNCTION inventory_lock.transfer_stock_locked(
        variant_id uuid, quantity bigint, from_location text, to_location text,
        reason text DEFAULT 'transfer', reference_type text DEFAULT NULL, reference_id text DEFAULT NULL,
        actor text DEFAULT NULL, note text DEFAULT NULL, request_key text DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 2 AS 'MODULE_PATHNAME', 'inventory_lock_transfer_stock';
COMMENT ON FUNCTION inventory_lock.transfer_stock_locked(uuid, bigint, text, text, text, text, text, text, text, text, interval, text) IS
    'moves units of a variant from one location to another, under its lock';

CREATE FUNCTION inventory_lock.set_stock_locked(
        variant_id text, counted bigint, reason text DEFAULT 'count', location_id text DEFAULT NULL,
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, request_key text DEFAULT NULL, expected bigint DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_set_stock';
COMMENT ON FUNCTION inventory_lock.set_stock_locked(text, bigint, text, text, text, text, text, text, text, bigint, interval, text) IS
    'sets the stock of a variant to what has been counted, under its lock';

CREATE FUNCTION inventory_lock.transfer_stock_locked(
        variant_id text, quantity bigint, from_location text, to_location text,
        reason text DEFAULT 'transfer', reference_type text DEFAULT NULL, reference_id text DEFAULT NULL,
        actor text DEFAULT NULL, note text DEFAULT NULL, request_key text DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE c ROWS 2 AS 'MODULE_PATHNAME', 'inventory_lock_transfer_stock';
COMMENT ON FUNCTION inventory_lock.transfer_stock_locked(text, bigint, text, text, text, text, text, text, text, text, interval, text) IS
    'moves units of a variant from one location to another, under its lock';

CREATE FUNCTION inventory_lock.adjust_stock_bulk_locked(
        items jsonb, policy text DEFAULT 'all_or_nothing', reason text DEFAULT 'adjust',
        reference_type text DEFAULT NULL, reference_id text DEFAULT NULL, actor text DEFAULT NULL,
        note text DEFAULT NULL, wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (item bigint, variant_id text, location_id text, delta bigint, quantity_before bigint,
        quantity_after bigint, fence bigint, protection text, sqlstate text, message text)
    LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_adjust_stock_bulk';
COMMENT ON FUNCTION inventory_lock.adjust_stock_bulk_locked(jsonb, text, text, text, text, text, text, interval, text) IS
    'changes the stock of many variants, all or nothing or as far as possible, under their locks';
