-- Monitoring: functions that read shared memory, and views over them. Whatever shows keys or
-- statistics is for pg_monitor.

CREATE FUNCTION inventory_lock.get_locks(OUT key text, OUT kind text, OUT state text, OUT pid bigint,
        OUT since timestamptz, OUT ttl_ms bigint, OUT fence bigint, OUT owner text, OUT waiters bigint,
        OUT "foreign" boolean, OUT protection text, OUT gate_class bigint, OUT gate_object bigint)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_locks';
COMMENT ON FUNCTION inventory_lock.get_locks() IS
    'every key that this server has locked, waits for or is letting go of';

CREATE FUNCTION inventory_lock.get_foreign_locks(OUT key text, OUT kind text, OUT owner text,
        OUT ttl_ms bigint)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_foreign_locks';
COMMENT ON FUNCTION inventory_lock.get_foreign_locks() IS
    'locks of other clusters and services, asked of the server that redis_replica_url names';

CREATE FUNCTION inventory_lock.get_counters(OUT kind text, OUT name text, OUT value bigint)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_counters';
COMMENT ON FUNCTION inventory_lock.get_counters() IS
    'counters since stats_reset; kind is NULL for those of the whole server';

CREATE FUNCTION inventory_lock.get_stats_reset()
    RETURNS timestamptz LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_stats_reset';
COMMENT ON FUNCTION inventory_lock.get_stats_reset() IS 'when the counters began';

CREATE FUNCTION inventory_lock.get_waits(OUT kind text, OUT wait text, OUT outcome text,
        OUT below_us bigint, OUT count bigint, OUT sum_us bigint)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_waits';
COMMENT ON FUNCTION inventory_lock.get_waits() IS
    'histograms of waits; sum_us is that of the whole histogram';

CREATE FUNCTION inventory_lock.get_key_waits(OUT key text, OUT kind text, OUT waits bigint,
        OUT error bigint, OUT timed_out bigint, OUT cancelled bigint, OUT sum_us bigint,
        OUT longest_us bigint)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_key_waits';
COMMENT ON FUNCTION inventory_lock.get_key_waits() IS
    'the keys waited for most; waits - error <= true number <= waits';

CREATE FUNCTION inventory_lock.metrics()
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_metrics';
COMMENT ON FUNCTION inventory_lock.metrics() IS 'all statistics in the text format of Prometheus';

CREATE FUNCTION inventory_lock.get_connections(OUT lane bigint, OUT endpoint text, OUT role text,
        OUT state text, OUT last_error text, OUT since timestamptz, OUT rtt_ms double precision,
        OUT tracking boolean)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_connections';
COMMENT ON FUNCTION inventory_lock.get_connections() IS 'the connections to Redis';

CREATE FUNCTION inventory_lock.get_status(OUT mode text, OUT reason text, OUT worker_pid bigint,
        OUT breaker text, OUT redis text, OUT instance text, OUT maxmemory_policy text,
        OUT leases_used bigint, OUT leases_max bigint, OUT worker_starts bigint)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_status';
COMMENT ON FUNCTION inventory_lock.get_status() IS 'how this server locks, and why';

CREATE FUNCTION inventory_lock.stat_reset()
    RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_stat_reset';
COMMENT ON FUNCTION inventory_lock.stat_reset() IS 'sets all counters and histograms to zero';

CREATE FUNCTION inventory_lock.status() RETURNS jsonb LANGUAGE sql
    RETURN (SELECT pg_catalog.to_jsonb(s.*) FROM inventory_lock.get_status() s);
COMMENT ON FUNCTION inventory_lock.status() IS
    'mode (redis or database), reason when it is database, and what it depends on';

