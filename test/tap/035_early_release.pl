# early_release = on: what was acknowledged survives a crash under load, a commit that waits for its
# standby keeps the key from others, passes it on at home, and is acknowledged to nobody; an answer
# replayed meanwhile is not acknowledged either.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.early_release' => 'on',
        'wal_level' => 'replica',
        'max_wal_senders' => '4',
        'fsync' => 'on' });
my $key = 'inventory_lock:42';

# Crash under load: four clients note every answer in a file the moment they have it.
my $folder = PostgreSQL::Test::Utils::tempdir();
my @files = map { "$folder/acknowledged_$_" } 1 .. 4;
append_to_file("$folder/load.sql",
    "SELECT movement_id FROM inventory_lock.adjust_stock_locked('42', 1);\n" x 50000);
my @runs = map {
    IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', "$folder/load.sql" ],
        '<', \undef, '>', $_, '2>', "$_.err")
} @files;
$node->poll_until(
    sub { !grep { !-e $_ || -s $_ < 400 } @files }, 'every client has some acknowledged commits');
my $postmaster = $node->{_pid};
$node->kill9;
$_->finish for @runs;
$node->poll_until(sub { !kill 0, $postmaster }, 'the postmaster is gone');
$node->poll_until(sub { $node->start(fail_ok => 1) }, 'the server starts again');
my @acknowledged = map { grep { /^\d+$/ } split /\n/, slurp_file($_) } @files;
cmp_ok(scalar(@acknowledged), '>', 100, 'many commits were acknowledged before the crash');
# The last line of a file may have been cut off by the kill of its client's server; it is whole or absent.
my $list = join ',', @acknowledged;
is($node->value("SELECT count(*) FROM unnest('{$list}'::text[]) a WHERE NOT EXISTS
                 (SELECT FROM shop.stock_movement WHERE movement_id::text = a)"),
    '0', 'every acknowledged commit is there after the crash');
is($node->value("SELECT on_hand - 1000 - count(m) FROM shop.stock_level LEFT JOIN shop.stock_movement m
                 USING (variant_id) WHERE variant_id = '42' GROUP BY on_hand"),
    '0', 'level and movements agree');
$node->wait_for_protection('redis');

# A standby that never answers: the commit is visible, but neither acknowledged nor released.
$node->set('synchronous_standby_names' => 'nobody');
$node->reload;
$node->poll_until(sub { $node->value('SHOW synchronous_standby_names') eq 'nobody' }, 'the setting');
my ($first, $second, $replay) = map { $node->session } 1 .. 3;
sub waits_for_standby
{
    my ($session) = @_;
    my $pid = $session->pid;
    return $node->poll_until(
        sub { $node->value("SELECT wait_event FROM pg_stat_activity WHERE pid = $pid") eq 'SyncRep' },
        'a commit waits for its standby');
}
my $level = $node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'");
my $order = q{SELECT order_id, replayed FROM inventory_lock.place_order_locked('7', 'early',
    '[{"variant_id": "42", "quantity": 1, "unit_price": 1}]')};
$first->send($order);
waits_for_standby($first);
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"), $level - 1,
    'the commit is visible');
isnt($redis->command('GET', $key), '', 'its key stays in Redis');
is($redis->command('SET', $key, 'foreign', 'NX'), '', 'so that nobody else gets it');
$second->send("SELECT quantity_before FROM inventory_lock.adjust_stock_locked('42', -1)");
waits_for_standby($second);
pass('the next one at home has it already, and waits for the standby as well');
$replay->send($order);
waits_for_standby($replay);
pass('a replayed answer waits for the standby, too');
is($redis->command('SET', $key, 'foreign', 'NX'), '', 'all this time the key stays ours');
# A transaction that locks and notifies, and writes nothing else, gets its transaction id at its very end.
my $notify = $node->session;
$notify->run('BEGIN');
$notify->run("SELECT inventory_lock.acquire_lock('notify')");
$notify->run('NOTIFY sold');
$notify->send('COMMIT');
waits_for_standby($notify);
pass('a commit whose only change is a NOTIFY waits for the standby');
$node->set('synchronous_standby_names' => '');
$node->reload;
$notify->result;
$notify->quit;
my ($placed) = $first->result;
like($placed, qr/\|f$/, 'the order is acknowledged once the standby is no longer waited for');
my ($before) = $second->result;
is($before, $level - 1, 'the next one saw its change');
my ($replayed) = $replay->result;
is($replayed, $placed =~ s/f$/t/r, 'the replayed answer is the same');
$node->nothing_left($redis, 'after the standby');

# A commit made without Redis waits for its standby while Redis comes back: what the lost connection
# left open is given up all the same, and the next one gets the key.
$node->set('inventory_lock.redis_command_timeout' => '200ms', 'synchronous_standby_names' => 'nobody');
$node->reload;
$node->poll_until(sub { $node->value('SHOW synchronous_standby_names') eq 'nobody' }, 'the setting');
my $change = "SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)";
$redis->freeze;
$first->send($change);
waits_for_standby($first);
my $state = "SELECT state FROM inventory_lock.get_locks() WHERE key = '$key'";
is($node->value($state), 'unknown', 'what Redis made of the request is not known');
$redis->thaw;
$node->poll_until(sub { $node->value($state) ne 'unknown' }, 'the key is settled once Redis is back')
  or diag($node->value("SELECT * FROM inventory_lock.get_locks() WHERE key = '$key'"));
$second->send($change);
waits_for_standby($second);
isnt($redis->command('GET', $key), '', 'the next one has the key');
$node->set('synchronous_standby_names' => '', 'inventory_lock.redis_command_timeout' => '500ms');
$node->reload;
is(($first->result)[0], 'database', 'the one without Redis was protected by its database');
is(($second->result)[0], 'redis', 'and the next one by Redis');
$node->nothing_left($redis, 'after Redis came back');

# Without early release the gate stays as well.
$node->set('synchronous_standby_names' => 'nobody', 'inventory_lock.early_release' => 'off');
$node->reload;
$node->poll_until(sub { $node->value('SHOW synchronous_standby_names') eq 'nobody' }, 'the setting');
$first->send("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
waits_for_standby($first);
$second->send("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_gate;
pass('without early release the next one waits at the gate');
$node->set('synchronous_standby_names' => '', 'inventory_lock.early_release' => 'on');
$node->reload;
$_->result for $first, $second;

# synchronous_commit is the user's own afterwards, whichever way the transaction ended.
$first->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
is($first->run('SHOW synchronous_commit'), 'on', 'the setting is untouched after a commit');
$node->safe_psql('postgres',
    q{CREATE TABLE bad (a int); CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'no'; END $$;
      CREATE CONSTRAINT TRIGGER bad AFTER INSERT ON bad DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION bad()});
$first->run('BEGIN');
$first->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$first->run('INSERT INTO bad VALUES (1)');
is($first->error_of('COMMIT'), 'P0001', 'a commit fails in its last trigger');
is($first->run('SHOW synchronous_commit'), 'on', 'the setting is untouched after an abort');
$first->run('BEGIN');
$first->run('SAVEPOINT s');
$first->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$first->run('ROLLBACK TO s');
$first->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
$first->run('COMMIT');
is($first->run('SHOW synchronous_commit'), 'on', 'and after savepoints');
$_->quit for $first, $second, $replay;

$node->finish($redis, crashes => 1);
done_testing();
