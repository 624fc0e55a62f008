# What a dead server left in Redis is freed by its successor, and nothing else is: 1,000 leases after
# SIGKILL of the postmaster, leases after an immediate stop. A clone started from a base backup beside
# the original, and a promoted standby beside its old primary, leave the other's keys alone.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::RecursiveCopy;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.lease_linger' => 0,    # keys are counted
        'inventory_lock.custom_ttl' => '10min',
        'inventory_lock.inventory_ttl' => '10min',
        'wal_level' => 'replica',
        'max_wal_senders' => '4',
        'hot_standby' => 'on' });
my $neighbour = InventoryLock::Cluster->create(
    'neighbour',
    redis => $redis,
    settings => { 'inventory_lock.lease_linger' => 0, 'inventory_lock.inventory_ttl' => '10min' });

# The key of wait_for_protection's own call may not be released yet.
sub keys_now { return scalar grep { /\w/ && !/:probe$/ } split / /, $redis->lock_keys }

# Kills the postmaster and waits until nobody of its server is left.
sub crash
{
    my ($cluster) = @_;
    my $pid = $cluster->{_pid};
    $cluster->kill9;
    $cluster->poll_until(sub { !kill 0, $pid }, 'the postmaster is gone');
    return;
}

# Its children may take a moment longer; until then they are in the way of a start.
sub comes_back
{
    my ($cluster) = @_;
    return $cluster->poll_until(sub { $cluster->start(fail_ok => 1) }, 'the server starts again');
}

sub takes
{
    my ($cluster, $count, $prefix) = @_;
    my $session = $cluster->session;
    $session->run('BEGIN');
    $session->run("SELECT count(inventory_lock.acquire_lock('${prefix}_' || i)) FROM generate_series(1, $count) i");
    return $session;
}

# Seconds until Redis has only so many keys of locks.
sub seconds_until
{
    my ($count) = @_;
    my $started = time;
    $node->poll_until(sub { keys_now() <= $count }, "$count keys");
    return time - $started;
}

# Others who must keep what they have: another cluster and a foreign client.
my $other = $neighbour->session;
$other->run('BEGIN');
$other->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$redis->command('SET', 'inventory_lock:foreign', 'foreign', 'PX', 600000);
my $others = $redis->lock_keys;
my $token = $redis->command('GET', 'inventory_lock:42');

for my $death ('SIGKILL of the postmaster', 'an immediate stop')
{
    my $session = takes($node, 1000, 'many');
    is(keys_now(), 1002, 'a thousand keys are held');
    if ($death =~ /SIGKILL/) { crash($node) }
    else { $node->stop('immediate') }
    $session->abandon;
    cmp_ok(keys_now(), '>=', 1000, "$death leaves them in Redis");
    comes_back($node);
    my $seconds = seconds_until(2);
    cmp_ok($seconds, '<', 2, "after $death all are free in less than two seconds");
    note("free after $seconds s");
    is($redis->lock_keys, $others, 'and nobody else has lost a key');
    $node->wait_for_protection('redis');
    is($node->value("SELECT value FROM inventory_lock.get_counters() WHERE name = 'orphans_freed'"),
        '1000', 'they are counted');
}

# A key that somebody else got after the crash is not taken from them.
my $session = takes($node, 3, 'few');
crash($node);
$session->abandon;
$redis->command('SET', 'lock:few_2', 'foreign', 'PX', 600000);
comes_back($node);
seconds_until(3);
is($redis->command('GET', 'lock:few_2'), 'foreign', 'a key that has changed hands stays with its new holder');
$redis->command('DEL', 'lock:few_2');
$node->wait_for_protection('redis');

# Redis away while the server comes back: freed when it returns.
$session = takes($node, 10, 'later');
crash($node);
$session->abandon;
$redis->freeze;
comes_back($node);
my $state = "SELECT value FROM inventory_lock.get_counters() WHERE name = 'errors_timeout' OR name = 'errors_unreachable' ORDER BY value DESC LIMIT 1";
$node->poll_until(sub { $node->value($state) > 0 }, 'the new worker has tried in vain');
$redis->thaw;
seconds_until(2);
is($redis->lock_keys, $others, 'orphans are freed when Redis is there again');
$node->wait_for_protection('redis');

# A clone of the running server, made while it holds.
$session = takes($node, 20, 'original');
$node->backup('clone');
my $clone = InventoryLock::Cluster->new('clone');
$clone->init_from_backup($node, 'clone', has_streaming => 0);
$clone->start;
$clone->wait_for_protection('redis');
is(keys_now(), 22, 'a clone started beside the original frees nothing of it');
is($session->error_of('COMMIT'), '', 'the original commits');
seconds_until(2);

# A copy of the files of a server that was killed: the copy is another server, the original is not.
$session = takes($node, 20, 'original');
crash($node);
$session->abandon;
my $copy = InventoryLock::Cluster->new('copy');
PostgreSQL::Test::RecursiveCopy::copypath($node->data_dir, $copy->data_dir,
    filterfn => sub { return $_[0] ne 'postmaster.pid' });
chmod 0700, $copy->data_dir;
$copy->append_conf('postgresql.conf', 'port = ' . $copy->port);
$copy->append_conf('postgresql.conf', "unix_socket_directories = '" . $copy->host . "'");
$copy->start;
$copy->wait_for_protection('redis');
is(keys_now(), 22, 'a copy of the files frees nothing of the original');
$copy->stop;
comes_back($node);
seconds_until(2);
is($redis->lock_keys, $others, 'the original does');
$clone->stop;

# A standby that is promoted while the old primary still holds.
$node->wait_for_protection('redis');
$node->backup('standby');
my $standby = InventoryLock::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$session = takes($node, 20, 'primary');
$node->wait_for_catchup('standby');
$standby->promote;
$standby->wait_for_protection('redis');
is(keys_now(), 22, 'a promoted standby frees nothing of the old primary');
$session->run('ROLLBACK');
seconds_until(2);
is($redis->lock_keys, $others, 'the old primary does so itself');
$standby->stop;

is($redis->command('GET', 'inventory_lock:42'), $token, 'the neighbour has the same lease throughout');
is($other->error_of('COMMIT'), '', 'and commits');
$_->quit for $session, $other;
$redis->command('DEL', 'inventory_lock:foreign');
$neighbour->finish($redis);
$node->finish($redis, crashes => 1);
done_testing();
