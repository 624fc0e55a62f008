# lease_linger: a kept lease is no hindrance. It is given up when others want its key, renewed in time
# while it is in use, and not kept where other kinds of clients were seen. The time that it may be
# kept, and the poll, are so long here that neither can be what ends the wait.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my %settings = (
    'inventory_lock.lease_linger' => '60s',
    'inventory_lock.retry_interval' => '60s',
    'inventory_lock.custom_ttl' => '40s');
my ($node, $other) = map { InventoryLock::Cluster->create($_, redis => $redis, settings => {%settings}) } qw(a b);
my ($session, $rival) = map { $_->session } $node, $other;

sub take { return "SELECT inventory_lock.acquire_lock('$_[0]')" }

# Waits until the key is gone from Redis; how long that took.
sub seconds_until_free
{
    my ($key) = @_;
    my $started = time;
    $node->poll_until(sub { $redis->command('EXISTS', $key) eq '0' }, "$key is free");
    return time - $started;
}

# Waits until this cluster has no lease of the key any more; how long that took. (active_locks would
# look for foreign clients, and find one.)
sub seconds_until_given_up
{
    my ($key) = @_;
    my $started = time;
    $node->poll_until(
        sub { $node->value("SELECT count(*) FROM inventory_lock.get_locks() WHERE key = '$key'") eq '0' },
        "$key is given up");
    return time - $started;
}

$session->run(take('kept'));
is($redis->command('EXISTS', 'lock:kept'), '1', 'an unused lease is kept');

# Another cluster wants it.
my $started = time;
$rival->run(take('kept'));
cmp_ok(time - $started, '<', 5, 'another cluster gets a key that is only kept');
$session->run('BEGIN');
$session->run(take('wanted'));
$rival->send(take('wanted'));
$other->wait_at_lease($rival->pid);
$node->poll_until(
    sub { $other->value(q{SELECT "foreign" FROM inventory_lock.active_locks WHERE key = 'lock:wanted'}) eq 'f' },
    'the other cluster has asked');
$session->run('COMMIT');
$started = time;
$rival->result;
cmp_ok(time - $started, '<', 5, 'who asked while the key was in use gets it at the end of the transaction');

# A client of another kind was seen on the key.
$redis->command('SET', 'lock:shared', 'foreign', 'PX', 600000);
$session->send(take('shared'));
$node->wait_at_lease($session->pid);
$node->poll_until(
    sub { $node->value(q{SELECT "foreign" FROM inventory_lock.active_locks WHERE key = 'lock:shared'}) eq 't' },
    'the foreign client is seen');
$redis->command('DEL', 'lock:shared');
$session->result;
cmp_ok(seconds_until_free('lock:shared'), '<', 5, 'not kept where another kind of client was seen');
$session->run(take('shared'));
cmp_ok(seconds_until_free('lock:shared'), '<', 5, 'nor the next time');

# Somebody deletes a kept key, another one takes it.
$session->run(take('deleted'));
$redis->command('DEL', 'lock:deleted');
$redis->command('SET', 'lock:deleted', 'foreign', 'PX', 600000, 'NX');
cmp_ok(seconds_until_given_up('lock:deleted'), '<', 5, 'the loss of a deleted key is noticed');
is($session->run(q{SELECT inventory_lock.try_acquire_lock('deleted') IS NULL}), 't',
    'a kept key that somebody else has taken is his');
$redis->command('DEL', 'lock:deleted');

# Redis comes back empty.
$session->run(take('forgotten'));
$redis->kill9;
$redis->start;
$redis->command('SET', 'lock:forgotten', 'foreign', 'PX', 600000);
cmp_ok(seconds_until_given_up('lock:forgotten'), '<', 5, 'and so is the memory of Redis');
$node->poll_until(sub { $node->value(q{SELECT inventory_lock.status()->>'breaker'}) eq 'closed' }, 'Redis answers');
is($session->run(q{SELECT inventory_lock.try_acquire_lock('forgotten') IS NULL}), 't',
    'nor is a key that Redis has forgotten used without asking');
$redis->command('DEL', 'lock:forgotten');

# A lease lives for less long than it may be kept: renewed while it is in use, and not thereafter.
$session->run("SET inventory_lock.custom_ttl = '3s'");
$session->run('BEGIN');
$session->run(take('long'));
my $end = time + 5;
$node->poll_until(sub { time > $end }, 'the lease would have ended');
is($session->error_of('COMMIT'), '', 'a lease in use is renewed in time');
$session->run("SET inventory_lock.custom_ttl = '10s'");
$session->run(take('half'));
cmp_ok(seconds_until_free('lock:half'), '<', 8, 'an unused one goes when half of its life is over');
$session->run('RESET inventory_lock.custom_ttl');

# A new worker does not know who else wanted a key before it was there.
$session->run('BEGIN');
$session->run(take('inherited'));
my $worker = $node->worker_pid;
kill 'TERM', $worker;
$node->poll_until(
    sub { my $pid = $node->worker_pid; $pid =~ /^\d+$/ && $pid ne $worker }, 'the next worker is there');
$session->run('COMMIT');
cmp_ok(seconds_until_free('lock:inherited'), '<', 5, 'what was in use when a worker died is not kept');

# Switched off: what is kept goes, and what is in use with the end of its transaction.
$session->run(take('kept'));
$session->run('BEGIN');
$session->run(take('used'));
$node->set('inventory_lock.lease_linger' => '0');
$node->reload;
cmp_ok(seconds_until_free('lock:kept'), '<', 5, 'nothing is kept once that is switched off');
$session->run('COMMIT');
cmp_ok(seconds_until_free('lock:used'), '<', 5, 'nor what was in use then');

$other->set('inventory_lock.lease_linger' => '0');
$other->reload;
$_->quit for $session, $rival;
$other->finish;
$node->finish($redis);
done_testing();
