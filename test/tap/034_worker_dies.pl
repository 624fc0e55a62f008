# The worker ends under load. Waiters are served by the next one as if nothing had happened, nobody is
# let in twice, leases are taken over with their deadlines, and what ends while no worker is there is
# released by the next one and not left to its time to live.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => { 'inventory_lock.inventory_ttl' => '60s', 'inventory_lock.breaker_cooldown' => '200ms' });
my $key = 'inventory_lock:42';
my $adjust = "SELECT protection FROM inventory_lock.adjust_stock_locked";
my $session = $node->session;
my $other = $node->session;

sub until_gone { $node->poll_until(sub { $node->worker_pid eq '' }, 'the worker is gone') }

sub until_next
{
    my ($before) = @_;
    $node->poll_until(
        sub { my $pid = $node->worker_pid; $pid =~ /^\d+$/ && $pid ne $before }, 'the next worker is there');
    return;
}

# Ends the worker, runs $between while none is there, waits for the next.
sub replace_worker
{
    my ($between) = @_;
    my $pid = $node->worker_pid;
    kill 'TERM', $pid;
    until_gone();
    $between->() if $between;
    until_next($pid);
    return;
}

# Is the key gone within so many seconds?
sub gone_within
{
    my ($seconds) = @_;
    my $end = time + $seconds;
    $node->poll_until(sub { $redis->lock_keys eq '' || time > $end }, 'the key is gone');
    return $redis->lock_keys eq '';
}

# A held lease is taken over: same token, renewed, and it commits.
$session->run('BEGIN');
is($session->run("$adjust('42', -1)"), 'redis', 'a lease is held');
my $token = $redis->command('GET', $key);
$redis->command('PEXPIRE', $key, 20000);
my $reasserted = 'SELECT reasserted FROM inventory_lock.stat';
$node->poll_until(sub { $node->value($reasserted) eq '1' }, 'the worker looks at a key that others have touched');
replace_worker();
$node->poll_until(sub { $node->value($reasserted) eq '2' }, 'the next worker looks, too');
is($redis->command('GET', $key), $token, 'the next worker has taken the lease over');
cmp_ok($redis->command('PTTL', $key), '>', 30000, 'and renewed it');
is($session->error_of('COMMIT'), '', 'and its transaction commits');
ok(gone_within(5), 'the next worker releases it');

# What ends between two workers is released by the next one.
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
replace_worker(sub { is($session->error_of('COMMIT'), '', 'a commit without a worker succeeds') });
ok(gone_within(5), 'the key is released by the next worker, long before its time to live');
$redis->command('DEL', $key);

# A call that comes while no worker is there waits for the next one.
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
replace_worker(
    sub {
        $session->run('ROLLBACK');
        $other->send("$adjust('43', -1)");
    });
my ($protection, $noise) = $other->result;
is($protection, 'redis', 'a call between two workers is served by the next one');
is($noise, '', 'without a warning');
ok(gone_within(5), 'nothing is left of it');

# A waiter for a foreign client's key is not let in by the change of workers.
$redis->command('SET', $key, 'foreign', 'PX', 600000);
$other->send("$adjust('42', -1)");
$node->wait_at_lease($other->pid);
$session->run('BEGIN');    # keeps the worker for the two seconds that it grants
$session->run("$adjust('43', -1)");
replace_worker();
$session->run('COMMIT');
is($node->value("SELECT count(*) FROM shop.stock_movement WHERE variant_id = '42' AND protection = 'database'"),
    '0', 'no change was made beside the foreign holder');
$node->wait_at_lease($other->pid);
pass('the waiter goes on waiting');
$redis->command('DEL', $key);
($protection, $noise) = $other->result;
is($protection, 'redis', 'and gets the key when it is free');
is($noise, '', 'without a warning');
ok(gone_within(5), 'and releases it');

# Deadlines go on counting: a lease that nobody could renew is lost, whoever the worker is.
$node->set('inventory_lock.inventory_ttl' => '3s', 'inventory_lock.commit_margin' => '200ms');
$node->reload;
$node->poll_until(sub { $node->value('SHOW inventory_lock.inventory_ttl') eq '3s' }, 'the new settings');
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
my $pid = $node->worker_pid;
$redis->freeze;
kill 'TERM', $pid;
$node->poll_until(
    sub { $node->value("SELECT state FROM inventory_lock.get_locks() WHERE key = '$key'") eq 'lost' },
    'the next worker finds the lease expired');
is($session->error_of('COMMIT'), 'IL011', 'a lease that expired between two workers cannot commit');
$redis->thaw;
$node->wait_for_protection('redis');
ok(gone_within(5), 'nothing is left of it');

# A frozen worker: calls go on without it, as without Redis, after a moment.
$pid = $node->worker_pid;
kill 'STOP', $pid;
my $started = time;
is($session->run("$adjust('42', -1)"), 'database', 'a frozen worker is as no Redis');
cmp_ok(time - $started, '<', 8, 'which is found out soon');
is_deeply([ $session->warnings ], ['01000'], 'with a warning');
$started = time;
kill 'CONT', $pid;
$node->wait_for_protection('redis');
ok(gone_within(5), 'nothing is left of it');

# SIGKILL is a crash of the server: the waiters' connections end, and the keys of the dead are freed.
$node->set('inventory_lock.inventory_ttl' => '60s');
$node->reload;
$node->poll_until(sub { $node->value('SHOW inventory_lock.inventory_ttl') eq '1min' }, 'the new settings');
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$other->send("$adjust('42', -1)");
$node->wait_at_gate;
$pid = $node->worker_pid;
kill 'KILL', $pid;
until_next($pid);
ok(gone_within(5), 'after SIGKILL the keys of the dead are freed');
is($node->protection('42'), 'redis', 'and the next one gets them');
$_->abandon for $session, $other;

$node->finish($redis, crashes => 1);
done_testing();
