# A backend ends under its transaction: terminated while it holds, while it waits at the gate and
# while it waits for the lease, its client gone, and finally killed with SIGKILL, which is a crash of
# the server. No key stays behind and the next one gets through.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.inventory_ttl' => '3s',
        'inventory_lock.breaker_cooldown' => '200ms' });

sub holder
{
    my $session = $node->session;
    $session->run('BEGIN');
    $session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
    return $session;
}

sub terminate
{
    my ($session) = @_;
    my $pid = $session->pid;
    $node->value("SELECT pg_terminate_backend($pid)");
    $node->poll_until(
        sub { $node->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") == 0 },
        'the backend is gone');
    $session->abandon;
    return;
}

my $holder = holder();
terminate($holder);
$node->nothing_left($redis, 'after the holder was terminated');

# Terminated at the gate, while another one holds and a third one waits behind.
$holder = holder();
my $waiter = $node->session;
$waiter->send("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_gate(1);
my $behind = $node->session;
$behind->send("SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_gate(2);
terminate($waiter);
$holder->run('COMMIT');
my ($after) = $behind->result;
is($after, 998, 'the one behind the terminated waiter gets its turn');
$holder->quit;
$behind->quit;
$node->nothing_left($redis, 'after a waiter at the gate was terminated');

# Terminated while a foreign client has the key.
$redis->command('SET', 'inventory_lock:42', 'foreign', 'NX', 'PX', 60000);
$waiter = $node->session;
$waiter->send("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_lease($waiter->pid);
terminate($waiter);
is($redis->command('GET', 'inventory_lock:42'), 'foreign', 'the foreign key is untouched');
$redis->command('DEL', 'inventory_lock:42');
$node->nothing_left($redis, 'after a waiter for the lease was terminated');
is($node->protection('42'), 'redis', 'the next one gets the key');

# SIGKILL of a holder: the server crashes, recovers, and the key ends with its time to live.
$holder = holder();
my $old_worker = $node->worker_pid;
kill 'KILL', $holder->pid;
$holder->abandon;
$node->poll_until(
    sub { my $pid = $node->worker_pid; $pid =~ /^\d+$/ && $pid ne $old_worker },
    'the server comes back after the crash');
$node->poll_until(sub { $node->protection('42') eq 'redis' }, 'the key is free again');
pass('after SIGKILL of a holder the key is free again');

$node->finish($redis, crashes => 1);
done_testing();
