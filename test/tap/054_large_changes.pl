# A change of ten thousand rows is locked in Redis like a small one, and its time grows with the number of
# rows and not with the square of it: neither Redis, which tracks our keys, nor the planner, which has
# statistics of the table, nor the set of held locks compares each with each.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;
use Time::HiRes ();

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.max_leases' => 16384,
        'inventory_lock.max_keys_per_transaction' => 10000,
        'max_locks_per_transaction' => 256 });
$node->safe_psql('postgres', q{
    INSERT INTO shop.stock_level (variant_id, on_hand) SELECT 'n' || i, 100 FROM generate_series(1, 10000) i;
    ANALYZE shop.stock_level});

my $session = $node->session;

# Seconds that a change of so many rows takes.
sub seconds
{
    my ($rows) = @_;
    my $started = Time::HiRes::time();
    is( $session->run(qq{SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked((
            SELECT jsonb_agg(jsonb_build_object('variant_id', 'n' || i, 'delta', -1))
            FROM generate_series(1, $rows) i))}),
        $rows, "$rows rows are changed");
    return Time::HiRes::time() - $started;
}
seconds(10);
my ($some, $many) = (seconds(1000), seconds(10000));
note(sprintf '1,000 rows in %.2f s, 10,000 in %.2f s', $some, $many);
cmp_ok($many, '<', 4, 'ten thousand in seconds');
is($node->value(q{SELECT string_agg(DISTINCT protection, ' ') FROM shop.stock_movement WHERE variant_id LIKE 'n%'}),
    'redis', 'all of them locked in Redis');
is(scalar(my @warned = $session->warnings), 0, 'and nothing to warn of');
$session->quit;

$node->finish($redis);
done_testing();
