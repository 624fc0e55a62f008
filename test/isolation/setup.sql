-- What the isolation specs stand on; run once into their database.
--
-- A foreign client is redis-cli, run by the server: the specs' own sessions decide when.

SET client_min_messages = error;
CREATE EXTENSION inventory_lock;
SELECT inventory_lock.create_tables();

-- Runs one Redis command against the server of inventory_lock.redis_url, returns its answer.
CREATE FUNCTION redis(command text) RETURNS SETOF text LANGUAGE plpgsql
SET client_min_messages = error AS $$
BEGIN
    CREATE TEMP TABLE IF NOT EXISTS redis_answer (line text);
    TRUNCATE redis_answer;
    EXECUTE format('COPY redis_answer FROM PROGRAM %L',
                   format('redis-cli -u %s %s', current_setting('inventory_lock.redis_url'), command));
    RETURN QUERY SELECT line FROM redis_answer WHERE line <> '';
END $$;

-- Waits until the condition, a query for one boolean, is true.
CREATE FUNCTION wait_until(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    reached boolean := false;
    interval_s CONSTANT float := 0.01;
BEGIN
    FOR try IN 1 .. 3000 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXECUTE condition INTO reached;
        EXIT WHEN reached;
        PERFORM pg_sleep(interval_s);
    END LOOP;
    RETURN CASE WHEN reached THEN 'yes' ELSE 'never' END;
END $$;

-- Everything a spec's transactions may have left behind: gates, lock keys in Redis, drift.
CREATE FUNCTION left_over() RETURNS TABLE (gates bigint, keys text, drift bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM wait_until($q$SELECT NOT EXISTS (
        SELECT FROM redis('KEYS *') k WHERE k LIKE 'inventory_lock:%' OR k LIKE 'lock:%')$q$);
    RETURN QUERY SELECT
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764),
        coalesce((SELECT string_agg(k, ' ') FROM redis('KEYS *') k
                  WHERE k LIKE 'inventory_lock:%' OR k LIKE 'lock:%'), 'none'),
        (SELECT count(*) FROM inventory_lock.verify_stock() WHERE verify_stock.drift <> 0);
END $$;

-- Sessions that hold their gate and wait for the lease.
CREATE FUNCTION waiting_for_lease() RETURNS SETOF int LANGUAGE sql AS $$
    SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid
    WHERE a.wait_event_type IN ('Extension', 'InventoryLockLease') AND a.state = 'active'
    AND l.locktype = 'advisory' AND l.objsubid = 18764 AND l.granted
$$;
CREATE FUNCTION waiting_at_gate() RETURNS SETOF int LANGUAGE sql AS $$
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 18764 AND NOT granted
$$;

-- An order of one unit of each variant. (Braces end a step of a spec: no JSON there.)
CREATE FUNCTION place(user_id text, key text, variants text, on_conflict text DEFAULT 'wait')
RETURNS TABLE (status text, replayed boolean, protection text) LANGUAGE sql AS $$
    SELECT o.status, o.replayed, o.protection
    FROM inventory_lock.place_order_locked(user_id, key,
        (SELECT jsonb_agg(jsonb_build_object('variant_id', v, 'quantity', 1, 'unit_price', 1))
         FROM string_to_table(variants, ' ') AS v),
        options => jsonb_build_object('on_conflict', on_conflict)) AS o
$$;

-- Empties the shop; the ledger is append only, but for this.
CREATE FUNCTION clear_shop() RETURNS void LANGUAGE sql SET session_replication_role = replica AS $$
    DELETE FROM shop.order_line; DELETE FROM shop.orders;
    DELETE FROM shop.stock_movement; DELETE FROM shop.stock_level;
    TRUNCATE shop.outbox RESTART IDENTITY; DELETE FROM shop.outbox_consumer;
$$;
