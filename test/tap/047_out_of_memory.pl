# No memory is left: for a backend in the middle of a large change, and for the worker. The one's
# transaction fails as a whole and frees its keys; the other's successor takes the leases over.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils qw(slurp_file system_or_bail);
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.breaker_cooldown' => '200ms',
        'inventory_lock.custom_ttl' => '60s',
        'inventory_lock.max_keys_per_transaction' => 6000,
        'max_locks_per_transaction' => 256 });
$node->safe_psql('postgres', q{
    INSERT INTO shop.stock_level (variant_id, on_hand)
    SELECT 'oom' || repeat('x', 100) || i, 10 FROM generate_series(1, 5000) i});
my $bulk = sub {
    my ($count) = @_;
    return qq{SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked((
        SELECT jsonb_agg(jsonb_build_object('variant_id', 'oom' || repeat('x', 100) || i, 'delta', -1))
        FROM generate_series(1, $count) i))};
};

# Takes every way to more memory than the process has now, but for so many kB.
sub starve
{
    my ($pid, $kb) = @_;
    my ($pages) = slurp_file("/proc/$pid/statm") =~ /^(\d+)/;
    system_or_bail('prlimit', '--pid', $pid, '--as=' . ($pages * 4096 + $kb * 1024) . ':');
    return;
}

# The worker, while a transaction holds a lease. First, for it needs no more memory once it has had much.
my $holder = $node->session;
$holder->run('BEGIN');
$holder->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
my $token = $redis->command('GET', 'inventory_lock:42');
my $worker = $node->worker_pid;
my $log_start = -s $node->logfile;
starve($worker, 0);
my $other = $node->session;
is($other->error_of($bulk->(4000)), '', 'a large change goes on when the worker has no memory left');
$node->poll_until(sub { my $pid = $node->worker_pid; $pid =~ /^\d+$/ && $pid ne $worker },
    'the next worker is there');
like(slurp_file($node->logfile, $log_start), qr/out of memory/, 'the worker says what it died of');
is($redis->command('GET', 'inventory_lock:42'), $token, 'the lease is still there');
is($holder->error_of('COMMIT'), '', 'and its transaction commits');
$node->wait_for_protection('redis');
$_->quit for $holder, $other;

# The worker, in the middle of what backends have left it to do: the rest of that is not forgotten, now or
# the next time that the same keys are used. A young worker, that was never asked for many keys at once.
my $session = $node->session;
my $one_by_one = q{SELECT count(inventory_lock.acquire_lock('left_' || i)) FROM generate_series(1, 4000) i};
my $replaced = sub { my $pid = $node->worker_pid; $pid =~ /^\d+$/ && $pid ne $worker };
$worker = $node->worker_pid;
kill 'TERM', $worker;
$node->poll_until($replaced, 'a young worker is there');
$node->wait_for_protection('redis');
$worker = $node->worker_pid;
$session->run('BEGIN');
$session->run($one_by_one);
kill 'STOP', $worker;
is($session->error_of('COMMIT'), '', 'a commit does not wait for the worker');
starve($worker, 0);
kill 'CONT', $worker;
$node->poll_until($replaced, 'the worker dies of its work, and the next one is there');
$node->nothing_left($redis, 'by a worker that died of its work');
is($session->error_of($one_by_one), '', 'the same keys again');
my $ended = time;
$node->nothing_left($redis, 'the next time');
cmp_ok(time - $ended, '<', 10, 'long before a look at the leases is due, after 20 s');

# A backend, with room for more and more.
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
my %states;
for my $kb (0, 500, 1000, 2000, 3000, 4000, 6000, 8000, 12000)
{
    starve($session->pid, $kb);
    my $state = $session->error_of($bulk->(5000));
    $states{$state}++;
    is($session->run('SELECT 1'), 1, "the session goes on after $kb kB (" . ($state || 'enough') . ')');
}
ok(delete $states{'53200'}, 'a backend without memory says so (53200)');
is(join(' ', sort grep { $_ } keys %states), '', 'and nothing else');
$session->quit;
$node->nothing_left($redis, 'of it');    # five thousand releases take a moment

$node->finish($redis);
done_testing();
