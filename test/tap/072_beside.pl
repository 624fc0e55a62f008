# What happens beside a call: the same order placed by its twin, a locked order row, a product's key that
# others share and that is released by force.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create('main', redis => $redis);
my ($one, $two) = map { $node->session } 1 .. 2;

# A retry looks for its order with a snapshot of before, and is then told that all is sold, for the first call
# has taken the last unit. A policy holds the look up: what it compares with is asked for behind the snapshot.
$node->value(
    q{CREATE ROLE clerk;
      GRANT USAGE ON SCHEMA shop TO clerk;
      GRANT ALL ON ALL TABLES IN SCHEMA shop TO clerk;
      CREATE FUNCTION wait_at_door(text) RETURNS text LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7); RETURN $1; END $$;
      ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
      ALTER TABLE shop.stock_movement ENABLE ROW LEVEL SECURITY;
      CREATE POLICY door ON shop.orders USING (user_id = (SELECT wait_at_door('ann'))) WITH CHECK (true);
      CREATE POLICY door ON shop.stock_movement USING (request_key = (SELECT wait_at_door('last'))) WITH CHECK (true)});
for my $case (
    [ 'an order', 'last', q{place_order_locked('ann', 'last', '[{"variant_id": "last", "quantity": 1}]')} ],
    [ 'a change with a key', 'one', q{adjust_stock_locked('one', -1, request_key => 'last')} ])
{
    my ($what, $variant, $call) = @$case;
    $node->value("INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('$variant', 1)");
    $two->run('SELECT pg_advisory_lock(7)');
    $one->run('SET ROLE clerk');
    $one->send("SELECT replayed FROM inventory_lock.$call");
    $node->poll_until(
        sub { $node->value(qq{SELECT count(*) FROM pg_locks WHERE pid = @{[$one->pid]} AND objid = 7 AND NOT granted}) eq '1' },
        'the retry looks');
    is($two->run("SELECT replayed FROM inventory_lock.$call"), 'f', "$what takes the last unit");
    is($two->error_of("SELECT FROM inventory_lock.adjust_stock_locked('$variant', -1)"), 'IL001', 'so that nothing is left');
    $two->run('SELECT pg_advisory_unlock(7)');
    my ($answer) = $one->result;
    is($answer, 't', "$what that is repeated meanwhile is answered, and not refused");
    $one->run('RESET ROLE');
}

# Holds that have expired are ended by whoever has the level they are on, and stay for others where each
# location has a key of its own; what refers to them does not keep them.
$node->value(
    q{INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('far', 'a', 5), ('far', 'b', 5);
      UPDATE inventory_lock.binding SET lock_per_location = true;
      SELECT count(*) FROM unnest('{a,b}'::text[]) l, inventory_lock.reserve_stock_locked('eve', jsonb_build_array(
          jsonb_build_object('variant_id', 'far', 'location_id', l, 'quantity', 5)), '1 hour');
      UPDATE shop.reservation SET expires_at = now() - interval '1 s';
      CREATE TABLE note (reservation_id uuid, line_no integer, FOREIGN KEY (reservation_id, line_no) REFERENCES shop.reservation)});
my $take = q{SELECT quantity_after FROM inventory_lock.adjust_stock_locked('far', -5, location_id => '%s', wait_timeout => '5 s')};
my $noted = $node->session;
$noted->run('BEGIN');
$noted->run('INSERT INTO note SELECT reservation_id, line_no FROM shop.reservation');
$two->run('BEGIN');
is($two->run(sprintf $take, 'a'), '0', 'a hold that has expired, and that something refers to, is ended');
is($one->run(sprintf $take, 'b'), '0', 'and beside it that of another location');
$_->run('COMMIT') for $two, $noted;
$noted->quit;
$node->value('UPDATE inventory_lock.binding SET lock_per_location = false');

# Somebody has the order's row.
$two->run('BEGIN');
$two->run(q{SELECT FROM shop.orders WHERE idempotency_key = 'last' FOR UPDATE});
for my $limit ('100ms', '0')
{
    my $started = time;
    is($one->error_of(
        qq{SELECT FROM inventory_lock.place_order_locked('ann', 'last', '[{"variant_id": "last", "quantity": 1}]', '{}', '{"wait_timeout": "$limit"}')}),
        'IL010', "the wait for an order's row is limited to $limit");
    cmp_ok(time - $started, '<', 1, 'and ends then');
}
$two->run('COMMIT');

# A product's key that is shared: who may not stop its transactions may not take it from them.
$node->value(
    q{INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES ('v', 'P', 10);
      CREATE ROLE freer;
      GRANT USAGE ON SCHEMA shop TO freer;
      GRANT EXECUTE ON FUNCTION inventory_lock.force_release_lock TO freer});
$two->run('BEGIN');
$two->run(q{SELECT FROM inventory_lock.adjust_stock_locked('v', -1)});
$one->run('SET ROLE freer');
my $force = q{SELECT inventory_lock.force_release_lock('inventory_lock:product:P')};
is($one->error_of($force), '42501', 'a shared key is not released by everybody');
is($two->error_of('COMMIT'), '', 'its transaction commits');
$one->run('RESET ROLE');
$node->value('GRANT pg_signal_backend TO freer');
$two->run('BEGIN');
$two->run(q{SELECT FROM inventory_lock.adjust_stock_locked('v', -1)});
$one->run('SET ROLE freer');
is($one->run($force), 't', 'who may stop others may');
is($two->error_of('COMMIT'), 'IL011', 'and they do not commit');

# A variant that moves to another product: its key alone keeps changes of that product out, too.
$one->run('RESET ROLE');
$one->run(q{SELECT inventory_lock.acquire_stock_lock('v')});
$node->value(q{UPDATE shop.stock_level SET product_id = 'Q' WHERE variant_id = 'v'});
$one->run('BEGIN');
$one->run(q{SELECT inventory_lock.acquire_stock_lock('v')});
is($two->error_of(q{SELECT inventory_lock.acquire_product_lock('Q', wait_timeout => '0')}), 'IL010', 'the new product is locked');
$one->run('COMMIT');

$_->quit for $one, $two;
$node->finish($redis);
done_testing();
