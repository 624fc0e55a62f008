# The row of a single level is written as it was seen, without being locked first. What comes between
# seeing and writing is never lost: a plain SQL writer that changes, locks or deletes the row then. The
# window is held open by a row with a fence so high that Redis is asked for a higher one, and is frozen.
# An order looks its rows up while it waits for its locks in Redis, and locks them if they are the same.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main', redis => $redis, settings => { 'inventory_lock.redis_command_timeout' => '60s' });
my $buyer = $node->session;
my $writer = $node->session;
my $fence = 2_000_000_000_000_000;
my $sale = q{SELECT quantity_before || ' ' || quantity_after FROM inventory_lock.decrement_stock_on_purchase('42', 1)};

sub reset_level
{
    $fence += 1_000_000_000;
    $node->safe_psql('postgres', "UPDATE shop.stock_level SET on_hand = 1000, fence = $fence WHERE variant_id = '42'");
    return;
}

sub waits_for_row
{
    return $node->poll_until(
        sub { $node->value(q{SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = } . $buyer->pid) eq 't' },
        'the buyer waits for the row');
}

# The buyer has seen the row, and waits for Redis.
sub stop_between
{
    my ($call, $begin) = @_;
    reset_level();
    $buyer->run($begin // 'BEGIN');
    $buyer->run(q{SELECT inventory_lock.acquire_stock_lock('42')});
    $redis->freeze;
    $buyer->send($call);
    $node->wait_at_lease($buyer->pid);
    return;
}

stop_between($sale);
$redis->thaw;
is(($buyer->result)[0], '1000 999', 'nobody comes between');
$buyer->run('COMMIT');

stop_between($sale);
$writer->run(q{UPDATE shop.stock_level SET on_hand = on_hand - 400 WHERE variant_id = '42'});
$redis->thaw;
is(($buyer->result)[0], '600 599', 'what a plain writer has committed meanwhile is not lost');
$buyer->run('COMMIT');
is($node->value(q{SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'}), '599', 'nor afterwards');

stop_between($sale);
$writer->run(q{UPDATE shop.stock_level SET on_hand = 0 WHERE variant_id = '42'});
$redis->thaw;
is($buyer->sent_error, 'IL001', 'stock that is gone meanwhile is not sold');
$buyer->run('ROLLBACK');

stop_between($sale);
$writer->run('BEGIN');
$writer->run(q{UPDATE shop.stock_level SET on_hand = on_hand - 1 WHERE variant_id = '42'});
$redis->thaw;
waits_for_row();
$writer->run('COMMIT');
is(($buyer->result)[0], '999 998', 'a writer who has the row is waited for');
$buyer->run('COMMIT');

stop_between(q{SELECT FROM inventory_lock.decrement_stock_on_purchase('42', 1, wait_timeout => '200 ms')});
$writer->run('BEGIN');
$writer->run(q{SELECT 1 FROM shop.stock_level WHERE variant_id = '42' FOR UPDATE});
$redis->thaw;
is($buyer->sent_error, 'IL010', 'as long as the call may wait');
$buyer->run('ROLLBACK');
$writer->run('COMMIT');

for my $way (qw(COMMIT ROLLBACK))
{
    stop_between($sale);
    $writer->run('BEGIN');
    $writer->run(q{UPDATE shop.stock_level SET on_hand = 50 WHERE variant_id = '42'}) if $way eq 'ROLLBACK';
    $writer->run(q{SELECT 1 FROM shop.stock_level WHERE variant_id = '42' FOR SHARE});
    $redis->thaw;
    waits_for_row();
    $writer->run($way);
    is(($buyer->result)[0], '1000 999', "who has had the row and changed nothing ($way) is waited for");
    $buyer->run('COMMIT');
}

stop_between($sale);
$writer->run('BEGIN');
$writer->run(q{SELECT 1 FROM shop.stock_level WHERE variant_id = '42' FOR KEY SHARE});
$redis->thaw;
is(($buyer->result)[0], '1000 999', 'a foreign key that points at the row is not waited for');
$buyer->run('COMMIT');
$writer->run('COMMIT');

stop_between($sale);
$writer->run(q{DELETE FROM shop.stock_level WHERE variant_id = '42'});
$writer->run(q{INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('42', 7)});
$redis->thaw;
is(($buyer->result)[0], '7 6', 'a row that has been replaced is found anew');
$buyer->run('COMMIT');

stop_between($sale, 'BEGIN ISOLATION LEVEL REPEATABLE READ');
$writer->run(q{UPDATE shop.stock_level SET on_hand = 500 WHERE variant_id = '42'});
$redis->thaw;
is($buyer->sent_error, '40001', 'a snapshot that is older than the row is not written to');
$buyer->run('ROLLBACK');

stop_between($sale);
$writer->run(q{DELETE FROM shop.stock_level WHERE variant_id = '42'});
$redis->thaw;
is($buyer->sent_error, 'IL002', 'a row that has gone is not there');
$buyer->run('ROLLBACK');
$node->safe_psql('postgres', q{INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('42', 0)});

my $orders = 0;
my $lines = q{'[{"variant_id": "42", "quantity": 1}, {"variant_id": "43", "quantity": 2}]'};

# The order has looked its rows up, and waits for its locks.
sub stop_order
{
    my ($begin) = @_;
    $node->safe_psql('postgres', q{UPDATE shop.stock_level SET on_hand = 1000 WHERE variant_id IN ('42', '43')});
    $buyer->run($begin // 'BEGIN');
    $redis->freeze;
    $orders++;
    $buyer->send(qq{SELECT jsonb_path_query_array(lines, '\$[*].on_hand_after')
        FROM inventory_lock.place_order_locked('ann', 'seen-$orders', $lines)});
    $node->wait_at_lease($buyer->pid);
    return;
}

stop_order();
$redis->thaw;
is(($buyer->result)[0], '[999, 998]', 'an order that nobody comes between');
$buyer->run('COMMIT');

for my $variant (42, 43)
{
    stop_order();
    $writer->run(qq{UPDATE shop.stock_level SET on_hand = on_hand - 400 WHERE variant_id = '$variant'});
    $redis->thaw;
    is(($buyer->result)[0], $variant == 42 ? '[599, 998]' : '[999, 598]', "the row of $variant is not lost to an order");
    $buyer->run('COMMIT');
}
is($node->value(q{SELECT string_agg(on_hand::text, ' ' ORDER BY variant_id) FROM shop.stock_level WHERE variant_id IN ('42', '43')}),
    '999 598', 'nor afterwards');

stop_order();
$writer->run(q{UPDATE shop.stock_level SET on_hand = 1 WHERE variant_id = '43'});
$redis->thaw;
is($buyer->sent_error, 'IL001', 'an order does not get what is gone meanwhile');
$buyer->run('ROLLBACK');

stop_order();
$writer->run('BEGIN');
$writer->run(q{UPDATE shop.stock_level SET on_hand = on_hand - 1 WHERE variant_id = '43'});
$redis->thaw;
waits_for_row();
$writer->run('COMMIT');
is(($buyer->result)[0], '[999, 997]', 'an order waits for a writer who has the row');
$buyer->run('COMMIT');

stop_order();
$writer->run(q{DELETE FROM shop.stock_level WHERE variant_id = '42'});
$writer->run(q{INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('42', 7)});
$redis->thaw;
is(($buyer->result)[0], '[6, 998]', 'an order finds a row anew that has been replaced');
$buyer->run('COMMIT');

stop_order('BEGIN ISOLATION LEVEL REPEATABLE READ');
$writer->run(q{UPDATE shop.stock_level SET on_hand = 500 WHERE variant_id = '42'});
$redis->thaw;
is($buyer->sent_error, '40001', 'an order does not write to a row that is newer than its snapshot');
$buyer->run('ROLLBACK');

# The rows of one call are waited for within one limit, those of one variant (by a statement) as well.
my $slow = $node->session;
$node->safe_psql('postgres', q{UPDATE shop.stock_level SET on_hand = 1000 WHERE variant_id IN ('42', '43')});
$node->safe_psql('postgres', q{INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('46', 'a', 10), ('46', 'b', 10)});
for my $case (
    [q{variant_id = '42'}, q{variant_id = '43'}, qq{place_order_locked('ann', 'limit', $lines, options => '{"wait_timeout": "4 s"}')}],
    [q{variant_id = '46' AND location_id = 'a'}, q{variant_id = '46' AND location_id = 'b'},
        q{decrement_stock_on_purchase('46', 1, wait_timeout => '4 s')}],
    [q{variant_id = '46' AND location_id = 'a'}, q{variant_id = '46' AND location_id = 'b'},
        q{decrement_stock_on_purchase('46', 1, wait_timeout => '4 s')}, '3s'])
{
    my ($first, $second, $call, $lock_timeout) = @$case;
    $buyer->run('SET lock_timeout = ' . ($lock_timeout ? "'$lock_timeout'" : 'DEFAULT'));
    $writer->run('BEGIN');
    $writer->run("SELECT 1 FROM shop.stock_level WHERE $second FOR UPDATE");
    $slow->run('BEGIN');
    $slow->run("SELECT 1 FROM shop.stock_level WHERE $first FOR UPDATE");
    my $began = time;
    $buyer->send("SELECT FROM inventory_lock.$call");
    $node->poll_until(sub { time - $began > 2 }, 'most of the time is over');
    $slow->run('COMMIT');
    is($buyer->sent_error, 'IL010', "$call waits for one row, and then for another");
    cmp_ok(time - $began, '<', 6, 'as long as it may wait for both');
    $writer->run('ROLLBACK');
}
$buyer->run('RESET lock_timeout');
$slow->quit;

# A sum that does not fit is refused only when it still does not under the lock.
$node->safe_psql('postgres', q{INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('47', 9223372036854775807)});
$redis->freeze;
$buyer->send(q{SELECT quantity_after FROM inventory_lock.adjust_stock_locked('47', 10)});
$node->wait_at_lease($buyer->pid);
$writer->run(q{UPDATE shop.stock_level SET on_hand = 5 WHERE variant_id = '47'});
$redis->thaw;
is(($buyer->result)[0], '15', 'what fits meanwhile is added');

# A location that comes while the keys are waited for is found before anything is refused.
$node->safe_psql('postgres', q{INSERT INTO shop.stock_level (variant_id, location_id, on_hand)
    VALUES ('44', 'a', 0), ('45', 'a', 0)});
for my $case (['44', q{SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('44', 5)}, '95'],
    ['45', q{SELECT lines -> 0 ->> 'on_hand_after' FROM inventory_lock.place_order_locked('ann', 'late',
        '[{"variant_id": "45", "quantity": 5}]')}, '95'])
{
    my ($variant, $call, $after) = @$case;
    $redis->freeze;
    $buyer->send($call);
    $node->wait_at_lease($buyer->pid);
    $writer->run(qq{INSERT INTO shop.stock_level (variant_id, location_id, on_hand) VALUES ('$variant', 'b', 100)});
    $redis->thaw;
    is(($buyer->result)[0], $after, "a location of $variant that comes meanwhile is used");
}
$node->safe_psql('postgres', q{UPDATE shop.stock_level s SET on_hand = (SELECT ledger FROM inventory_lock.verify_stock(s.variant_id) v
    WHERE v.location_id = s.location_id) WHERE variant_id IN ('44', '45', '46', '47')});

$node->safe_psql('postgres', q{UPDATE shop.stock_level s SET on_hand = (SELECT ledger FROM inventory_lock.verify_stock(s.variant_id))
    WHERE variant_id IN ('42', '43')});
$buyer->quit;
$writer->quit;
$node->finish($redis);
done_testing();
