# What a dead server left in Redis is freed also when the first attempt is lost on its way: the
# connection is given up without an answer, or closed, and the next connection tries again.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Proxy;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $proxy = InventoryLock::Proxy->new($redis);
my $node = InventoryLock::Cluster->create(
    'main',
    settings => {
        'inventory_lock.redis_url' => $proxy->url,
        'inventory_lock.custom_ttl' => '10min' });
$node->wait_for_protection('redis');

for my $rule ('rule requests drop match=EVALSHA', 'rule requests close match=EVALSHA')
{
    my $session = $node->session;
    $session->run('BEGIN');
    $session->run("SELECT count(inventory_lock.acquire_lock('left_' || i)) FROM generate_series(1, 20) i");
    $node->kill9_and_wait;
    $session->abandon;
    $proxy->tell($rule);
    $node->poll_until(sub { $node->start(fail_ok => 1) }, 'the server starts again');
    my $met = sub { $proxy->tell('stats') =~ /"(?:drop|close)": [1-9]/ };
    $node->poll_until($met, 'the first attempt is lost');
    $proxy->tell('clear');
    $node->poll_until(sub { $redis->lock_keys !~ /left_/ }, 'the keys are freed');
    pass("freed after: $rule");
    $node->wait_for_protection('redis');
}

# What was freed is forgotten, too: the next worker does not ask again, also not with a table of another size.
my $session = $node->session;
$session->run('BEGIN');
$session->run("SELECT count(inventory_lock.acquire_lock('left_' || i)) FROM generate_series(1, 3) i");
$node->kill9_and_wait;
$session->abandon;
$node->set('inventory_lock.max_leases' => 5000);
$node->poll_until(sub { $node->start(fail_ok => 1) }, 'the server starts again');
$node->poll_until(sub { $redis->lock_keys !~ /left_/ }, 'the keys are freed');
$node->wait_for_protection('redis');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'nothing is locked');
my $file = $node->data_dir . '/pg_stat_tmp/inventory_lock.leases';
is(scalar(() = slurp_file($file) =~ /pg:[0-9a-f]{16}:/g), 0, 'the file names no token');

$node->finish($redis, crashes => 1);
done_testing();
