-- Orders: placing and cancelling them. Only the first id is overloaded; one C function is behind.

CREATE FUNCTION inventory_lock.place_order_locked(
        user_id bigint, idempotency_key text, lines jsonb, order_data jsonb DEFAULT '{}',
        options jsonb DEFAULT '{}')
    RETURNS TABLE (order_id text, status text, replayed boolean, total numeric, lines jsonb, fence bigint,
        protection text, waited_ms double precision, sqlstate text, response jsonb,
        created_at timestamptz)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_place_order';
COMMENT ON FUNCTION inventory_lock.place_order_locked(bigint, text, jsonb, jsonb, jsonb) IS
    'places an order once per user and idempotency key: all lines or none, under the locks of its variants';

CREATE FUNCTION inventory_lock.place_order_locked(
        user_id uuid, idempotency_key text, lines jsonb, order_data jsonb DEFAULT '{}',
        options jsonb DEFAULT '{}')
    RETURNS TABLE (order_id text, status text, replayed boolean, total numeric, lines jsonb, fence bigint,
        protection text, waited_ms double precision, sqlstate text, response jsonb,
        created_at timestamptz)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_place_order';
COMMENT ON FUNCTION inventory_lock.place_order_locked(uuid, text, jsonb, jsonb, jsonb) IS
    'places an order once per user and idempotency key: all lines or none, under the locks of its variants';

CREATE FUNCTION inventory_lock.place_order_locked(
        user_id text, idempotency_key text, lines jsonb, order_data jsonb DEFAULT '{}',
        options jsonb DEFAULT '{}')
    RETURNS TABLE (order_id text, status text, replayed boolean, total numeric, lines jsonb, fence bigint,
        protection text, waited_ms double precision, sqlstate text, response jsonb,
        created_at timestamptz)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_place_order';
COMMENT ON FUNCTION inventory_lock.place_order_locked(text, text, jsonb, jsonb, jsonb) IS
    'places an order once per user and idempotency key: all lines or none, under the locks of its variants';

CREATE FUNCTION inventory_lock.cancel_order_locked(
        order_id bigint, lines jsonb DEFAULT NULL, reason text DEFAULT 'cancelled',
        request_key text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, restored bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_cancel_order';
COMMENT ON FUNCTION inventory_lock.cancel_order_locked(bigint, jsonb, text, text, text) IS
    'cancels an order or some of its lines and restores their stock exactly once';

CREATE FUNCTION inventory_lock.cancel_order_locked(
        order_id uuid, lines jsonb DEFAULT NULL, reason text DEFAULT 'cancelled',
        request_key text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, restored bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_cancel_order';
COMMENT ON FUNCTION inventory_lock.cancel_order_locked(uuid, jsonb, text, text, text) IS
    'cancels an order or some of its lines and restores their stock exactly once';

CREATE FUNCTION inventory_lock.cancel_order_locked(
        order_id text, lines jsonb DEFAULT NULL, reason text DEFAULT 'cancelled',
        request_key text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, restored bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_cancel_order';
COMMENT ON FUNCTION inventory_lock.cancel_order_locked(text, jsonb, text, text, text) IS
    'cancels an order or some of its lines and restores their stock exactly once';

CREATE FUNCTION inventory_lock.fulfil_order_locked(
        order_id bigint, lines jsonb DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, shipped bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_fulfil_order';
COMMENT ON FUNCTION inventory_lock.fulfil_order_locked(bigint, jsonb, text) IS
    'marks an order or some of its lines as fulfilled: they cannot be cancelled any more';

CREATE FUNCTION inventory_lock.fulfil_order_locked(
        order_id uuid, lines jsonb DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, shipped bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_fulfil_order';
COMMENT ON FUNCTION inventory_lock.fulfil_order_locked(uuid, jsonb, text) IS
    'marks an order or some of its lines as fulfilled: they cannot be cancelled any more';

CREATE FUNCTION inventory_lock.fulfil_order_locked(
        order_id text, lines jsonb DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, shipped bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_fulfil_order';
COMMENT ON FUNCTION inventory_lock.fulfil_order_locked(text, jsonb, text) IS
    'marks an order or some of its lines as fulfilled: they cannot be cancelled any more';

CREATE FUNCTION inventory_lock.return_order_locked(
        order_id bigint, lines jsonb DEFAULT NULL, restock boolean DEFAULT true, reason text DEFAULT 'returned',
        location_id text DEFAULT NULL, request_key text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, received bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_return_order';
COMMENT ON FUNCTION inventory_lock.return_order_locked(bigint, jsonb, boolean, text, text, text, text) IS
    'takes back what an order or some of its lines have shipped, exactly once, and restocks it';

CREATE FUNCTION inventory_lock.return_order_locked(
        order_id uuid, lines jsonb DEFAULT NULL, restock boolean DEFAULT true, reason text DEFAULT 'returned',
        location_id text DEFAULT NULL, request_key text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, received bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_return_order';
COMMENT ON FUNCTION inventory_lock.return_order_locked(uuid, jsonb, boolean, text, text, text, text) IS
    'takes back what an order or some of its lines have shipped, exactly once, and restocks it';

CREATE FUNCTION inventory_lock.return_order_locked(
        order_id text, lines jsonb DEFAULT NULL, restock boolean DEFAULT true, reason text DEFAULT 'returned',
        location_id text DEFAULT NULL, request_key text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (order_id text, status text, replayed boolean, received bigint, lines jsonb, fence bigint,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_return_order';
COMMENT ON FUNCTION inventory_lock.return_order_locked(text, jsonb, boolean, text, text, text, text) IS
    'takes back what an order or some of its lines have shipped, exactly once, and restocks it';
