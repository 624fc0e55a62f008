# A change of ten thousand rows is locked in Redis like a small one, and its time grows with the number of
# rows and not with the square of it: neither Redis, which tracks our keys, nor the planner, which has
# statistics of the table, nor the set of held locks compares each with each.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
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

# What is held is found again, also after a savepoint with many locks was rolled back.
sub fences
{
    my ($name) = @_;
    return $session->run(qq{SELECT string_agg(inventory_lock.acquire_lock('$name' || i)::text, ' ' ORDER BY i)
        FROM generate_series(1, 50) i});
}
$session->run('BEGIN');
my $first = fences('a');
$session->run('SAVEPOINT s');
fences('b');
$session->run('ROLLBACK TO s');
my $third = fences('c');
is(fences('a') . fences('c'), $first . $third, 'many locks are held once each');
is( $session->run(q{SELECT count(*) FROM inventory_lock.get_locks() WHERE pid = pg_backend_pid() AND key LIKE 'lock:%'}),
    100, 'no more and no fewer of them');
$session->run('COMMIT');
$session->quit;

# Tables whose orders and reservations have a single line each, but for those of this test; an outbox with
# one event that has no position yet. What a statement then looks at and throws away is in the log.
$node->safe_psql('postgres', q{
    INSERT INTO shop.orders (user_id, idempotency_key, status, request_fingerprint, response)
        SELECT i, 'k', 'placed', '', '{}' FROM generate_series(1, 10000) i;
    INSERT INTO shop.order_line (order_id, line_no, variant_id, location_id, quantity)
        SELECT order_id, 1, 'n1', 'main', 1 FROM shop.orders;
    INSERT INTO shop.reservation (reservation_id, line_no, holder, variant_id, location_id, quantity, state, expires_at)
        SELECT gen_random_uuid(), 1, i, 'n1', 'main', 1, 'released', now() FROM generate_series(1, 10000) i;
    INSERT INTO shop.outbox (position, occurred_at, kind, variant_id, location_id, available_before, available)
        SELECT nullif(i, 10000), now(), 'low_stock', 'n1', 'main', 1, 0 FROM generate_series(1, 10000) i;
    VACUUM ANALYZE});
my $log_start = -s $node->logfile;
$session = $node->session;
$session->run(q{LOAD 'auto_explain'; SET auto_explain.log_nested_statements = on; SET auto_explain.log_analyze = on;
    SET auto_explain.log_timing = off; SET auto_explain.log_min_duration = 0; SET random_page_cost = 6});
my $lines = 500;
my $json = qq{(SELECT jsonb_agg(jsonb_build_object('variant_id', 'n' || i, 'quantity', 2)) FROM generate_series(1, $lines) i)};

sub calls
{
    my ($what, @calls) = @_;
    my $result = '';
    for my $call (@calls)
    {
        (my $sql = $call) =~ s/LINES/$json/;
        $sql =~ s/THAT/'$result'/;
        $result = $session->run($sql);
    }
    ok($result, $what);
}
my $place = q{SELECT order_id FROM inventory_lock.place_order_locked('u', 'KEY', LINES)};
my $reserve = q{SELECT reservation_id FROM inventory_lock.reserve_stock_locked('anna', LINES, '1 day')};
calls('an order is fulfilled and comes back', $place =~ s/KEY/1/r,
    q{SELECT order_id FROM inventory_lock.fulfil_order_locked(THAT::text)},
    q{SELECT received FROM inventory_lock.return_order_locked(THAT::text)});
calls('an order is cancelled', $place =~ s/KEY/2/r,
    q{SELECT restored FROM inventory_lock.cancel_order_locked(THAT::text)});
calls('a reservation is confirmed', $reserve, q{SELECT state FROM inventory_lock.confirm_reservation(THAT)});
calls('a reservation becomes an order', $reserve,
    q{SELECT status FROM inventory_lock.place_order_locked('u', '3', LINES, '{}', jsonb_build_object('reservation_id', THAT))});
calls('a reservation expires', $reserve,
    q{UPDATE shop.reservation SET expires_at = now() WHERE reservation_id = THAT RETURNING 1},
    q{SELECT status FROM inventory_lock.place_order_locked('u', '4', jsonb_set(LINES, '{0,quantity}', '92'))});
$session->run(qq{SELECT FROM inventory_lock.adjust_stock_bulk_locked((
    SELECT jsonb_agg(jsonb_build_object('variant_id', variant_id, 'delta', -on_hand))
    FROM shop.stock_level WHERE variant_id LIKE 'n1___'))});
is( $session->run(q{SELECT count(*) FROM shop.outbox WHERE position IS NULL;
        SELECT FROM inventory_lock.outbox_fetch('mailer', 10000);
        SELECT count(*) FROM shop.outbox WHERE position IS NULL}) =~ s/\s+/ /r,
    '1001 0', 'events get positions');
$session->quit;
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_start);
like($log, qr/UPDATE shop\.outbox/, 'plans are in the log');
my @removed = sort { $b <=> $a } $log =~ /Rows Removed by (?:Join )?Filter: (\d+)/g;
cmp_ok($removed[0] // 0, '<', 20 * $lines, 'no statement compares each line with each');

$node->finish($redis);
done_testing();
