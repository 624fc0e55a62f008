# Stopping and starting the server, each way, with leases held, and starting while Redis is away.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.inventory_ttl' => '3s',
        'inventory_lock.breaker_cooldown' => '200ms' });

sub hold
{
    my $session = $node->session;
    $session->run('BEGIN');
    $session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
    return $session;
}

my $fence = $node->value("SELECT fence FROM inventory_lock.adjust_stock_locked('42', 1)");

my $holder = hold();
$node->stop('fast');
$holder->abandon;
is($redis->lock_keys, '', 'a fast shutdown leaves no key');

$node->start;
$node->wait_for_protection('redis');
my $next = $node->value("SELECT fence FROM inventory_lock.adjust_stock_locked('42', -1)");
cmp_ok($next, '>', $fence, 'the fence grows over a restart');

# Immediate: nobody says farewell. The key ends with its time to live at the latest.
$holder = hold();
$node->stop('immediate');
$holder->abandon;
$node->start;
$node->poll_until(sub { $node->protection('42') eq 'redis' }, 'the key is free again');
pass('after an immediate stop the key is free again');

# The postmaster itself killed.
$holder = hold();
$node->kill9_and_wait;
$holder->abandon;
$node->start;
pass('after kill -9 of the postmaster its processes end and the server can be started');
$node->poll_until(sub { $node->protection('42') eq 'redis' }, 'the key is free again');
pass('after kill -9 of the postmaster the key is free again');

# Started without Redis: serves at once, and finds Redis later.
$node->stop('fast');
$redis->stop;
$node->start;
is($node->protection('42'), 'database', 'started without Redis, it serves at once');
$redis->start;
$node->wait_for_protection('redis');
pass('and finds Redis when that comes');

$node->finish($redis);
done_testing();
