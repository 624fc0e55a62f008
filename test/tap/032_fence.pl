# A key's fence only grows: from hand to hand, over a Redis that restarts empty, spells without Redis,
# and a Redis whose clock is an hour off either way. A row's fence above the grant is exceeded, a writer
# whose lease is gone is refused, and so is an older fence of a foreign writer.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use InventoryLock::Cluster;
use InventoryLock::Proxy;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

# A clock for Redis that the test can step.
my $folder = PostgreSQL::Test::Utils::tempdir_short();    # an absolute path
my $source = dirname($INC{'InventoryLock/Redis.pm'}) . '/clock_step.c';
system_or_bail('cc', '-O1', '-fPIC', '-shared', '-o', "$folder/clock_step.so", $source);
my $clock_file = "$folder/clock";
append_to_file($clock_file, pack 'q', 0);

sub step
{
    my ($seconds) = @_;
    open my $file, '+<', $clock_file or die "$clock_file: $!";
    syswrite $file, pack 'q', $seconds * 1_000_000;
    close $file;
    return;
}

sub start_redis
{
    my ($redis) = @_;
    local $ENV{LD_PRELOAD} = "$folder/clock_step.so";
    local $ENV{CLOCK_STEP_FILE} = $clock_file;
    $redis->start;
    return;
}

my $redis = InventoryLock::Redis->new('main');
start_redis($redis);
step(86400);
my ($redis_time) = split /\n/, $redis->command('TIME');
cmp_ok($redis_time, '>', time + 80000, "Redis has a clock of its own");
step(0);

my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.inventory_ttl' => '5s',
        'inventory_lock.commit_margin' => '500ms',
        'inventory_lock.breaker_failures' => '2',
        'inventory_lock.breaker_cooldown' => '200ms' });
my $key = 'inventory_lock:42';
my $session = $node->session;
my %last = (custom => 0, stock => 0);

# Takes both kinds of lock once more: a name, of which nothing is left afterwards but what Redis and
# shared memory know, and a row.
sub grows
{
    my ($when, $protection) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $custom = $session->run("SELECT inventory_lock.acquire_lock('name')");
    cmp_ok($custom, '>', $last{custom}, "the fence of a name grows $when");
    my ($stock, $got) = split /\|/,
      $session->run("SELECT fence, protection FROM inventory_lock.adjust_stock_locked('42', -1)");
    cmp_ok($stock, '>', $last{stock}, "the fence of a row grows $when");
    is($got, $protection, "protection $when") if $protection;
    is($node->value("SELECT fence FROM shop.stock_level WHERE variant_id = '42'"), $stock, 'and is in the row');
    %last = (custom => $custom, stock => $stock);
    return;
}

sub state_of { return $node->value("SELECT state FROM inventory_lock.get_locks() WHERE key = '$key'") }

grows('at first', 'redis');
grows('again', 'redis');

# Hand-over without a Redis trip: the waiters of one key.
my @waiters = map { $node->session } 1 .. 3;
$session->run('BEGIN');
my $previous = $session->run("SELECT inventory_lock.acquire_lock('name')");
my $count = 0;
for my $waiter (@waiters)
{
    $waiter->send("SELECT inventory_lock.acquire_lock('name')");
    $node->wait_at_gate(++$count);
}
$session->run('COMMIT');
for my $waiter (@waiters)
{
    my ($fence) = $waiter->result;
    cmp_ok($fence, '>', $previous, 'the fence grows from hand to hand');
    $previous = $fence;
}
$last{custom} = $previous;
$_->quit for @waiters;
grows('after hand-overs', 'redis');

for my $hours (1, -1, 0)
{
    $redis->kill9;
    step(3600 * $hours);
    start_redis($redis);
    $node->wait_for_protection('redis');
    grows("when Redis comes back empty with a clock $hours hours off", 'redis');
}
for my $hours (1, -1, 0)
{
    step(3600 * $hours);
    $node->wait_for_protection('redis');
    grows("when the clock of Redis steps, to $hours hours off", 'redis');
}

# A lease that is kept (lease_linger) would serve for a while without Redis.
sub kill_redis
{
    $node->poll_until(sub { $redis->lock_keys eq '' }, 'nothing is locked');
    $redis->kill9;
    return;
}

