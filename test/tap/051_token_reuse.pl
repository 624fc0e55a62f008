# A token is good for one acquisition. A release that comes late, because its answer was lost, because it
# was sent twice, or because it hung in a connection that was given up, finds another token under the key
# and leaves the next holder alone. Redis denies CLIENT KILL to the worker here, so that nothing but the
# token protects from what the old connection still brings.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Proxy;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
is($redis->command('ACL', 'SETUSER', 'default', '-client|kill'), 'OK', 'CLIENT KILL is denied');

my $proxy = InventoryLock::Proxy->new($redis);
my $late_ms = 4000;    # long enough for the next one to have the key by then
my $node = InventoryLock::Cluster->create(
    'main',
    settings => {
        'inventory_lock.redis_url' => $proxy->url,
        'inventory_lock.redis_pool_size' => 1,
        'inventory_lock.redis_command_timeout' => '300ms',
        'inventory_lock.breaker_failures' => 100,
        'inventory_lock.custom_ttl' => '60s' });
$node->wait_for_protection('redis');
my $key = 'lock:reused';
my $take = "SELECT inventory_lock.acquire_lock('reused', '30 s')";
my ($session, $next) = map { $node->session } 1 .. 2;
my %seen;

# How many scripts Redis has run by their hashes.
sub scripts_run
{
    my ($calls) = $redis->command('INFO', 'commandstats') =~ /cmdstat_evalsha:calls=(\d+)/;
    return $calls // 0;
}

sub hold
{
    my ($who) = @_;
    $who->run('BEGIN');
    $who->run($take);
    my $token = $redis->command('GET', $key);
    like($token, qr/^pg:/, 'the key is ours');
    is($seen{$token}++, 0, 'its token was never seen before');
    return $token;
}

# Ends the first hold, whose release is to meet with this; returns when it has.
sub commit_into
{
    my ($action, $rule) = @_;
    my $met = sub { my ($count) = $proxy->tell('stats') =~ /"$action": (\d+)/; return $count };
    my $before = $met->();
    $proxy->tell("rule $rule");
    $session->run('COMMIT');
    return $node->poll_until(sub { $met->() > $before }, "the release is sent: $rule");
}

# What a copy of the first holder's release does when it arrives while the next one holds.
sub late_copy
{
    my ($token) = @_;
    return $redis->command('EVAL',
        q{if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0},
        1, $key, $token);
}

# The answer of the release is lost with its connection; the worker releases again, then the next one
# holds the key, and a third copy of the release arrives.
$node->poll_until(sub { $redis->lock_keys eq '' }, 'no other release is to come');
my $first = hold($session);
commit_into('close', 'replies close n=1 match=:1');
my $second = hold($next);
is(late_copy($first), 0, 'answer lost: a late release does not free the key of the next holder');
is($redis->command('GET', $key), $second, 'answer lost: the next holder still has it');
is($next->error_of('COMMIT'), '', 'answer lost: and commits');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'released');

# The release is sent twice.
$first = hold($session);
commit_into('double', "requests double n=1 match=$first");
$second = hold($next);
is(late_copy($first), 0, 'sent twice: a late release does not free the key of the next holder');
is($next->error_of('COMMIT'), '', 'sent twice: the next holder commits');
$proxy->tell('clear');
$node->wait_for_protection('redis');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'released');

# The release hangs in its connection. The worker gives that up and releases through the next one; when
# the old one brings its copy, the next holder has the key.
$first = hold($session);
commit_into('delay', "requests delay ms=$late_ms n=1 match=$first");
$node->poll_until(sub { $redis->lock_keys eq '' }, 'released through the next connection');
$second = hold($next);
my $run = scripts_run();
$node->poll_until(sub { scripts_run() > $run }, 'the old connection brings its release');
is($redis->command('GET', $key), $second, 'hung: the late release does not free the key of the next holder');
is($next->error_of('COMMIT'), '', 'hung: the next holder commits');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'released');

# The next one asks while the release hangs: its acquisition hangs behind it, and comes late as well.
$first = hold($session);
commit_into('delay', "requests delay ms=$late_ms n=1 match=$first");
$second = hold($next);
$run = scripts_run();
$node->poll_until(sub { scripts_run() > $run + 1 }, 'the old connection brings release and acquisition');
is($redis->command('GET', $key), $second, 'both hung: neither touches the key of the next holder');
is($next->error_of('COMMIT'), '', 'both hung: the next holder commits');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'released');

$_->quit for $session, $next;
$node->finish($redis);
done_testing();
