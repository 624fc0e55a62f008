-- Reservations: units held for somebody for some time.

CREATE FUNCTION inventory_lock.reserve_stock_locked(
        holder text, lines jsonb, ttl interval, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS TABLE (reservation_id text, holder text, state text, expires_at timestamptz, lines jsonb,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_reserve_stock';
COMMENT ON FUNCTION inventory_lock.reserve_stock_locked(text, jsonb, interval, interval, text) IS
    'holds units for somebody until ttl is over: all lines or none, under the locks of their variants';

CREATE FUNCTION inventory_lock.confirm_reservation(
        reservation_id text, lines jsonb DEFAULT NULL, order_id text DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS TABLE (reservation_id text, holder text, state text, expires_at timestamptz, lines jsonb,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_confirm_reservation';
COMMENT ON FUNCTION inventory_lock.confirm_reservation(text, jsonb, text, text) IS
    'sells what is held, all or some lines; the rest of the reservation is released';

CREATE FUNCTION inventory_lock.release_reservation(reservation_id text, binding text DEFAULT 'default')
    RETURNS TABLE (reservation_id text, holder text, state text, expires_at timestamptz, lines jsonb,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_release_reservation';
COMMENT ON FUNCTION inventory_lock.release_reservation(text, text) IS 'gives up a reservation';

CREATE FUNCTION inventory_lock.extend_reservation(
        reservation_id text, ttl interval, binding text DEFAULT 'default')
    RETURNS TABLE (reservation_id text, holder text, state text, expires_at timestamptz, lines jsonb,
        protection text, waited_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_extend_reservation';
COMMENT ON FUNCTION inventory_lock.extend_reservation(text, interval, text) IS
    'lets a reservation that has not expired last ttl from now';