# Without Redis, and with one again whose clock is behind.
kill_redis();
$node->wait_for_protection('database');
grows('without Redis', 'database');
grows('without Redis, again', 'database');
step(-3600);
start_redis($redis);
$node->wait_for_protection('redis');
grows('after a spell without Redis', 'redis');
kill_redis();
$node->wait_for_protection('database');
grows('in a second spell', 'database');
start_redis($redis);
$node->wait_for_protection('redis');
grows('after the second spell', 'redis');
step(0);

# A clock that steps forward under a lease ends it in Redis: it is lost, and noticed.
$session->run('BEGIN');
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
step(3600);
is($redis->command('SET', $key, 'foreign', 'NX', 'PX', 600000), 'OK', 'the step freed the key for others');
$node->poll_until(sub { state_of() eq 'lost' }, 'the loss is noticed');
is($session->error_of('COMMIT'), 'IL011', 'a lease ended by a step of the clock cannot commit');
$redis->command('DEL', $key);
$session->run('BEGIN');
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
step(0);
is($session->error_of('COMMIT'), '', 'a step backward takes nothing away');
$node->nothing_left($redis, 'after the steps');

# A row whose fence is above the grant.
my $high = 2**52;
$node->safe_psql('postgres', "UPDATE shop.stock_level SET fence = $high WHERE variant_id = '42'");
$last{stock} = $high;
grows('above a row that is far ahead', 'redis');
cmp_ok($redis->command('GET', "il:fence:{$key}"), '>', $high, 'and Redis knows it for all others');
grows('from there', 'redis');

# The same for a writer whose lease is gone: refused, nothing written.
$session->run('BEGIN');
$session->run("SELECT inventory_lock.acquire_stock_lock('42')");
$node->safe_psql('postgres',
    "UPDATE shop.stock_level SET fence = fence + 1000000000000 WHERE variant_id = '42'");
my $row = $node->value("SELECT on_hand, fence FROM shop.stock_level WHERE variant_id = '42'");
$redis->command('SET', $key, 'foreign', 'PX', 600000);
is($session->error_of("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)"), 'IL011',
    'a writer whose lease is gone is refused');
$session->run('ROLLBACK');
is($node->value("SELECT on_hand, fence FROM shop.stock_level WHERE variant_id = '42'"), $row,
    'and has written nothing');
$redis->command('DEL', $key);

# A foreign writer's fence.
my $fence = $session->run("SELECT inventory_lock.acquire_lock('name')");
is($session->error_of("SELECT inventory_lock.assert_fence('lock:name', $fence)"), '', 'the newest fence is accepted');
my $newer = $session->run("SELECT inventory_lock.acquire_lock('name')");
is($session->error_of("SELECT inventory_lock.assert_fence('lock:name', $newer)"), '', 'a newer one, too');
is($session->error_of("SELECT inventory_lock.assert_fence('lock:name', $fence)"), 'IL011', 'then the older one is refused');

# An answer that comes late is no step of the clock: nothing is taken from the leases for it.
my $proxy = InventoryLock::Proxy->new($redis);
$proxy->tell('rule replies delay ms=300 match=$10');    # TIME answers, whose seconds have ten digits
my $offset = -s $node->logfile;
my $answers = "SELECT count(*) FROM inventory_lock.redis_status WHERE state = 'ready' AND endpoint LIKE '%:"
  . $proxy->port . "%'";
$node->set('inventory_lock.redis_url' => $proxy->url);
$node->reload;
$node->poll_until(sub { $node->value($answers) > 0 }, 'connected through the proxy');
$session->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$proxy->tell('clear');
is( $session->run(
        q{SELECT string_agg(protection, ' ') FROM generate_series(1, 20) i,
          LATERAL inventory_lock.adjust_stock_locked('42', -i)}),
    join(' ', ('redis') x 20), 'changes behind late answers are protected');
unlike(slurp_file($node->logfile, $offset), qr/stepped forward/, 'a late answer is not taken for a step');
$node->set('inventory_lock.redis_url' => $redis->url);
$node->reload;
$node->poll_until(sub { $node->value($answers) == 0 }, 'back without the proxy');
$node->wait_for_protection('redis');
$session->quit;

$node->finish($redis);
done_testing();
