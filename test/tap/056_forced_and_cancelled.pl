# An administrator frees a key by force, and gives up before Redis has answered. The place that the key
# had in the lease table goes to another key meanwhile: the late answer must not be taken for its own.

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
        'inventory_lock.redis_pool_size' => 2,
        'inventory_lock.redis_command_timeout' => '20s' });
$node->wait_for_protection('redis');
my $used = 'SELECT leases_used FROM inventory_lock.get_status()';
$node->poll_until(sub { $node->value($used) == 0 }, 'the lease table is empty');

# A name whose key goes over the other connection, so that its lease need not wait for the answer.
my $other = $node->value(
    q{SELECT 'n' || i FROM generate_series(1, 100) i
       WHERE (hashtextextended('lock:n' || i, 0) & 1) <> (hashtextextended('lock:forced', 0) & 1) LIMIT 1});
my $session = $node->session;
$redis->command('SET', 'lock:forced', 'somebody');
$proxy->tell('rule requests delay ms=3000 n=1 match=forced');
is($node->error_of("SET statement_timeout = 200; SELECT inventory_lock.force_release_lock('lock:forced')"),
    '57014', 'the administrator gives up');
$session->run('BEGIN');
is($session->run("SELECT count(inventory_lock.acquire_lock('$other'))"), 1, 'another key is locked');
is($redis->command('GET', 'lock:forced'), 'somebody', 'the order is still on its way');
$node->poll_until(sub { $redis->command('EXISTS', 'lock:forced') eq '0' }, 'the key is freed');
$node->poll_until(sub { $node->protection eq 'redis' }, 'the connections have answered')
  for 1 .. 2;
is($session->error_of('COMMIT'), '', 'who holds the other key commits');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'no key is left');
$session->quit;

$node->finish($redis);
done_testing();
