-- Answers from the movement ledger. Only the first id is overloaded; one C function is behind.

CREATE FUNCTION inventory_lock.stock_at(
        variant_id bigint, at timestamptz, location_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, on_hand bigint)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_stock_at';
COMMENT ON FUNCTION inventory_lock.stock_at(bigint, timestamptz, text, text) IS
    'what the stock of a variant was at a time, by its movements; takes no lock';

CREATE FUNCTION inventory_lock.stock_at(
        variant_id uuid, at timestamptz, location_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, on_hand bigint)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_stock_at';
COMMENT ON FUNCTION inventory_lock.stock_at(uuid, timestamptz, text, text) IS
    'what the stock of a variant was at a time, by its movements; takes no lock';

CREATE FUNCTION inventory_lock.stock_at(
        variant_id text, at timestamptz, location_id text DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, on_hand bigint)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_stock_at';
COMMENT ON FUNCTION inventory_lock.stock_at(text, timestamptz, text, text) IS
    'what the stock of a variant was at a time, by its movements; takes no lock';

CREATE FUNCTION inventory_lock.rebuild_stock(
        variant_id bigint, dry_run boolean DEFAULT true, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, level bigint, ledger bigint, drift bigint, rebuilt boolean)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_rebuild_stock';
COMMENT ON FUNCTION inventory_lock.rebuild_stock(bigint, boolean, interval, text) IS
    'sets the levels of a variant to what their movements say, under its lock; a dry run only tells';

CREATE FUNCTION inventory_lock.rebuild_stock(
        variant_id uuid, dry_run boolean DEFAULT true, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, level bigint, ledger bigint, drift bigint, rebuilt boolean)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_rebuild_stock';
COMMENT ON FUNCTION inventory_lock.rebuild_stock(uuid, boolean, interval, text) IS
    'sets the levels of a variant to what their movements say, under its lock; a dry run only tells';

CREATE FUNCTION inventory_lock.rebuild_stock(
        variant_id text, dry_run boolean DEFAULT true, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS TABLE (variant_id text, location_id text, level bigint, ledger bigint, drift bigint, rebuilt boolean)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_rebuild_stock';
COMMENT ON FUNCTION inventory_lock.rebuild_stock(text, boolean, interval, text) IS
    'sets the levels of a variant to what their movements say, under its lock; a dry run only tells';
