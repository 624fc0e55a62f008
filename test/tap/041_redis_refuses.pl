# Redis answers, but refuses what is asked: READONLY, NOPERM, OOM, MISCONF, NOREPLICAS, BUSY, each by
# a real Redis in that state. What is demanded each time stands in InventoryLock::Breaker.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Breaker;
use InventoryLock::Redis;
use IO::Socket::INET;
use Test::More;

my $redis = InventoryLock::Redis->new(
    'main', 'busy-reply-threshold' => 50, 'enable-protected-configs' => 'yes');
$redis->start;
my $breaker = InventoryLock::Breaker->new($redis);

$breaker->check(
    'READONLY',
    break => sub { $redis->command('REPLICAOF', '127.0.0.1', 1) },
    heal => sub { $redis->command('REPLICAOF', 'NO', 'ONE') },
    error => qr/READONLY|replica/,
    hint => qr/is a replica/);

$breaker->check(
    'NOPERM',
    break => sub { $redis->command('ACL', 'SETUSER', 'default', '-eval', '-evalsha', '-set') },
    heal => sub { $redis->command('ACL', 'SETUSER', 'default', '+@all') },
    error => qr/NOPERM|permission/i,
    hint => qr/Give the Redis user/);

$breaker->check(
    'OOM',
    break => sub { $redis->command('CONFIG', 'SET', 'maxmemory', 1) },
    heal => sub { $redis->command('CONFIG', 'SET', 'maxmemory', 0) },
    error => qr/OOM/,
    hint => qr/Raise "maxmemory"/);

# A snapshot that fails, because its folder is gone.
$breaker->check(
    'MISCONF',
    break => sub {
        my $folder = $redis->folder . '/gone';
        mkdir $folder or die "$folder: $!";
        $redis->command('CONFIG', 'SET', 'dir', $folder);
        rmdir $folder or die "$folder: $!";
        $redis->command('CONFIG', 'SET', 'save', '3600 1000000');
        $redis->command('BGSAVE');
        $breaker->node->poll_until(
            sub { $redis->command('INFO', 'persistence') =~ /rdb_last_bgsave_status:err/ },
            'the snapshot fails');
    },
    heal => sub {
        $redis->command('CONFIG', 'SET', 'dir', $redis->folder);
        $redis->command('CONFIG', 'SET', 'save', '');
    },
    error => qr/MISCONF/,
    hint => qr/cannot save its data set/);

$breaker->check(
    'NOREPLICAS',
    break => sub { $redis->command('CONFIG', 'SET', 'min-replicas-to-write', 1) },
    heal => sub { $redis->command('CONFIG', 'SET', 'min-replicas-to-write', 0) },
    error => qr/NOREPLICAS/,
    hint => qr/min-replicas-to-write/);

# A script of somebody else that runs until it is killed.
my $script;
$breaker->check(
    'BUSY',
    break => sub {
        $script = IO::Socket::INET->new(PeerHost => '127.0.0.1', PeerPort => $redis->port) // die $@;
        print $script "*3\r\n\$4\r\nEVAL\r\n\$17\r\nwhile true do end\r\n\$1\r\n0\r\n";
        $script->flush;
        $breaker->node->poll_until(sub { $redis->command('PING') =~ /BUSY/ }, 'the script runs');
    },
    heal => sub { $redis->command('SCRIPT', 'KILL'); close $script },
    error => qr/BUSY|in time/,
    hint => qr/SCRIPT KILL|slow commands/);

$breaker->finish;
done_testing();
