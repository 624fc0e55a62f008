# Redis comes back after a restart as something that cannot serve yet, or not so: it reads a data set
# (LOADING), or it is a node of a Redis Cluster. What is demanded each time stands in
# InventoryLock::Breaker.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Breaker;
use InventoryLock::Redis;
use PostgreSQL::Test::Cluster;
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
my $bus_port = PostgreSQL::Test::Cluster::get_free_port();
$breaker->check(
    'CLUSTERDOWN',
    break => sub {
        $redis->kill9;
        $redis->{settings}{'cluster-enabled'} = 'yes';
        $redis->{settings}{'cluster-port'} = $bus_port;
        $redis->start;
    },
    heal => sub {
        $redis->kill9;
        delete @{ $redis->{settings} }{ 'cluster-enabled', 'cluster-port' };
        $redis->start;
    },
    error => qr/CLUSTERDOWN/,
    hint => qr/node of a Redis Cluster|Check that Redis runs|log of the Redis server/);

# A node whose slots another one has answers MOVED.
my $other = InventoryLock::Redis->new('other', 'cluster-enabled' => 'yes',
    'cluster-port' => PostgreSQL::Test::Cluster::get_free_port());
$other->start;
$other->command('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
$breaker->check(
    'MOVED',
    break => sub {
        $redis->kill9;
        $redis->{settings}{'cluster-enabled'} = 'yes';
        $redis->{settings}{'cluster-port'} = $bus_port;
        $redis->start;
        $redis->command('CLUSTER', 'MEET', '127.0.0.1', $other->port, $other->{settings}{'cluster-port'});
        $breaker->node->poll_until(
            sub { $redis->command('GET', 'inventory_lock:42') =~ /MOVED/ }, 'the nodes have met');
    },
    heal => sub {
        $redis->kill9;
        delete @{ $redis->{settings} }{ 'cluster-enabled', 'cluster-port' };
        $redis->start;
    },
    error => qr/MOVED/,
    hint => qr/node of a Redis Cluster|Check that Redis runs|log of the Redis server/);
$other->stop;

$breaker->finish;
done_testing();
