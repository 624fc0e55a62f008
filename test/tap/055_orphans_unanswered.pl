# What a dead server left in Redis is freed also when the first attempt is lost on its way: the
# connection is given up without an answer, or closed, and the next connection tries again.

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

$node->finish($redis, crashes => 1);
done_testing();
