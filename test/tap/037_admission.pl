# Limits refuse cleanly: max_waiters at once with IL013, a full lease table with 53400 and a hint, and
# neither leaves anything behind.

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
    settings => { 'inventory_lock.max_leases' => '64' });
my $adjust = "SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', -1)";

sub entries { return $node->value('SELECT count(*) FROM inventory_lock.get_locks()') }

# Waiters beyond the limit.
$node->set('inventory_lock.max_waiters' => '3');
$node->reload;
$node->poll_until(sub { $node->value('SHOW inventory_lock.max_waiters') == 3 }, 'the setting');
my $holder = $node->session;
$holder->run('BEGIN');
$holder->run($adjust);
my @waiters = map { $node->session } 1 .. 3;
for my $waiter (0 .. 2)
{
    $waiters[$waiter]->send($adjust);
    $node->wait_at_gate($waiter + 1);
}
my $refused = $node->session;
is($refused->error_of($adjust), 'IL013', 'the fourth waiter is refused');
my @ms;
for (1 .. 20)
{
    my $ms = $refused->run(
        q{DO $$ DECLARE t timestamptz := clock_timestamp(); BEGIN
            BEGIN PERFORM inventory_lock.adjust_stock_locked('42', -1);
            EXCEPTION WHEN SQLSTATE 'IL013' THEN NULL; END;
            PERFORM set_config('test.ms', (1000 * extract(epoch FROM clock_timestamp() - t))::text, false);
          END $$; SELECT current_setting('test.ms')});
    push @ms, $ms =~ /([\d.]+)\s*$/;
}
@ms = sort { $a <=> $b } @ms;
note("refused in $ms[10] ms");
cmp_ok($ms[10], '<', 1, 'in less than a millisecond');
is($refused->error_of(q{SELECT FROM inventory_lock.adjust_stock_locked('43', -1)}), '', 'other keys are free for it');
$holder->run('COMMIT');
my @after = map { ($_->result)[0] } @waiters;
is("@after", '998 997 996', 'the others get their turn, first come first served');
is($refused->run($adjust), '995', 'and then the refused one');
$_->quit for $refused, @waiters;
$node->nothing_left($redis, 'after the waiters');

# A full lease table.
$node->poll_until(sub { entries() == 0 }, 'all entries are free');
$holder->run('BEGIN');
$holder->run("SELECT count(inventory_lock.acquire_lock('many_' || i)) FROM generate_series(1, 64) i");
is(entries(), 64, 'the table is full');
my $other = $node->session;
$other->run('\set VERBOSITY verbose');
$other->send($adjust);
my (undef, $error) = $other->result;
like($error, qr/ERROR:\s+53400: too many keys/, 'one more key is refused');
like($error, qr/HINT:\s+Raise inventory_lock\.max_leases/, 'with a hint');
is($other->error_of("SELECT inventory_lock.try_acquire_lock('one_more')"), '53400', 'trying is refused, too');
is($other->error_of("SELECT inventory_lock.force_release_lock('lock:many_1')"), '',
    'a key that is in the table can be asked about');
is($other->error_of("SELECT inventory_lock.lock_token('lock:one_more')"), '53400', 'another one cannot');
is(entries(), 64, 'no entry was lost by that');
is($holder->error_of('COMMIT'), 'IL011', 'the one whose key was freed by force cannot commit');
$node->poll_until(sub { entries() == 0 }, 'all entries are free again');
is($other->run($adjust), '994', 'then there is room again');

# Half of an order's keys fit: none of them stays.
$holder->run('BEGIN');
$holder->run("SELECT count(inventory_lock.acquire_lock('many_' || i)) FROM generate_series(1, 61) i");
$node->safe_psql('postgres',
    "INSERT INTO shop.stock_level (variant_id, on_hand) SELECT 'v' || i, 100 FROM generate_series(1, 5) i");
my $lines = join ', ', map { qq({"variant_id": "v$_", "quantity": 1, "unit_price": 1}) } 1 .. 5;
is($other->error_of("SELECT FROM inventory_lock.place_order_locked('7', 'k', '[$lines]')"), '53400',
    'an order that does not fit is refused');
$node->poll_until(sub { entries() == 61 }, 'its entries are free again');
is($redis->command('EXISTS', map { "inventory_lock:v$_" } 1 .. 5), '0', 'and none of its keys is in Redis');
is($holder->error_of('COMMIT'), '', 'the holder of the others commits');
$node->poll_until(sub { entries() == 0 }, 'its entries are free');
is($other->run("SELECT status FROM inventory_lock.place_order_locked('7', 'k', '[$lines]')"), 'placed',
    'then the order fits');
$_->quit for $holder, $other;

$node->finish($redis);
done_testing();
