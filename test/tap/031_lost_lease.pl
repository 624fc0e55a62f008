# A lease that is lost is never committed under: its key deleted, taken over, expired while the worker
# was frozen, flushed. The holder gets IL011 at its next call or at commit, nothing is written, DETAIL
# and log say why. What only looks like a loss, such as the flush of another database, loses nothing.

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
    settings => {
        'inventory_lock.inventory_ttl' => '3s',
        'inventory_lock.commit_margin' => '300ms',
        'inventory_lock.breaker_cooldown' => '200ms' });
my $adjust = "SELECT fence FROM inventory_lock.adjust_stock_locked";
my $key = 'inventory_lock:42';
my $session = $node->session;
$session->run('\set VERBOSITY verbose');

sub level { return $node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'") }
sub state_of { return $node->value("SELECT state FROM inventory_lock.get_locks() WHERE key = '$key'") }

# Loses the lease by $lose, then ends the transaction by $end: IL011, a detail, a line in the log,
# nothing written, and the next one gets the key.
sub loses
{
    my ($what, $lose, $end, $detail, $reason) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $level = level();
    my $offset = -s $node->logfile;
    $session->run('BEGIN');
    my $fence = $session->run("$adjust('42', -1)");
    $lose->();
    $session->send($end);
    my (undef, $error) = $session->result;
    like($error, qr/ERROR:\s+IL011: lock "$key" was lost/, "$what: IL011");
    like($error, $detail, "$what: DETAIL says why");
    $session->run('ROLLBACK');
    $node->poll_until(
        sub { slurp_file($node->logfile, $offset) =~ /WARNING:\s+lock was lost: key=$key pid=\d+ reason=$reason/ },
        "$what: the log says why");
    is(level(), $level, "$what: nothing is written");
    $redis->command('DEL', $key);
    my $next = $session->run("$adjust('42', -1)");
    cmp_ok($next, '>', $fence, "$what: the next holder has a higher fence");
    $node->nothing_left($redis, "after: $what");
    return;
}

sub until_lost { $node->poll_until(sub { state_of() =~ /^(lost|)$/ }, 'the loss is noticed') }

my $deleted = qr/DETAIL:\s+The lock's key was deleted in Redis\./;
loses('deleted, at commit', sub { $redis->command('DEL', $key); until_lost() }, 'COMMIT', $deleted, 'deleted');
loses('deleted, at the next call', sub { $redis->command('DEL', $key); until_lost() },
    "$adjust('42', -1)", $deleted, 'deleted');
loses('deleted, at a call for another key', sub { $redis->command('DEL', $key); until_lost() },
    "$adjust('43', -1)", $deleted, 'deleted');
loses('taken over', sub { $redis->command('SET', $key, 'foreign', 'PX', 60000); until_lost() }, 'COMMIT',
    qr/DETAIL:\s+Another client took the lock's key in Redis\./, 'taken');
loses('flushed', sub { $redis->command('FLUSHALL'); until_lost() }, 'COMMIT', $deleted, 'deleted');
loses('Redis restarted empty', sub { $redis->kill9; $redis->start; until_lost() }, 'COMMIT', $deleted,
    'deleted');
$node->wait_for_protection('redis');
loses(
    'released by force',
    sub { is($node->value("SELECT inventory_lock.force_release_lock('$key')"), 't', 'force says so') },
    'COMMIT', qr/DETAIL:\s+The lock was released by an administrator\./, 'forced');

# Expired while the worker was frozen; the worker wakes up before or after the commit.
my $worker = $node->worker_pid;
my $freeze_until_gone = sub {
    kill 'STOP', $worker;
    $node->poll_until(sub { $redis->lock_keys eq '' }, 'the key expires');
};
loses(
    'expired, the worker awake again',
    sub { $freeze_until_gone->(); kill 'CONT', $worker; until_lost() },
    'COMMIT', qr/DETAIL:\s+The lock's time to live ended/, 'expired');
my $level = level();
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$freeze_until_gone->();
$session->send('COMMIT');
my (undef, $error) = $session->result;
like($error, qr/IL011.*DETAIL:\s+The lock's time to live ended/s, 'expired, the worker still frozen: IL011');
is(level(), $level, 'expired, the worker still frozen: nothing is written');
kill 'CONT', $worker;
$node->wait_for_protection('redis');
$node->nothing_left($redis, 'after the worker was frozen');

# Doomed stays doomed: a hold that was lost inside does not come back by an exception block.
$level = level();
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$redis->command('DEL', $key);
until_lost();
$session->run('SAVEPOINT s');
is($session->error_of("$adjust('43', -1)"), 'IL011', 'a call after the loss fails');
$session->run('ROLLBACK TO s');
is($session->error_of('COMMIT'), 'IL011', 'and the commit after rolling that call back, too');
is(level(), $level, 'nothing of it is written');

# A savepoint that is rolled back gives its lost key away without harm to the transaction.
$session->run('BEGIN');
$session->run("$adjust('43', -1)");
$session->run('SAVEPOINT s');
$session->run("$adjust('42', -1)");
$redis->command('DEL', $key);
until_lost();
$session->run('ROLLBACK TO s');
is($session->error_of('COMMIT'), '', 'a key lost in a subtransaction that was rolled back is no loss');

# A waiter behind the loser gets the key, and sees nothing of the loser's work.
my $waiter = $node->session;
$level = level();
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$waiter->send("SELECT quantity_before FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_gate;
$redis->command('DEL', $key);
until_lost();
is($session->error_of('COMMIT'), 'IL011', 'the loser cannot commit');
my ($seen) = $waiter->result;
is($seen, $level, 'the waiter behind it sees nothing of it');
$waiter->quit;

# What is no loss.
$session->run('BEGIN');
my $fence = $session->run("$adjust('42', -1)");
my $token = $redis->command('GET', $key);
my $reasserted = 'SELECT reasserted FROM inventory_lock.stat';
my $before = $node->value($reasserted);
$redis->command('-n', 5, 'FLUSHDB');
$node->poll_until(sub { $node->value($reasserted) > $before }, 'the leases are verified');
$redis->command('GET', $key);
is($redis->command('GET', $key), $token, 'the flush of another database leaves the lease');
is($session->error_of('COMMIT'), '', 'and the transaction commits');
$session->quit;

$node->finish($redis);
done_testing();
