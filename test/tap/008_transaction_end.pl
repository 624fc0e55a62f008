# When a key is let go: after the commit is there for everybody, at the rollback to a savepoint, at
# the end of an exception block, and never before. PREPARE TRANSACTION is refused.

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
    settings => { 'inventory_lock.lease_linger' => 0 });    # when keys go is what is asked here
my $session = $node->session;
my $adjust = "SELECT FROM inventory_lock.adjust_stock_locked";

sub keys_are
{
    my ($wanted, $when) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    eval { $node->poll_until(sub { $redis->lock_keys eq $wanted }, $wanted) };
    return is($redis->lock_keys, $wanted, $when);
}

# PREPARE TRANSACTION.
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
is($session->error_of("PREPARE TRANSACTION 'p'"), '0A000', 'PREPARE TRANSACTION with a hold is refused');
keys_are('', 'and the refused transaction lets its key go');
is($node->value('SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is prepared');
$session->run('BEGIN');
$session->run("INSERT INTO shop.stock_level (variant_id) VALUES ('prepared')");
$session->run("PREPARE TRANSACTION 'p'");
$session->run("COMMIT PREPARED 'p'");
pass('a transaction without a hold may be prepared');

# A commit that has begun, but is not over, still has its key: a deferred trigger keeps it there.
$node->safe_psql('postgres',
    q{CREATE TABLE slow (a int);
      CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION wait_at_commit()});
my $stopper = $node->session;
$stopper->run('SELECT pg_advisory_lock(1)');
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$session->run('INSERT INTO slow VALUES (1)');
$session->send('COMMIT');
$node->poll_until(
    sub {
        $node->value('SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $session->pid) eq 'advisory';
    },
    'the commit waits in its trigger');
is($redis->lock_keys, 'inventory_lock:42', 'the key stays while the commit is under way');
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"), 1000,
    'whose change nobody sees yet');
$stopper->run('SELECT pg_advisory_unlock(1)');
$session->result;
keys_are('', 'after the commit the key is gone');
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"), 999,
    'and the change is there');

# Savepoints.
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$session->run('SAVEPOINT a');
$session->run("$adjust('43', -1)");
keys_are('inventory_lock:42 inventory_lock:43', 'both keys are held');
$session->run('ROLLBACK TO a');
keys_are('inventory_lock:42', 'rolling back to a savepoint frees the inner key only');
$session->run("$adjust('43', -1)");
$session->run('RELEASE a');
keys_are('inventory_lock:42 inventory_lock:43', 'RELEASE passes the hold to the outer transaction');
$session->run('SAVEPOINT b');
$session->run("$adjust('42', -1)");
$session->run('ROLLBACK TO b');
keys_are('inventory_lock:42 inventory_lock:43', 'a key of the outer transaction stays in spite of inner use');
$session->run('ROLLBACK');
keys_are('', 'rollback frees all');

# Deep: 50 savepoints, each with a key; back to the middle.
$session->run('BEGIN');
for my $depth (1 .. 50)
{
    $session->run("SAVEPOINT s$depth");
    $session->run("SELECT inventory_lock.acquire_lock('deep_' || lpad('$depth', 2, '0'))");
}
$session->run('ROLLBACK TO s26');
keys_are(join(' ', map { sprintf 'lock:deep_%02d', $_ } 1 .. 25), 'the outer 25 of 50 keys stay');
$session->run('COMMIT');
keys_are('', 'commit frees them');

# An exception block is a savepoint.
$stopper->run('SELECT pg_advisory_lock(2)');
$session->send(
    q{DO $$ BEGIN
        PERFORM inventory_lock.adjust_stock_locked('42', -1);
        BEGIN
            PERFORM inventory_lock.adjust_stock_locked('43', -1);
            RAISE EXCEPTION 'away with it';
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
        PERFORM pg_advisory_xact_lock(2);
      END $$});
$node->poll_until(
    sub {
        $node->value('SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $session->pid) eq 'advisory';
    },
    'the block has ended');
keys_are('inventory_lock:42', 'the exception block frees its key');
$stopper->run('SELECT pg_advisory_unlock(2)');
$session->result;

# COMMIT inside a procedure ends holds like any other.
$node->safe_psql('postgres',
    q{CREATE PROCEDURE two_steps() LANGUAGE plpgsql AS $$ BEGIN
        PERFORM inventory_lock.adjust_stock_locked('42', -1);
        COMMIT;
        PERFORM inventory_lock.adjust_stock_locked('43', -1);
        PERFORM pg_advisory_xact_lock(3);
      END $$});
$stopper->run('SELECT pg_advisory_lock(3)');
$session->send('CALL two_steps()');
$node->poll_until(
    sub {
        $node->value('SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $session->pid) eq 'advisory';
    },
    'the procedure is in its second transaction');
keys_are('inventory_lock:43', 'COMMIT in a procedure frees the first key');
$stopper->run('SELECT pg_advisory_unlock(3)');
$session->result;

# A cursor outlives nothing: the key stays until the end of the transaction.
$session->run('BEGIN');
$session->run("DECLARE c CURSOR FOR SELECT quantity_after FROM inventory_lock.adjust_stock_locked('42', -1)");
$session->run('FETCH 1 FROM c');
$session->run('CLOSE c');
keys_are('inventory_lock:42', 'closing the cursor that called us frees nothing');
$session->run('COMMIT');
keys_are('', 'the commit does');

# An error frees everything at once, before the client says ROLLBACK.
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
is($session->error_of('SELECT 1/0'), '22012', 'an error in the transaction');
keys_are('', 'frees the key although the client has not ended the transaction');
$session->run('ROLLBACK');

# Several keys of one order: all or nothing.
$redis->command('SET', 'inventory_lock:43', 'foreign', 'PX', 600000);
$session->run("SET inventory_lock.wait_timeout = '300ms'");
is( $session->error_of(
        q{SELECT FROM inventory_lock.place_order_locked('7', 'order-1',
          '[{"variant_id": "42", "quantity": 1, "unit_price": 1},
            {"variant_id": "43", "quantity": 1, "unit_price": 1}]')}),
    'IL010', 'an order that cannot get one of its keys');
is($redis->lock_keys, 'inventory_lock:43', 'keeps none of them');
$redis->command('DEL', 'inventory_lock:43');

$session->quit;
$stopper->quit;
$node->finish($redis);
done_testing();
