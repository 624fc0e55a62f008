# The worker ends and returns: SIGTERM is an orderly end that frees keys, SIGKILL is a crash of the
# whole server, as PostgreSQL has it. Either way the next worker serves, and keys do not outlive
# their owners by more than the time to live.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.inventory_ttl' => '3s',
        'inventory_lock.breaker_cooldown' => '200ms' });

my $first = $node->worker_pid;
like($first, qr/^\d+$/, 'the worker is visible in pg_stat_activity');

# Idle worker, SIGTERM.
kill 'TERM', $first;
$node->poll_until(
    sub { my $pid = $node->worker_pid; $pid ne '' && $pid ne $first }, 'a worker takes its place');
$node->wait_for_protection('redis');
pass('after SIGTERM the next worker serves');
$node->nothing_left($redis, 'after SIGTERM of an idle worker');

# SIGTERM while a transaction holds a lease and another one waits at the gate.
my $second = $node->worker_pid;
my $holder = $node->session;
my $waiter = $node->session;
$holder->run('BEGIN');
$holder->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$waiter->send("SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_gate;
kill 'TERM', $second;
$node->poll_until(
    sub { my $pid = $node->worker_pid; $pid ne '' && $pid ne $second }, 'a worker takes its place');
my $outcome = $holder->error_of('COMMIT');
like($outcome, qr/^(|IL011)$/, 'the holder commits, or is told that its lease is lost');
my ($after) = $waiter->result;
is($after, $outcome eq '' ? 998 : 999, 'the waiter gets its turn and sees what the holder did');
$holder->quit;
$waiter->quit;
$node->nothing_left($redis, 'after SIGTERM under load');

# SIGKILL: PostgreSQL restarts everything.
my $third = $node->worker_pid;
my $victim = $node->session;
$victim->run('BEGIN');
$victim->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
kill 'KILL', $third;
$victim->abandon;
$node->poll_until(
    sub { my $pid = $node->worker_pid; $pid =~ /^\d+$/ && $pid ne $third },
    'the server comes back after the crash');
$node->wait_for_protection('redis');
pass('after SIGKILL the server and its worker come back');
$node->poll_until(sub { $node->protection('42') eq 'redis' },
    'the key of the dead server is free again');
pass('the key that the crash left is free again');

# Orderly end of everything with a lease held.
my $last = $node->session;
$last->run('BEGIN');
$last->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->restart;
$last->abandon;
is($redis->lock_keys, '', 'a fast shutdown frees the keys of the transactions it ends');
$node->wait_for_protection('redis');

$node->finish($redis, crashes => 1);
done_testing();