CREATE VIEW inventory_lock.active_locks AS
    WITH ours AS MATERIALIZED (SELECT * FROM inventory_lock.get_locks()),
    activity AS MATERIALIZED (
        SELECT s.pid, s.application_name, s.query_start, s.xact_start FROM pg_catalog.pg_stat_activity s)
    SELECT l.key, l.kind, l.state, COALESCE(l.pid::integer, a.pid) AS pid, a.application_name AS application,
        a.query_start, l.since, l.ttl_ms, l.fence, l.owner, l.waiters, w.waiting, l."foreign",
        l.protection
    FROM ours l
    LEFT JOIN (
        SELECT g.classid, g.objid,
            pg_catalog.array_agg(g.pid ORDER BY g.waitstart, g.pid) FILTER (WHERE NOT g.granted) AS waiting,
            pg_catalog.array_agg(g.pid ORDER BY t.xact_start, g.pid) FILTER (WHERE g.granted) AS passed
        FROM pg_catalog.pg_locks g
        LEFT JOIN activity t ON t.pid OPERATOR(pg_catalog.=) g.pid
        WHERE g.locktype OPERATOR(pg_catalog.=) 'advisory'
            AND g.database OPERATOR(pg_catalog.=) 0::oid AND g.objsubid OPERATOR(pg_catalog.=) 18764
        GROUP BY g.classid, g.objid) w
        ON w.classid OPERATOR(pg_catalog.=) l.gate_class::oid
        AND w.objid OPERATOR(pg_catalog.=) l.gate_object::oid
    -- Of several who share a key the first may have left: then the oldest of those at its gate.
    LEFT JOIN activity a ON a.pid OPERATOR(pg_catalog.=)
        COALESCE(l.pid, CASE WHEN l.since IS NOT NULL THEN w.passed[1] END)
    UNION ALL
    SELECT f.key, f.kind, 'absent', NULL, NULL, NULL, NULL, f.ttl_ms, NULL, f.owner, 0, NULL,
        NOT pg_catalog.starts_with(f.owner, 'pg:'), 'redis'
    FROM inventory_lock.get_foreign_locks() f
    WHERE NOT EXISTS (SELECT FROM ours l WHERE l.key OPERATOR(pg_catalog.=) f.key);
COMMENT ON VIEW inventory_lock.active_locks IS
    'keys locked, waited for or being let go of: who holds them, for how long, who waits; waiting = processes at the gate, in their order; with redis_replica_url also what others hold';

CREATE VIEW inventory_lock.stat AS
    SELECT
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'acquired')::bigint AS inventory_acquired,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'handed_over')::bigint AS inventory_handed_over,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'warm')::bigint AS inventory_warm,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'degraded')::bigint AS inventory_degraded,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'timed_out')::bigint AS inventory_timed_out,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'cancelled')::bigint AS inventory_cancelled,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'busy')::bigint AS inventory_busy,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'refused')::bigint AS inventory_refused,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'unavailable')::bigint AS inventory_unavailable,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'lost')::bigint AS inventory_lost,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'inventory' AND c.name OPERATOR(pg_catalog.=) 'fence_raised')::bigint AS inventory_fence_raised,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'acquired')::bigint AS order_acquired,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'handed_over')::bigint AS order_handed_over,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'warm')::bigint AS order_warm,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'degraded')::bigint AS order_degraded,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'timed_out')::bigint AS order_timed_out,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'cancelled')::bigint AS order_cancelled,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'busy')::bigint AS order_busy,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'refused')::bigint AS order_refused,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'unavailable')::bigint AS order_unavailable,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'lost')::bigint AS order_lost,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'order' AND c.name OPERATOR(pg_catalog.=) 'fence_raised')::bigint AS order_fence_raised,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'acquired')::bigint AS custom_acquired,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'handed_over')::bigint AS custom_handed_over,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'warm')::bigint AS custom_warm,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'degraded')::bigint AS custom_degraded,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'timed_out')::bigint AS custom_timed_out,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'cancelled')::bigint AS custom_cancelled,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'busy')::bigint AS custom_busy,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'refused')::bigint AS custom_refused,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'unavailable')::bigint AS custom_unavailable,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'lost')::bigint AS custom_lost,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'fence_raised')::bigint AS custom_fence_raised,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'renewals')::bigint AS renewals,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'reasserted')::bigint AS reasserted,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'releases')::bigint AS releases,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'yields')::bigint AS yields,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'woken_by_tracking')::bigint AS woken_by_tracking,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'woken_by_poll')::bigint AS woken_by_poll,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'woken_by_timer')::bigint AS woken_by_timer,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'redis_commands')::bigint AS redis_commands,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'breaker_opened')::bigint AS breaker_opened,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'orphans_freed')::bigint AS orphans_freed,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_refused')::bigint AS errors_refused,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_unreachable')::bigint AS errors_unreachable,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_timeout')::bigint AS errors_timeout,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_closed')::bigint AS errors_closed,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_protocol')::bigint AS errors_protocol,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_auth')::bigint AS errors_auth,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_permission')::bigint AS errors_permission,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_loading')::bigint AS errors_loading,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_read_only')::bigint AS errors_read_only,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_out_of_memory')::bigint AS errors_out_of_memory,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_misconf')::bigint AS errors_misconf,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_busy')::bigint AS errors_busy,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_moved')::bigint AS errors_moved,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'errors_other')::bigint AS errors_other,
    inventory_lock.get_stats_reset() AS stats_reset
    FROM inventory_lock.get_counters() c;
