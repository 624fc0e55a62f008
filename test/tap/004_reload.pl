# A new redis_url is taken on reload, without dropping a lease that is valid; an empty one turns
# Redis off, and a wrong one is refused or degrades, as it deserves.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my $first = InventoryLock::Redis->new('first');
my $second = InventoryLock::Redis->new('second');
$first->start;
$second->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $first,
    settings => {
        'inventory_lock.lease_linger' => 0,    # or others' keys linger beside the one that is held
        'inventory_lock.breaker_cooldown' => '200ms' });

# A held lease survives the reload.
my $holder = $node->session;
$holder->run('BEGIN');
$holder->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
is($first->lock_keys, 'inventory_lock:42', 'held on the first server');
$node->set('inventory_lock.redis_url' => $second->url);
$node->reload;
$node->poll_until(
    sub {
        my $session = $node->session;
        $session->run('BEGIN');
        $session->run("SELECT FROM inventory_lock.adjust_stock_locked('43', -1)");
        my $there = $second->lock_keys eq 'inventory_lock:43';
        $session->run('ROLLBACK');
        $session->quit;
        return $there;
    },
    'new leases are taken on the second server');
pass('after the reload new leases are on the second server');
is($holder->error_of('COMMIT'), '', 'the transaction that held a lease before commits');
$holder->quit;
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"), 999, 'and is there');
$node->nothing_left($first, 'on the first server');
$node->nothing_left($second, 'on the second server');

# The same server over its Unix socket.
$node->set('inventory_lock.redis_url' => 'unix://' . $second->socket_path . '?db=3');
$node->reload;
$node->poll_until(
    sub {
        my $session = $node->session;
        $session->run('BEGIN');
        $session->run("SELECT FROM inventory_lock.adjust_stock_locked('43', -1)");
        my $there = $second->command('-n', 3, 'EXISTS', 'inventory_lock:43') eq '1';
        $session->run('ROLLBACK');
        $session->quit;
        return $there;
    },
    'leases are taken in database 3 over the Unix socket');
pass('a Unix socket and a database number work');

# Off.
$node->set('inventory_lock.redis_url' => '');
$node->reload;
$node->wait_for_protection('database');
pass('an empty URL turns Redis off');

# A password in the URL, or a scheme that is not built, is refused; the old value stays.
for my $url ('redis://user:secret@127.0.0.1/0', 'redis+cluster://127.0.0.1', 'http://127.0.0.1')
{
    isnt($node->error_of("ALTER SYSTEM SET inventory_lock.redis_url = '$url'"), '', "refused: $url");
}
unlike(slurp_file($node->data_dir . '/postgresql.auto.conf'), qr/redis_url/, 'and not stored');

# Nobody listens there.
my $dead = InventoryLock::Redis->new('dead');
$node->set('inventory_lock.redis_url' => $dead->url);
$node->reload;
is($node->protection('43'), 'database', 'an address where nobody listens degrades');
$node->set('inventory_lock.redis_url' => $first->url);
$node->reload;
$node->wait_for_protection('redis');

# Other settings of the worker, while it works.
$node->set(
    'inventory_lock.redis_pool_size' => 4,
    'inventory_lock.redis_command_timeout' => '300ms',
    'inventory_lock.retry_interval' => '50ms');
$node->reload;
$node->wait_for_protection('redis');
pass('pool size and timeouts are taken on reload');

$node->finish($first);
done_testing();
