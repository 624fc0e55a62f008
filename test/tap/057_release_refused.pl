# A key was acquired and the answer lost with its connection. The release that follows is refused for a
# while: it is sent until it is acknowledged, or the key would stay for its whole time to live.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Proxy;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $proxy = InventoryLock::Proxy->new($redis);
my $node = InventoryLock::Cluster->create(
    'main',
    settings => {
        'inventory_lock.redis_url' => $proxy->url,
        'inventory_lock.redis_pool_size' => 1,
        'inventory_lock.breaker_failures' => 1000,    # its probes would be refused as well
        'inventory_lock.custom_ttl' => '10min' });
$node->wait_for_protection('redis');
my $used = 'SELECT leases_used FROM inventory_lock.get_status()';
$node->poll_until(sub { $node->value($used) == 0 }, 'the lease table is empty');

my $session = $node->session;
$proxy->tell('refuse on');
$proxy->tell('rule replies close n=1 match=granted');
$session->run("SELECT count(inventory_lock.acquire_lock('left', wait_timeout => '10 s'))");
is($session->warnings, 1, 'the caller goes on without Redis');
is($redis->lock_keys, 'lock:left', 'but the key was acquired');

$redis->command('CONFIG', 'SET', 'min-replicas-to-write', 1);
$proxy->tell('refuse off');
my $refused = sub { $redis->command('INFO', 'errorstats') =~ /NOREPLICAS:count=(\d+)/ ? $1 : 0 };
$node->poll_until(sub { $refused->() >= 3 || $node->value($used) == 0 }, 'the release is refused, or given up');
cmp_ok($refused->(), '>=', 3, 'the release is tried again and again');
$redis->command('CONFIG', 'SET', 'min-replicas-to-write', 0);
$node->poll_until(sub { $node->value($used) == 0 }, 'the worker is done with the key');
is($redis->lock_keys, '', 'the key is gone');
$session->quit;

$node->finish($redis);
done_testing();
