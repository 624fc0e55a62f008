# Redis cannot be reached, or does not let the worker in: nobody listens, silence, NOAUTH. What is
# demanded each time stands in InventoryLock::Breaker.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Breaker;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $breaker = InventoryLock::Breaker->new($redis);

$breaker->check(
    'refused',
    break => sub { $redis->kill9 },
    heal => sub { $redis->start },
    error => qr/refused|closed/i,
    hint => qr/Check that Redis runs|log of the Redis server/);

$breaker->check(
    'silent',
    break => sub { $redis->freeze },
    heal => sub { $redis->thaw },
    error => qr/in time/,
    hint => qr/slow commands/);

# A password that the worker does not know: its connections are cut, and it cannot come back.
$breaker->check(
    'NOAUTH',
    break => sub {
        $redis->command('CONFIG', 'SET', 'requirepass', 'secret');
        $redis->login('default', 'secret');
        $redis->command('CLIENT', 'KILL', 'TYPE', $_) for 'normal', 'pubsub';
    },
    heal => sub {
        $redis->command('CONFIG', 'SET', 'requirepass', '');
        delete $redis->{login};
    },
    error => qr/NOAUTH/,
    hint => qr/password in the file|log of the Redis server/);

$breaker->finish;
done_testing();