COMMENT ON VIEW inventory_lock.stat IS 'counters that only grow since stats_reset, one row';

CREATE VIEW inventory_lock.stat_wait AS
    SELECT w.kind, w.wait, w.outcome, w.below_us, w.count,
        pg_catalog.sum(w.count) OVER (PARTITION BY w.kind, w.wait, w.outcome
            ORDER BY w.below_us)::bigint AS cumulative, w.sum_us
    FROM inventory_lock.get_waits() w;
COMMENT ON VIEW inventory_lock.stat_wait IS
    'histograms of waits for gate, lease and row and of hold times; buckets in microseconds, below_us NULL = the open last one';

CREATE VIEW inventory_lock.stat_key AS
    SELECT k.key, k.kind, k.waits,
        k.waits OPERATOR(pg_catalog.-) k.error AS waits_at_least, k.timed_out, k.cancelled,
        pg_catalog.round(k.sum_us::numeric OPERATOR(pg_catalog./) 1000, 3) AS wait_ms,
        pg_catalog.round(k.longest_us::numeric OPERATOR(pg_catalog./) 1000, 3) AS longest_ms
    FROM inventory_lock.get_key_waits() k
    ORDER BY k.waits DESC, k.key;
COMMENT ON VIEW inventory_lock.stat_key IS
    'the keys waited for most since stats_reset, most first; memory is bounded, so rare keys are forgotten';

CREATE VIEW inventory_lock.redis_status AS
    SELECT c.lane::integer AS lane, c.endpoint, c.role, c.state, c.last_error, c.since,
        c.rtt_ms AS rtt, c.tracking
    FROM inventory_lock.get_connections() c;
COMMENT ON VIEW inventory_lock.redis_status IS
    'one row per connection pair to Redis; rtt in milliseconds';

CREATE FUNCTION inventory_lock.wait_quantile(wait text, quantile double precision)
    RETURNS double precision LANGUAGE sql
    RETURN (
        SELECT pg_catalog.min(s.below_us) OPERATOR(pg_catalog./) 1000.0::double precision
        FROM (
            SELECT h.below_us,
                pg_catalog.sum(h.n) OVER (ORDER BY h.below_us) AS below,
                pg_catalog.sum(h.n) OVER () AS total
            FROM (
                SELECT w.below_us, pg_catalog.sum(w.count) AS n
                FROM inventory_lock.get_waits() w
                WHERE w.wait OPERATOR(pg_catalog.=) wait_quantile.wait
                GROUP BY w.below_us) h) s
        WHERE s.below::double precision OPERATOR(pg_catalog.>=)
            (s.total::double precision OPERATOR(pg_catalog.*) quantile));
COMMENT ON FUNCTION inventory_lock.wait_quantile(text, double precision) IS
    'milliseconds that this part of the waits stayed below, since stats_reset; wait: gate, lease, row or hold';

