-- The settings: names, defaults, units and who may change them.
BEGIN;
SELECT plan(9);

SELECT results_eq(
    $$SELECT substr(name, 16), boot_val, unit, context FROM pg_settings WHERE name LIKE 'inventory\_lock.%' ORDER BY 1$$,
    $$VALUES
        ('breaker_cooldown', '5000', 'ms', 'sighup'),
        ('breaker_failures', '5', NULL::text, 'sighup'),
        ('commit_margin', '1000', 'ms', 'superuser'),
        ('custom_ttl', '30000', 'ms', 'superuser'),
        ('early_release', 'statement', NULL::text, 'user'),
        ('inventory_ttl', '30000', 'ms', 'superuser'),
        ('lease_linger', '0', 'ms', 'sighup'),
        ('log_min_wait', '-1', 'ms', 'superuser'),
        ('log_stats_interval', '0', 'ms', 'sighup'),
        ('max_hold', '600000', 'ms', 'sighup'),
        ('max_keys_per_transaction', '1000', NULL::text, 'superuser'),
        ('max_leases', '8192', NULL::text, 'postmaster'),
        ('max_tenure', '1000', 'ms', 'sighup'),
        ('max_waiters', '0', NULL::text, 'superuser'),
        ('notify', 'off', NULL::text, 'user'),
        ('on_redis_failure', 'fallback', NULL::text, 'superuser'),
        ('order_ttl', '60000', 'ms', 'superuser'),
        ('redis_command_timeout', '500', 'ms', 'sighup'),
        ('redis_connect_timeout', '500', 'ms', 'sighup'),
        ('redis_password_file', '', NULL::text, 'sighup'),
        ('redis_pool_size', '2', NULL::text, 'sighup'),
        ('redis_replica_url', '', NULL::text, 'sighup'),
        ('redis_url', '', NULL::text, 'sighup'),
        ('retry_interval', '100', 'ms', 'sighup'),
        ('row_lock', 'auto', NULL::text, 'user'),
        ('sold_out_check', 'on', NULL, 'user'),
        ('track_wait_timing', 'on', NULL::text, 'superuser'),
        ('wait_timeout', '30000', 'ms', 'user')$$,
    'names, defaults, units and contexts');
SELECT is_empty($$SELECT name FROM pg_settings WHERE name LIKE 'inventory\_lock.%' AND coalesce(short_desc, '') = ''$$,
    'every setting is described');
SELECT results_eq(
    $$SELECT substr(name, 16), enumvals FROM pg_settings WHERE name LIKE 'inventory\_lock.%' AND vartype = 'enum' ORDER BY 1$$,
    $$VALUES ('early_release', '{off,statement,on}'::text[]), ('on_redis_failure', '{fallback,error}'),
             ('row_lock', '{auto,update,no_key_update}')$$,
    'values of enumerations');
SELECT throws_ok($$SET inventory_lock.no_such_setting = 1$$, '42602', NULL, 'the prefix is reserved');
SELECT throws_ok($$SET inventory_lock.row_lock = 'perhaps'$$, '22023', NULL, 'a wrong value is refused');

CREATE ROLE il_settings_user;
SET ROLE il_settings_user;
SELECT lives_ok($$SET inventory_lock.wait_timeout = '5 s'$$, 'a user sets his own wait_timeout');
SELECT throws_ok($$SET inventory_lock.inventory_ttl = '5 s'$$, '42501', NULL, 'but no TTL');
SELECT throws_ok($$SET inventory_lock.on_redis_failure = 'error'$$, '42501', NULL, 'nor what happens without Redis');
SELECT throws_ok($$SHOW inventory_lock.redis_url$$, '42501', NULL, 'where Redis is stays hidden');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
