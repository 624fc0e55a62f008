# 1,000 real server connections, all at once, on one key: everybody gets a turn, nothing is
# oversold, the worker needs a handful of connections to Redis, and no key stays.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = 1000;
my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        max_connections => $clients + 100,
        # PostgreSQL's search for a deadlock costs the square of the queue, for each that waits so long.
        deadlock_timeout => '30s',
        'inventory_lock.wait_timeout' => '120s',
        # A thousand processes starting on two cores can keep the worker from its turn.
        'inventory_lock.redis_command_timeout' => '10s',
        'inventory_lock.max_leases' => 1024 });

# Each client buys one of 500: half succeed, the other half hears IL001 and nothing else.
$node->safe_psql('postgres',
    q{INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('hot', 500);
      CREATE TABLE outcome (sqlstate text NOT NULL);
      CREATE FUNCTION buy() RETURNS void LANGUAGE plpgsql AS $$
      BEGIN
          PERFORM inventory_lock.decrement_stock_on_purchase('hot', 1);
          INSERT INTO outcome VALUES ('00000');
      EXCEPTION WHEN SQLSTATE 'IL001' THEN
          INSERT INTO outcome VALUES (SQLSTATE);
      END $$});

my $script = PostgreSQL::Test::Utils::tempdir() . '/buy.sql';
append_to_file($script, "SELECT buy();\n");
$node->command_ok(
    [
        'pgbench', '--no-vacuum', '--client', $clients, '--jobs', 2, '--transactions', 1,
        '--file', $script, 'postgres'
    ],
    'every one of 1,000 connections was answered');

is($node->value("SELECT string_agg(sqlstate || ' ' || n, ', ' ORDER BY sqlstate)
                 FROM (SELECT sqlstate, count(*) AS n FROM outcome GROUP BY 1) t"),
    '00000 500, IL001 500', '500 bought, 500 were refused for want of stock, nothing else happened');
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = 'hot'"), 0, 'sold out exactly');
is($node->value("SELECT count(*) FROM shop.stock_movement WHERE variant_id = 'hot'"),
    500, 'one movement for each sale');
is($node->value("SELECT count(*) FROM shop.stock_movement WHERE variant_id = 'hot'
                 AND protection <> 'redis'"), 0, 'all protected by Redis');
is($node->value("SELECT count(DISTINCT fence) FROM shop.stock_movement WHERE variant_id = 'hot'"),
    500, 'no fence was given out twice');

my $clients_in_redis = () = $redis->command('CLIENT', 'LIST') =~ /^id=/mg;
cmp_ok($clients_in_redis - 1, '<=', 4, 'at most 4 connections to Redis');

$node->finish($redis);
done_testing();