CREATE VIEW inventory_lock.top AS
    WITH locks AS MATERIALIZED (SELECT * FROM inventory_lock.active_locks),
    stat AS MATERIALIZED (SELECT * FROM inventory_lock.stat),
    lines (part, rank, line) AS (
        SELECT 1, 0::bigint, pg_catalog.format(
            'mode %s%s   breaker %s   worker %s   leases %s/%s   redis %s', s.mode,
            COALESCE(' (' OPERATOR(pg_catalog.||) s.reason OPERATOR(pg_catalog.||) ')', ''),
            COALESCE(s.breaker, '-'), COALESCE(s.worker_pid::text, '-'),
            COALESCE(s.leases_used::text, '-'), COALESCE(s.leases_max::text, '-'),
            COALESCE(s.redis, '-'))
        FROM inventory_lock.get_status() s
        UNION ALL
        SELECT 2, c.lane::bigint, pg_catalog.format('redis %s %s: %s   rtt %s ms   tracking %s   %s',
            c.lane, c.role, c.state, COALESCE(pg_catalog.round(c.rtt::numeric, 3)::text, '-'), c.tracking,
            COALESCE(c.last_error, ''))
        FROM inventory_lock.redis_status c
        UNION ALL
        SELECT 3, 0, pg_catalog.format(
            'got: redis %s  handed over %s  warm %s  degraded %s   failed: timed out %s  cancelled %s  lost %s',
            s.inventory_acquired OPERATOR(pg_catalog.+) s.order_acquired OPERATOR(pg_catalog.+) s.custom_acquired,
            s.inventory_handed_over OPERATOR(pg_catalog.+) s.order_handed_over OPERATOR(pg_catalog.+) s.custom_handed_over,
            s.inventory_warm OPERATOR(pg_catalog.+) s.order_warm OPERATOR(pg_catalog.+) s.custom_warm,
            s.inventory_degraded OPERATOR(pg_catalog.+) s.order_degraded OPERATOR(pg_catalog.+) s.custom_degraded,
            s.inventory_timed_out OPERATOR(pg_catalog.+) s.order_timed_out OPERATOR(pg_catalog.+) s.custom_timed_out,
            s.inventory_cancelled OPERATOR(pg_catalog.+) s.order_cancelled OPERATOR(pg_catalog.+) s.custom_cancelled,
            s.inventory_lost OPERATOR(pg_catalog.+) s.order_lost OPERATOR(pg_catalog.+) s.custom_lost)
        FROM stat s
        UNION ALL
        SELECT 4, 0, pg_catalog.format('99 of 100 below, ms: gate %s  lease %s  row %s  hold %s   since %s',
            COALESCE(inventory_lock.wait_quantile('gate', 0.99)::text, '-'),
            COALESCE(inventory_lock.wait_quantile('lease', 0.99)::text, '-'),
            COALESCE(inventory_lock.wait_quantile('row', 0.99)::text, '-'),
            COALESCE(inventory_lock.wait_quantile('hold', 0.99)::text, '-'),
            pg_catalog.to_char(s.stats_reset, 'YYYY-MM-DD HH24:MI:SS'))
        FROM stat s
        UNION ALL
        SELECT 5, 0, pg_catalog.format('%-48s %8s %-20s %9s %8s %9s %-9s', 'held or waited for', 'pid',
            'application', 'for ms', 'waiters', 'ttl ms', 'by')
        UNION ALL
        SELECT 6, l.rank, pg_catalog.format('%-48s %8s %-20s %9s %8s %9s %-9s',
            pg_catalog."left"(l.key, 48), COALESCE(l.pid::text, '-'),
            pg_catalog."left"(COALESCE(NULLIF(l.application, ''), '-'), 20),
            COALESCE(pg_catalog.round(EXTRACT(epoch FROM pg_catalog.clock_timestamp()
                OPERATOR(pg_catalog.-) l.since) OPERATOR(pg_catalog.*) 1000)::text, '-'),
            l.waiters, COALESCE(l.ttl_ms::text, '-'),
            CASE WHEN l."foreign" THEN 'foreign'
                WHEN l.pid IS NULL AND l.state OPERATOR(pg_catalog.<>) 'held' THEN l.state
                ELSE l.protection END)
        FROM (
            SELECT k.*, pg_catalog.row_number() OVER (ORDER BY k.waiters DESC, k.since, k.key) AS rank
            FROM locks k) l
        WHERE l.rank OPERATOR(pg_catalog.<=) 10
        UNION ALL
        SELECT 7, 0, pg_catalog.format('%-48s %8s %9s %9s %12s %12s', 'most waited for', 'waits',
            'timed out', 'cancelled', 'mean ms', 'longest ms')
        UNION ALL
        SELECT 8, k.rank, pg_catalog.format('%-48s %8s %9s %9s %12s %12s',
            pg_catalog."left"(k.key, 48), k.waits, k.timed_out, k.cancelled,
            pg_catalog.round(k.wait_ms OPERATOR(pg_catalog./)
                GREATEST(k.waits_at_least, 1)::numeric, 1),
            pg_catalog.round(k.longest_ms, 1))
        FROM (
            SELECT s.*, pg_catalog.row_number() OVER (ORDER BY s.waits DESC, s.key) AS rank
            FROM inventory_lock.stat_key s) k
        WHERE k.rank OPERATOR(pg_catalog.<=) 10)
    SELECT pg_catalog."left"(l.line, 118) AS inventory_lock FROM lines l ORDER BY l.part, l.rank;
COMMENT ON VIEW inventory_lock.top IS
    'one page for psql: SELECT * FROM inventory_lock.top \watch 1; fits 120 columns';

