# The name of Redis' host: not known yet when the server starts, and another address's later, with and
# without a reload, or when Sentinel tells it. (nss_wrapper resolves names from a file of ours.)

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use InventoryLock::Sentinel;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($first, $second) = map { InventoryLock::Redis->new($_->[0], bind => $_->[1]) } ['first', '127.0.0.1'], ['second', '127.0.0.2'];
$second->{port} = $first->port;
$_->start for $first, $second;
my $hosts = PostgreSQL::Test::Utils::tempdir_short() . '/hosts';

sub name_is
{
    my ($address) = @_;
    open my $file, '>', "$hosts.new" or die "hosts: $!";
    print $file $address ? "$address redis.test\n" : "127.0.0.1 other.test\n";
    close $file;
    rename "$hosts.new", $hosts or die "hosts: $!";
    return;
}

name_is('');
my $node;
{
    local $ENV{LD_PRELOAD} = 'libnss_wrapper.so';
    local $ENV{NSS_WRAPPER_HOSTS} = $hosts;
    $node = InventoryLock::Cluster->create(
        'main', settings => { 'inventory_lock.redis_url' => 'redis://redis.test:' . $first->port . '/0' });
}
my $session = $node->session;
my $breaker = q{SELECT inventory_lock.status()->>'breaker'};
$node->poll_until(sub { $node->value($breaker) eq 'open' }, 'the breaker opens');
my $started = time;
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
cmp_ok(time - $started, '<', 0.5, 'nobody waits for a server whose name is not known');
is($session->warnings, 1, 'but is told');
like(slurp_file($node->logfile), qr/connection to Redis at .* failed: the host name cannot be resolved/, 'the log says why');

name_is('127.0.0.1');
$node->wait_for_protection('redis');
ok(1, 'a name that comes later is found without a reload');

# Where the key of a lock that is held is.
sub held_at
{
    my ($redis) = @_;
    $session->run('BEGIN');
    my $there = $session->error_of("SELECT inventory_lock.acquire_lock('moved')") eq ''
      && $redis->command('EXISTS', 'lock:moved') eq '1';
    $session->error_of('COMMIT');
    return $there;
}
ok(held_at($first), 'locks are where the name says');
name_is('127.0.0.2');
ok(held_at($first), 'a connection that stands is kept');
$node->reload;
$node->poll_until(sub { held_at($second) }, 'locks are on the other address');
ok(1, 'a reload resolves the name again');

name_is('127.0.0.1');
$second->kill9;
$node->poll_until(sub { held_at($first) }, 'locks are on the first address again');
ok(1, 'and so does a server that has gone, without a reload');

# Sentinel may know the primary by name, too, and go on telling it when it is another address's.
my $sentinel = InventoryLock::Sentinel->new('one', watches => $first, host => 'redis.test', quorum => 1);
{
    local $ENV{LD_PRELOAD} = 'libnss_wrapper.so';
    local $ENV{NSS_WRAPPER_HOSTS} = $hosts;
    $sentinel->start;
}
$node->value(q{ALTER SYSTEM SET inventory_lock.redis_url = 'redis+sentinel://127.0.0.1:} . $sentinel->port . q{/shop/0'});
$node->reload;
$node->poll_until(
    sub { $node->value('SELECT DISTINCT endpoint FROM inventory_lock.redis_status') eq 'redis.test:' . $first->port . '/0' },
    'Sentinel has named the primary');
$node->poll_until(sub { held_at($first) }, 'locks are where its name says');
$second->start;
name_is('127.0.0.2');
$first->kill9;
$node->poll_until(sub { held_at($second) }, 'locks are where its name says now');
ok(1, 'the name that Sentinel tells is resolved again');

$session->quit;
$node->finish($second);
done_testing();
