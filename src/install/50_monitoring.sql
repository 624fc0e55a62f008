-- Monitoring: functions that read shared memory, and views over them. Whatever shows keys or
-- statistics is for pg_monitor.

CREATE FUNCTION inventory_lock.get_locks(OUT key text, OUT kind text, OUT state text, OUT pid bigint,
        OUT since timestamptz, OUT ttl_ms bigint, OUT fence bigint, OUT owner text, OUT waiters bigint,
        OUT "foreign" boolean, OUT protection text)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'inventory_lock_get_locks';
COMMENT ON FUNCTION inventory_lock.get_locks() IS
    'every key that this server has locked, waits for or is letting go of';

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
    SELECT l.key, l.kind, l.state, l.pid::integer AS pid, a.application_name AS application,
        a.query_start, l.since, l.ttl_ms, l.fence, l.owner, l.waiters, l."foreign", l.protection
    FROM inventory_lock.get_locks() l
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid;
COMMENT ON VIEW inventory_lock.active_locks IS
    'keys locked, waited for or being let go of: who holds them, for how long, who waits';

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
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'lost')::bigint AS custom_lost,
    pg_catalog.sum(c.value) FILTER (WHERE c.kind OPERATOR(pg_catalog.=) 'custom' AND c.name OPERATOR(pg_catalog.=) 'fence_raised')::bigint AS custom_fence_raised,
    pg_catalog.sum(c.value) FILTER (WHERE c.name OPERATOR(pg_catalog.=) 'renewals')::bigint AS renewals,
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

CREATE VIEW inventory_lock.redis_status AS
    SELECT c.lane::integer AS lane, c.endpoint, c.role, c.state, c.last_error, c.since,
        c.rtt_ms AS rtt, c.tracking
    FROM inventory_lock.get_connections() c;
COMMENT ON VIEW inventory_lock.redis_status IS
    'one row per connection pair to Redis; rtt in milliseconds';

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
        WHERE l.pid IS NOT NULL OR l.state OPERATOR(pg_catalog.=) 'held');
COMMENT ON FUNCTION inventory_lock.get_lock_stats() IS
    'numbers and list of the locks held now; order locks count as custom';

REVOKE ALL ON FUNCTION inventory_lock.get_locks(), inventory_lock.get_counters(),
    inventory_lock.get_stats_reset(), inventory_lock.get_waits(), inventory_lock.get_connections(),
    inventory_lock.get_status(), inventory_lock.status(), inventory_lock.get_lock_stats(),
    inventory_lock.stat_reset() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION inventory_lock.get_locks(), inventory_lock.get_counters(),
    inventory_lock.get_stats_reset(), inventory_lock.get_waits(), inventory_lock.get_connections(),
    inventory_lock.get_status(), inventory_lock.status(), inventory_lock.get_lock_stats() TO pg_monitor;
GRANT SELECT ON inventory_lock.active_locks, inventory_lock.stat, inventory_lock.stat_wait,
    inventory_lock.redis_status TO pg_monitor;
