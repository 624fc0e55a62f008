# Redis comes back after a restart as something that cannot serve yet, or not so: it reads a data set
# (LOADING), or it is a node of a Redis Cluster. What is demanded each time stands in
# InventoryLock::Breaker.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Breaker;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main', 'enable-debug-command' => 'yes');
$redis->start;
my $breaker = InventoryLock::Breaker->new($redis);

# 20,000 keys at 10 ms each are minutes; the delay is taken away to heal it.
$breaker->check(
    'LOADING',
    break => sub {
        $redis->command('DEBUG', 'POPULATE', 20_000);
        $redis->command('SAVE');
        $redis->kill9;
        $redis->{settings}{'key-load-delay'} = 10_000;
        $redis->{settings}{'loading-process-events-interval-bytes'} = 1024;
        $redis->start;
    },
    heal => sub { $redis->command('CONFIG', 'SET', 'key-load-delay', 0) },
    error => qr/LOADING|loading/,
    hint => qr/reading its data set|Check that Redis runs|log of the Redis server/);
delete $redis->{settings}{'key-load-delay'};
$redis->command('FLUSHALL');
$redis->command('SAVE');

# A node that serves no slot answers CLUSTERDOWN to whatever has a key.
$breaker->check(
    'CLUSTERDOWN',
    break => sub {
        $redis->kill9;
        $redis->{settings}{'cluster-enabled'} = 'yes';
        $redis->start;
    },
    heal => sub {
        $redis->kill9;
        delete $redis->{settings}{'cluster-enabled'};
        $redis->start;
    },
    error => qr/CLUSTERDOWN|MOVED/,
    hint => qr/node of a Redis Cluster|Check that Redis runs|log of the Redis server/);

$breaker->finish;
done_testing();
