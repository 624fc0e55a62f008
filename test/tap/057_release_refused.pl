# A key was acquired and the answer lost with its connection. The release that follows is refused for a
# while: it is sent until it is acknowledged, or the key would stay for its whole time to live. So are
# releases of several keys that were sent together, and refused or lost.

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
        'inventory_lock.lease_linger' => 0,    # a key is to be released when its transaction ends
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

# Of several keys that are released together one is refused: the others need not wait for it.
$session->run('BEGIN');
$session->run("SELECT count(inventory_lock.acquire_lock(name)) FROM unnest(ARRAY['a1', 'a2', 'b', 'a3']) name");
$redis->command('ACL', 'SETUSER', 'default', 'resetkeys', '~*lock:a*');
$session->run('COMMIT');
$node->poll_until(sub { $redis->lock_keys !~ /lock:a/ }, 'the others are gone');
is($redis->lock_keys, 'lock:b', 'only what is refused is left');
$redis->command('ACL', 'SETUSER', 'default', '~*');
$node->poll_until(sub { $node->value($used) == 0 }, 'the worker is done with that one too');
is($redis->lock_keys, '', 'it is gone');

# A release is refused, and its key wanted again together with one that is not to be had: the earlier
# token goes all the same.
$node->safe_psql('postgres', q{INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('p1', 100), ('p2', 100)});
my $buyer = $node->session;
$buyer->run('BEGIN');
$buyer->run(q{SELECT FROM inventory_lock.adjust_stock_locked('p1', -1)});
my $earlier = $refused->();
$redis->command('SET', 'inventory_lock:p2', 'foreign', 'PX', 600000);
$redis->command('CONFIG', 'SET', 'min-replicas-to-write', 1);
$buyer->run('COMMIT');
$node->poll_until(sub { $refused->() > $earlier }, 'the release is refused');
$redis->command('CONFIG', 'SET', 'min-replicas-to-write', 0);
$buyer->send(q{SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "p1", "delta": -1}, {"variant_id": "p2", "delta": -1}]')});
$node->wait_at_lease($buyer->pid);
my $asked = time;
$node->poll_until(sub { $redis->lock_keys eq 'inventory_lock:p2' }, 'the earlier token is gone');
cmp_ok(time - $asked, '<', 10, 'long before its time to live is over');
$redis->command('DEL', 'inventory_lock:p2');
is(($buyer->result)[0], '2', 'and both are had when the other one is free');
$buyer->quit;

# Several keys are released together, and the connection dies with that or with the answer, while one
# of them is wanted again. None stays.
my $next = $node->session;
for my $lost ('requests close n=1 match=pg:', 'replies close n=1 match=*4')
{
    $session->run('BEGIN');
    $session->run("SELECT count(inventory_lock.acquire_lock('lost' || i)) FROM generate_series(1, 4) i");
    my $token = $redis->command('GET', 'lock:lost2');
    like($token, qr/^pg:/, "$lost: the keys are ours");
    my $closed = sub { ($proxy->tell('stats') =~ /"close": (\d+)/)[0] };
    my $before = $closed->();
    $proxy->tell("rule $lost");
    $session->run('COMMIT');
    # Whoever is faster than the release has the key handed over.
    $node->poll_until(sub { $closed->() > $before }, 'the release, or its answer, is lost');
    $next->run('BEGIN');
    $next->run("SELECT inventory_lock.acquire_lock('lost2', wait_timeout => '10 s')");
    my $anew = $redis->command('GET', 'lock:lost2');
    like($anew, qr/^pg:/, "$lost: one is taken again");
    isnt($anew, $token, "$lost: under a new token");
    $node->poll_until(sub { $redis->lock_keys eq 'lock:lost2' }, 'the others are gone');
    $next->run('COMMIT');
    $node->poll_until(sub { $node->value($used) == 0 }, 'the worker is done with all of them');
    is($redis->lock_keys, '', "$lost: all are gone");
}
$next->quit;
$session->quit;

$node->finish($redis);
done_testing();