CREATE FUNCTION inventory_lock.get_lock_stats() RETURNS jsonb LANGUAGE sql
    RETURN (SELECT pg_catalog.jsonb_build_object(
        'total_active_locks', pg_catalog.count(*),
        'inventory_locks', pg_catalog.count(*) FILTER (WHERE l.kind OPERATOR(pg_catalog.=) 'inventory'),
        'custom_locks', pg_catalog.count(*) FILTER (WHERE l.kind OPERATOR(pg_catalog.<>) 'inventory'),
        'locks', COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'key', l.key, 'kind', l.kind, 'pid', l.pid, 'since', l.since, 'ttl_ms', l.ttl_ms,
            'fence', l.fence, 'waiters', l.waiters, 'protection', l.protection)
            ORDER BY l.key), '[]'::jsonb),
        'timestamp', pg_catalog.clock_timestamp())
        FROM inventory_lock.get_locks() l
        WHERE l.since IS NOT NULL OR l.state OPERATOR(pg_catalog.=) 'held');
COMMENT ON FUNCTION inventory_lock.get_lock_stats() IS
    'numbers and list of the locks held now; order locks count as custom';

-- The test interface. Ids and names must start with test_.

CREATE FUNCTION inventory_lock.test_id(variant_id text)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_test_id';
COMMENT ON FUNCTION inventory_lock.test_id(text) IS
    'returns the id; an error when it does not start with test_';

CREATE FUNCTION inventory_lock.test_decrement(variant_id text, quantity bigint DEFAULT 1)
    RETURNS TABLE (movement_id text, variant_id text, location_id text, quantity_before bigint, delta bigint,
        quantity_after bigint, available bigint, stock_status text, version bigint, fence bigint,
        protection text, replayed boolean, waited_ms double precision)
    LANGUAGE sql ROWS 1
    BEGIN ATOMIC
        SELECT d.movement_id, d.variant_id, d.location_id, d.quantity_before, d.delta,
            d.quantity_after, d.available, d.stock_status, d.version, d.fence, d.protection,
            d.replayed, d.waited_ms
        FROM inventory_lock.decrement_stock_on_purchase(
            inventory_lock.test_id(test_decrement.variant_id), test_decrement.quantity) d;
    END;
COMMENT ON FUNCTION inventory_lock.test_decrement(text, bigint) IS
    'decrement_stock_on_purchase for ids that start with test_';

CREATE FUNCTION inventory_lock.test_concurrent_access(variant_id text, hold interval DEFAULT '1 s')
    RETURNS TABLE (variant_id text, fence bigint, protection text, waited_ms double precision,
        held_ms double precision)
    LANGUAGE c ROWS 1 AS 'MODULE_PATHNAME', 'inventory_lock_test_concurrent_access';
COMMENT ON FUNCTION inventory_lock.test_concurrent_access(text, interval) IS
    'takes the stock lock of an id that starts with test_ and keeps it for a while';

CREATE FUNCTION inventory_lock.clear_test_locks()
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_clear_test_locks';
COMMENT ON FUNCTION inventory_lock.clear_test_locks() IS
    'frees the keys of ids and names that start with test_, whoever has them; returns how many';

REVOKE ALL ON FUNCTION inventory_lock.test_decrement(text, bigint),
    inventory_lock.test_concurrent_access(text, interval), inventory_lock.clear_test_locks()
    FROM PUBLIC;

REVOKE ALL ON FUNCTION inventory_lock.get_locks(), inventory_lock.get_foreign_locks(), inventory_lock.get_counters(),
    inventory_lock.get_stats_reset(), inventory_lock.get_waits(), inventory_lock.get_key_waits(),
    inventory_lock.get_connections(), inventory_lock.get_status(), inventory_lock.status(),
    inventory_lock.get_lock_stats(), inventory_lock.metrics(),
    inventory_lock.wait_quantile(text, double precision), inventory_lock.stat_reset() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION inventory_lock.get_locks(), inventory_lock.get_foreign_locks(), inventory_lock.get_counters(),
    inventory_lock.get_stats_reset(), inventory_lock.get_waits(), inventory_lock.get_key_waits(),
    inventory_lock.get_connections(), inventory_lock.get_status(), inventory_lock.status(),
    inventory_lock.get_lock_stats(), inventory_lock.metrics(),
    inventory_lock.wait_quantile(text, double precision) TO pg_monitor;
GRANT SELECT ON inventory_lock.active_locks, inventory_lock.stat, inventory_lock.stat_wait,
    inventory_lock.stat_key, inventory_lock.top, inventory_lock.redis_status TO pg_monitor;
