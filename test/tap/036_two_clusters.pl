# Two clusters on one Redis: they exclude each other, both get their share of a key that both are busy
# on, a release wakes the other's waiter without polling, fences grow from hand to hand, and an order
# of several keys holds none of them while one is not to be had.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my %settings = (
    'inventory_lock.max_tenure' => '200ms',
    'inventory_lock.wait_timeout' => '20s',
    'synchronous_commit' => 'off');    # the key is to be busy, not the disk
my @nodes = map { InventoryLock::Cluster->create($_, redis => $redis, settings => {%settings}) } qw(a b);
my ($first, $second) = @nodes;
my $key = 'inventory_lock:42';

sub median { my @sorted = sort { $a <=> $b } @_; return $sorted[ @sorted / 2 ] }

# Exclusion and the growth of fences, hand to hand.
my @sessions = map { $_->session } @nodes;
my $last = 0;
for my $round (1 .. 6)
{
    my ($holder, $waiter) = @sessions[ $round % 2, ($round + 1) % 2 ];
    $holder->run('BEGIN');
    my $fence = $holder->run("SELECT inventory_lock.acquire_lock('shared')");
    cmp_ok($fence, '>', $last, "round $round: the fence grows");
    is($waiter->run("SELECT inventory_lock.try_acquire_lock('shared') IS NULL"), 't',
        "round $round: the other cluster is kept out");
    $holder->run('COMMIT');
    $last = $fence;
    $nodes[0]->poll_until(sub { $redis->lock_keys eq '' }, 'released');
}

# A release wakes the other cluster's waiter at once, although its poll is a minute away.
$_->set('inventory_lock.retry_interval' => '60s') for @nodes;
$_->reload for @nodes;
$second->poll_until(sub { $second->value('SHOW inventory_lock.retry_interval') eq '1min' }, 'reloaded');
my $wire = $redis->wire;
my @latencies;
for my $round (1 .. 9)
{
    # Not before the last round's key has been released.
    $second->poll_until(sub { defined $wire->('SET', $key, 'foreign', 'PX', 600000, 'NX') }, 'the key is free');
    $sessions[1]->send("SELECT 'got', protection FROM inventory_lock.adjust_stock_locked('42', -1)");
    $second->wait_at_lease($sessions[1]->pid);
    # Looking at the key does not take the wake-up away from the one that waits.
    is($first->value("SELECT inventory_lock.lock_token('$key')"), 'foreign', 'another cluster looks') if $round == 8;
    is($second->value("SELECT inventory_lock.lock_token('$key')"), 'foreign', 'another session looks') if $round == 9;
    my $fence = $wire->('GET', "il:fence:{$key}") // 0;
    my $started = time;
    $wire->('DEL', $key);
    my $woken = sub { return ($wire->('GET', "il:fence:{$key}") // 0) > $fence };
    $second->poll_until(sub { my $end = time + 0.2; while (time < $end) { return 1 if $woken->() } return 0 },
        'the waiter has the key');
    push @latencies, 1000 * (time - $started);
    my ($got) = $sessions[1]->result;
    is($got, 'got|redis', "the waiter gets the key (round $round)");
}
note('milliseconds from release to grant: ' . join ' ', map { sprintf '%.1f', $_ } @latencies);
cmp_ok(median(@latencies), '<', 50, 'a release wakes the waiter');
cmp_ok((sort { $a <=> $b } @latencies)[-1], '<', 2000, 'every time');
$_->set('inventory_lock.retry_interval' => '100ms') for @nodes;
$_->reload for @nodes;
$first->poll_until(sub { $first->value('SHOW inventory_lock.retry_interval') eq '100ms' }, 'reloaded');

# Five keys, one of them a foreign client's: the other four stay free for everybody.
$redis->command('SET', 'inventory_lock:v3', 'foreign', 'PX', 600000);
$first->safe_psql('postgres',
    "INSERT INTO shop.stock_level (variant_id, on_hand) SELECT 'v' || i, 100 FROM generate_series(1, 5) i");
my $lines = join ', ', map { qq({"variant_id": "v$_", "quantity": 1, "unit_price": 1}) } 1 .. 5;
$sessions[0]->send("SELECT status FROM inventory_lock.place_order_locked('7', 'five-keys', '[$lines]')");
$first->wait_at_lease($sessions[0]->pid);
my %seen;
my $end = time + 1.5;
while (time < $end)
{
    $seen{$_}++ for split / /, $redis->lock_keys;
}
my $order_key = 'lock:order_creation_7_five-keys';
is(join(' ', grep { $_ ne $order_key } sort keys %seen), 'inventory_lock:v3',
    'while one key is not to be had none of the others is locked');
for my $variant (1, 2, 4, 5)
{
    is($redis->command('SET', "inventory_lock:v$variant", 'other', 'NX', 'PX', 20), 'OK',
        "a foreign client can lock key $variant meanwhile");
}
$redis->command('DEL', 'inventory_lock:v3');
my ($status) = $sessions[0]->result;
is($status, 'placed', 'when it is free the order goes through');
$_->quit for @sessions;

# Both busy on one key: each has its share, and nothing is lost.
sub grants
{
    my ($node) = @_;
    return $node->value("SELECT count(*) FROM shop.stock_movement WHERE variant_id = 'probe' AND protection = 'redis'");
}
my @before = map { grants($_) } @nodes;
my $script = PostgreSQL::Test::Utils::tempdir() . '/busy.sql';
# Each holds the key for a moment, so that there is always another one waiting.
my $moment = '3 ms';
append_to_file($script,
    "BEGIN;\nSELECT FROM inventory_lock.adjust_stock_locked('probe', -1);\n\\sleep $moment\nCOMMIT;\n");
my @runs = map {
    my $node = $_;
    my ($out, $err) = ('', '');
    IPC::Run::start(
        [ 'pgbench', '-n', '-c', '6', '-T', '8', '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
        '<', \undef, '>', \$out, '2>', \$err);
} @nodes;
$_->finish for @runs;
my @shares = map { grants($nodes[$_]) - $before[$_] } 0, 1;
note("grants: @shares");
note($_->value("SELECT string_agg(name || '=' || value, ' ') FROM inventory_lock.get_counters() WHERE value > 0"))
  for @nodes;
my $share = 100 * $shares[0] / ($shares[0] + $shares[1]);
cmp_ok($share, '>', 40, 'each of two busy clusters has more than 40 % of the grants');
cmp_ok($share, '<', 60, 'and none more than 60 %');
for my $node (@nodes)
{
    cmp_ok($node->value("SELECT value FROM inventory_lock.get_counters() WHERE name = 'yields'"),
        '>', 3, $node->name . ' gives the key up for a turn');
    is($node->value("SELECT count(*) FROM shop.stock_movement WHERE protection = 'database'"), '0',
        $node->name . ' never went without Redis');
}

# Every grant has a fence of its own, whichever cluster gave it.
my %fence;
for my $node (@nodes)
{
    $fence{$_}++
      for split /\n/,
      $node->value("SELECT fence FROM shop.stock_movement WHERE variant_id = 'probe' AND fence IS NOT NULL");
}
is(scalar(grep { $_ > 1 } values %fence), 0, 'no fence was given out twice');

$_->finish($redis) for @nodes;
done_testing();
