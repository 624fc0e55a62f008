# Every wait ends as it should: wait_timeout (IL010), lock_timeout (55P03), statement_timeout and
# cancel (57014), while waiting at the gate, for the lease and for the row. Nobody leaves anything
# behind, and the next one gets through.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;
use Time::HiRes ();

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create('main', redis => $redis);

my $call = "SELECT FROM inventory_lock.adjust_stock_locked('42', -1)";
my $session = $node->session;
my $holder = $node->session;

# What blocks, how it is put up and how it is taken away again.
my %obstacles = (
    gate => [
        sub { $holder->run('BEGIN'); $holder->run($call) },
        sub { $holder->run('ROLLBACK') },
        sub { $node->wait_at_gate(1) } ],
    lease => [
        sub { $redis->command('SET', 'inventory_lock:42', 'foreign', 'NX', 'PX', 600000) },
        sub { $redis->command('DEL', 'inventory_lock:42') },
        sub { $node->wait_at_lease($session->pid) } ],
    row => [
        sub {
            $holder->run('BEGIN');
            $holder->run("SELECT FROM shop.stock_level WHERE variant_id = '42' FOR UPDATE");
        },
        sub { $holder->run('ROLLBACK') },
        sub {
            my $pid = $session->pid;
            $node->poll_until(
                sub {
                    $node->value("SELECT wait_event_type || wait_event FROM pg_stat_activity
                                  WHERE pid = $pid") =~ /^Lock(transactionid|tuple)/;
                },
                'the session waits for the row');
        } ]);

for my $where ('gate', 'lease', 'row')
{
    my ($put, $take, $wait) = @{ $obstacles{$where} };
    $put->();

    my $before = Time::HiRes::time();
    is( $session->error_of(
            "SELECT FROM inventory_lock.adjust_stock_locked('42', -1, wait_timeout => '300ms')"),
        'IL010', "wait_timeout argument ends the wait for the $where");
    my $took = Time::HiRes::time() - $before;
    cmp_ok($took, '>=', 0.28, 'not too early');
    cmp_ok($took, '<', 3, 'nor late');

    $session->run("SET inventory_lock.wait_timeout = '200ms'");
    is($session->error_of($call), 'IL010', "the setting ends the wait for the $where");
    $session->run('RESET inventory_lock.wait_timeout');

    $session->run("SET lock_timeout = '200ms'");
    is($session->error_of($call), '55P03', "lock_timeout ends the wait for the $where");
    $session->run('RESET lock_timeout');

    $session->run("SET statement_timeout = '200ms'");
    is($session->error_of($call), '57014', "statement_timeout ends the wait for the $where");
    $session->run('RESET statement_timeout');

    $session->send($call);
    $wait->();
    $node->value('SELECT pg_cancel_backend(' . $session->pid . ')');
    is($session->sent_error, '57014', "a cancel ends the wait for the $where");

    is( $session->error_of(
            "SELECT FROM inventory_lock.adjust_stock_locked('42', -1, wait_timeout => '0')"),
        'IL010', "no wait at all for the $where");

    # Who waited in vain keeps its transaction when it used a savepoint.
    $session->run('BEGIN');
    $session->run('SAVEPOINT s');
    $session->run("SET LOCAL inventory_lock.wait_timeout = '100ms'");
    is($session->error_of($call), 'IL010', "timed out below a savepoint, $where");
    $session->run('ROLLBACK TO s');
    $session->run("SELECT FROM inventory_lock.adjust_stock_locked('43', -1)");
    $session->run('COMMIT');

    # The obstacle goes while somebody waits.
    $session->send("SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)");
    $wait->();
    $take->();
    my ($out) = $session->result;
    is($out, 'redis', "the wait for the $where ends with success when the way is free");
    $node->nothing_left($redis, "after waits for the $where");
}

# The one that waits for the lease is cancelled while another waits behind it at the gate: that one
# takes its place, and gets through when the foreign client lets go.
$redis->command('SET', 'inventory_lock:42', 'foreign', 'NX', 'PX', 600000);
$session->send($call);
$node->wait_at_lease($session->pid);
$holder->send("SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_gate(1);
$node->value('SELECT pg_cancel_backend(' . $session->pid . ')');
is($session->sent_error, '57014', 'the waiter for the lease is cancelled');
$node->wait_at_lease($holder->pid);
is($redis->command('GET', 'inventory_lock:42'), 'foreign', 'the foreign key is untouched');
$redis->command('DEL', 'inventory_lock:42');
my ($behind) = $holder->result;
is($behind, 'redis', 'the one behind it at the gate gets the key');

# Negative limits are errors, -1 as a setting is none.
is( $session->error_of(
        "SELECT FROM inventory_lock.adjust_stock_locked('42', -1, wait_timeout => '-1 s')"),
    '22023', 'a negative interval is refused');
is($session->error_of('SET inventory_lock.wait_timeout = -1'), '', 'no limit as a setting');
$session->run('RESET inventory_lock.wait_timeout');

# A foreign key that expires wakes the waiter without anybody's release.
$redis->command('SET', 'inventory_lock:42', 'foreign', 'NX', 'PX', 700);
my $started = Time::HiRes::time();
$session->run($call);
cmp_ok(Time::HiRes::time() - $started, '<', 2, 'an expiry lets the waiter through');

# try_acquire_lock never waits.
$redis->command('SET', 'lock:job', 'foreign', 'PX', 600000);
is($session->run("SELECT inventory_lock.try_acquire_lock('job') IS NULL"), 't',
    'try_acquire_lock says NULL when somebody else has the key');
$redis->command('DEL', 'lock:job');
is($session->run("SELECT inventory_lock.try_acquire_lock('job') > 0"), 't', 'and a fence when not');

$session->quit;
$holder->quit;
$node->finish($redis);
done_testing();
