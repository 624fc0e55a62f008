# A change of thousands of rows is worked off in parts: while the rows of one are written, Redis is asked for
# the locks of the next. What comes in between (a trigger that locks, a savepoint that fails, a cancel,
# somebody who has a key of a later part) changes neither what is locked nor what is left behind.

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
    settings => {
        'inventory_lock.lease_linger' => 0,
        'inventory_lock.max_keys_per_transaction' => 10000,
        'max_locks_per_transaction' => 256 });
$node->safe_psql('postgres', q{
    INSERT INTO shop.stock_level (variant_id, on_hand) SELECT 'row' || i, 100 FROM generate_series(1001, 4000) i;
    INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('other', 100);
    -- What happens when the first row is written.
    CREATE TABLE plan (command text);
    CREATE FUNCTION at_first() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE what text;
    BEGIN
        FOR what IN SELECT command FROM plan LOOP EXECUTE what; END LOOP;
        RETURN NEW;
    END $$;
    CREATE TRIGGER at_first BEFORE UPDATE ON shop.stock_level FOR EACH ROW
        WHEN (NEW.variant_id = 'row1001') EXECUTE FUNCTION at_first();
    CREATE FUNCTION fails() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM inventory_lock.acquire_lock('inner');
        RAISE EXCEPTION 'for show';
    EXCEPTION WHEN raise_exception THEN NULL;
    END $$});

sub change
{
    my ($more, $last) = @_;
    return q{SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked((
        SELECT jsonb_agg(jsonb_build_object('variant_id', 'row' || i, 'delta', -1) ORDER BY i DESC)
        FROM generate_series(1001, } . ($last // 4000) . ') i)' . ($more // '') . ')';
}
sub plan_is
{
    my ($command) = @_;
    $node->safe_psql('postgres', 'TRUNCATE plan; INSERT INTO plan SELECT $$' . $command . '$$');
    return;
}
sub total { return $node->value(q{SELECT sum(on_hand) FROM shop.stock_level WHERE variant_id LIKE 'row%'}) }
sub movements
{
    my ($what) = @_;
    return $node->value("SELECT string_agg(DISTINCT protection, ' ') || ' ' || count(*) || ' ' ||
        count(*) FILTER (WHERE fence = 0) FROM shop.stock_movement WHERE $what");
}

# The locks of the next part are there while the first part is being written, and no others.
my $session = $node->session;
my $gatekeeper = $node->session;
sub stop_at_first_row
{
    my ($last) = @_;
    plan_is('SELECT pg_advisory_xact_lock(7)');
    $gatekeeper->run('SELECT pg_advisory_lock(7)');
    $session->send(change(undef, $last));
    $node->poll_until(
        sub { $node->value(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted}) },
        'the first row is being written');
    return;
}
stop_at_first_row();
ok($node->poll_until(sub { $redis->command('EXISTS', 'inventory_lock:row1300') eq '1' }, 'the next part is locked'),
    'the next part is locked meanwhile');
is($redis->command('EXISTS', 'inventory_lock:row4000'), '0', 'the last one is not');
$gatekeeper->run('SELECT pg_advisory_unlock(7)');
is(($session->result)[0], '3000', 'all rows are changed');
is(movements(q{variant_id LIKE 'row%'}), 'redis 3000 0', 'all of them locked in Redis');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'all keys are released');
my ($scripts) = $redis->command('INFO', 'commandstats') =~ /cmdstat_evalsha:calls=(\d+)/;
cmp_ok($scripts, '<', 100, 'by a few calls');

# Cancelled there, with leases that nobody has waited for.
stop_at_first_row();
$node->poll_until(sub { $redis->command('EXISTS', 'inventory_lock:row1300') eq '1' }, 'the next part is locked');
$node->value('SELECT pg_cancel_backend(' . $session->pid . ')');
is($session->sent_error, '57014', 'cancelled in the first part');
$gatekeeper->run('SELECT pg_advisory_unlock(7)');
$node->nothing_left($redis, 'behind a cancelled change');
is(total(), 297000, 'nothing of it is kept');

# A trigger that locks: a key that the change comes to later, one of its own, or one that it loses again.
plan_is(q{SELECT inventory_lock.adjust_stock_locked('row3999', -5)});
is($session->run(change()), '3000', 'a trigger changes a row of the last part');
is(movements(q{variant_id = 'row3999'}), 'redis 3 0', 'which is locked in Redis by then');
is($node->value(q{SELECT on_hand FROM shop.stock_level WHERE variant_id = 'row3999'}), '93', 'and changed by both');
plan_is(q{SELECT inventory_lock.adjust_stock_locked('other', -5)});
is($session->run(change()), '3000', 'a trigger changes another row');
is(movements(q{variant_id = 'other'}), 'redis 1 0', 'which is locked in Redis');
plan_is(q{SELECT inventory_lock.try_acquire_lock('other')});
is($session->run(change()), '3000', 'a trigger tries another lock');
plan_is(q{SELECT fails()});
is($session->run(change()), '3000', 'a savepoint in a trigger fails');
is(movements(q{variant_id LIKE 'row%'}), 'redis 15001 0', 'all of them are locked in Redis');
plan_is('SELECT 1');

# Somebody else has a key of the last part.
$redis->command('SET', 'inventory_lock:row3900', 'somebody');
$session->send(change());
$node->wait_at_lease($session->pid);
$node->value('SELECT pg_cancel_backend(' . $session->pid . ')');
is($session->sent_error, '57014', 'cancelled in the last part');
is($session->error_of(change(q{, wait_timeout => '1 s'})), 'IL010', 'the wait ends in time');
is($session->error_of(change(q{, wait_timeout => '0'})), 'IL010', 'without waiting');
$node->poll_until(sub { $redis->lock_keys eq 'inventory_lock:row3900' }, 'no other key is left');
$session->send(change());
$node->wait_at_lease($session->pid);
$redis->command('DEL', 'inventory_lock:row3900');
is(($session->result)[0], '3000', 'goes on when the key is free');
is(total(), 300000 - 6 * 3000 - 5, 'only whole changes are kept');

# Redis goes while the last part, one key, is asked for; the change goes on without it. That answer is not
# taken for the one to a later request for the same key. The next one in the queue keeps its entry.
my $next = $node->session;
my $token = sub { $redis->command('GET', 'inventory_lock:row1257') };
$redis->command('SET', 'inventory_lock:row1257', 'somebody');
stop_at_first_row(1257);
$redis->kill9;
$node->wait_for_protection('database');
$next->run('BEGIN');
$next->send(q{SELECT inventory_lock.acquire_stock_lock('row1257')});
$node->wait_at_gate;
$gatekeeper->run('SELECT pg_advisory_unlock(7)');
is(($session->result)[0], '257', 'a change goes on when Redis goes in its first part');
$next->result;
$redis->start;
$node->wait_for_protection('redis');
$session->run('BEGIN');
$session->send(q{SELECT inventory_lock.acquire_stock_lock('row1257')});
$node->wait_at_gate;
$next->run('COMMIT');
$session->result;
like($token->(), qr/^pg:/, 'and its key is locked in Redis when that is back');
$session->run('COMMIT');

$next->quit;
$session->quit;
$gatekeeper->quit;
$node->finish($redis);
done_testing();
