# Redis dies and returns: calls go on under database locks, say so once per transaction, and come
# back to Redis by themselves. A transaction whose lease died with Redis does not commit.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.lease_linger' => 0,    # a lease that lingers serves for a while without Redis
        'inventory_lock.breaker_cooldown' => '200ms',
        'inventory_lock.inventory_ttl' => '5s',
        'inventory_lock.custom_ttl' => '5s' });

is($node->value('SELECT count(*) FROM shop.stock_movement WHERE protection = $$redis$$') > 0,
    1, 'movements are protected by Redis at first');

# A holder when Redis dies with its memory.
my $holder = $node->session;
$holder->run('BEGIN');
$holder->run("SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)");
is($redis->lock_keys, 'inventory_lock:42', 'the key is in Redis while the transaction lasts');

$redis->kill9;
is($node->protection('43'), 'database', 'without Redis a call goes on, on database locks');

my $session = $node->session;
$session->run('BEGIN');
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('43', -1)");
my @first = $session->warnings;
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('probe', -1)");
my @second = $session->warnings;
$session->run('COMMIT');
is(scalar @first, 1, 'one WARNING in the transaction');
is(scalar @second, 0, 'and only one');
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('43', -1)");
is(scalar(my @next = $session->warnings), 1, 'and one in the next');
my $pid = $session->run('SELECT pg_backend_pid()');
is(scalar(() = slurp_file($node->logfile) =~ /\[$pid\].* WARNING: .*Redis does not answer/g),
    1, 'the server log has that of the first');

$redis->start;
$node->wait_for_protection('redis');
pass('back on Redis by itself');

# Each connection to Redis looks for its own leases when it is back.
$node->poll_until(
    sub { $node->value(q{SELECT state FROM inventory_lock.get_locks() WHERE key = 'inventory_lock:42'}) eq 'lost' },
    'the lease is looked for');
is($holder->error_of('COMMIT'), 'IL011',
    'a lease that vanished with the memory of Redis does not commit');
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"),
    1000, 'and nothing of that transaction is there');
$holder->quit;
$session->quit;

# Several times in a row, with calls all the way.
for my $round (1 .. 3)
{
    $redis->kill9;
    $node->wait_for_protection('database');
    $redis->start;
    $node->wait_for_protection('redis');
}
pass('three more deaths and returns');

# Frozen is not dead: connections stay open, answers do not come.
$redis->freeze;
is($node->protection('43'), 'database', 'a Redis that does not answer is done without');
$redis->thaw;
$node->wait_for_protection('redis');

$node->finish($redis);
done_testing();
