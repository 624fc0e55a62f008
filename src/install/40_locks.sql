-- Locks by name. Held until the transaction ends; revoked from PUBLIC, for a lock by any name can
-- stop any other service.

CREATE FUNCTION inventory_lock.acquire_lock(name text, wait_timeout interval DEFAULT NULL,
        ttl interval DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_lock';
COMMENT ON FUNCTION inventory_lock.acquire_lock(text, interval, interval) IS
    'takes the lock lock:<name> until the transaction ends; returns its fence';

CREATE FUNCTION inventory_lock.try_acquire_lock(name text, ttl interval DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_try_acquire_lock';
COMMENT ON FUNCTION inventory_lock.try_acquire_lock(text, interval) IS
    'takes the lock lock:<name> without waiting; NULL if somebody else has it';

CREATE FUNCTION inventory_lock.acquire_stock_lock(variant_id bigint, location_id text DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_stock_lock';
COMMENT ON FUNCTION inventory_lock.acquire_stock_lock(bigint, text, interval, text) IS
    'takes the lock of a variant''s stock until the transaction ends; returns its fence';

CREATE FUNCTION inventory_lock.acquire_stock_lock(variant_id uuid, location_id text DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_stock_lock';
COMMENT ON FUNCTION inventory_lock.acquire_stock_lock(uuid, text, interval, text) IS
    'takes the lock of a variant''s stock until the transaction ends; returns its fence';

CREATE FUNCTION inventory_lock.acquire_stock_lock(variant_id text, location_id text DEFAULT NULL,
        wait_timeout interval DEFAULT NULL, binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_stock_lock';
COMMENT ON FUNCTION inventory_lock.acquire_stock_lock(text, text, interval, text) IS
    'takes the lock of a variant''s stock until the transaction ends; returns its fence';

CREATE FUNCTION inventory_lock.acquire_product_lock(product_id bigint, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_product_lock';
COMMENT ON FUNCTION inventory_lock.acquire_product_lock(bigint, interval, text) IS
    'takes the lock of a whole product until the transaction ends: nobody else changes its variants; returns its fence';

CREATE FUNCTION inventory_lock.acquire_product_lock(product_id uuid, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_product_lock';
COMMENT ON FUNCTION inventory_lock.acquire_product_lock(uuid, interval, text) IS
    'takes the lock of a whole product until the transaction ends: nobody else changes its variants; returns its fence';

CREATE FUNCTION inventory_lock.acquire_product_lock(product_id text, wait_timeout interval DEFAULT NULL,
        binding text DEFAULT 'default')
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_acquire_product_lock';
COMMENT ON FUNCTION inventory_lock.acquire_product_lock(text, interval, text) IS
    'takes the lock of a whole product until the transaction ends: nobody else changes its variants; returns its fence';

CREATE TABLE inventory_lock.fence (
    key text COLLATE pg_catalog."C" PRIMARY KEY,
    fence bigint NOT NULL CHECK (fence OPERATOR(pg_catalog.>) 0),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now());
COMMENT ON TABLE inventory_lock.fence IS
    'the highest fence that assert_fence has seen for a key without a stock row';
SELECT pg_catalog.pg_extension_config_dump('inventory_lock.fence', '');
GRANT SELECT ON inventory_lock.fence TO pg_database_owner;  -- for pg_dump

CREATE FUNCTION inventory_lock.assert_fence(key text, fence bigint, binding text DEFAULT 'default')
    RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_assert_fence';
COMMENT ON FUNCTION inventory_lock.assert_fence(text, bigint, text) IS
    'refuses a writer whose lock has been given to somebody since, and remembers its fence';

CREATE FUNCTION inventory_lock.force_release_lock(key text)
    RETURNS boolean LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_force_release_lock';
COMMENT ON FUNCTION inventory_lock.force_release_lock(text) IS
    'cancels who holds a lock on this server, and deletes its key in Redis if that does not help or somebody else has it';

CREATE FUNCTION inventory_lock.lock_token(key text)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_lock_token';
COMMENT ON FUNCTION inventory_lock.lock_token(text) IS
    'asks Redis who has a key: the beginning of the holder''s token, NULL if nobody';

REVOKE ALL ON FUNCTION inventory_lock.acquire_lock(text, interval, interval),
    inventory_lock.try_acquire_lock(text, interval),
    inventory_lock.acquire_stock_lock(bigint, text, interval, text),
    inventory_lock.acquire_stock_lock(uuid, text, interval, text),
    inventory_lock.acquire_stock_lock(text, text, interval, text),
    inventory_lock.acquire_product_lock(bigint, interval, text),
    inventory_lock.acquire_product_lock(uuid, interval, text),
    inventory_lock.acquire_product_lock(text, interval, text),
    inventory_lock.assert_fence(text, bigint, text),
    inventory_lock.force_release_lock(text),
    inventory_lock.lock_token(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION inventory_lock.lock_token(text) TO pg_monitor;
