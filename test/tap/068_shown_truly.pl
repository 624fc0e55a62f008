# What is shown of locks is so, and administrators end what they mean: those who share a product hold it and
# do not wait; when the first of them has left, the others are still named, and max_hold still ends a share. Keys of a database of another encoding do not break
# anything; clear_test_locks() ends no statement of a session that has let its lock go meanwhile.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => { 'inventory_lock.commit_margin' => '200ms', 'inventory_lock.inventory_ttl' => '2s' });
$node->safe_psql('postgres', "INSERT INTO shop.stock_level (variant_id, product_id, on_hand)
    VALUES ('red', 'shirt', 1000), ('blue', 'shirt', 1000), ('green', 'shirt', 1000)");
my $product = 'inventory_lock:product:shirt';
my ($ann, $bob, $cat) = map { $node->session } 1 .. 3;

sub change { return "SELECT protection FROM inventory_lock.adjust_stock_locked('$_[0]', -1)" }
sub share
{
    my ($session, $variant) = @_;
    $session->run('BEGIN');
    return $session->run(change($variant));
}
sub shown { return $node->value("SELECT $_[0] FROM inventory_lock.active_locks WHERE key = '$product'") }
sub metric { return ($node->value('SELECT inventory_lock.metrics()') =~ /^inventory_lock_$_[0] (\S+)$/m)[0] }

# Three who share a product.
share(@$_) for [ $ann, 'red' ], [ $bob, 'blue' ], [ $cat, 'green' ];
is(shown("pid || ' ' || waiters || ' ' || protection"), $ann->pid . ' 0 redis', 'the first of three who share a product is shown');
is(metric('waiters'), 0, 'and nobody waits, by metrics()');
is(metric('held_locks'), 4, 'for four keys that are held');
$ann->run('COMMIT');
is(shown("pid || ' ' || waiters || ' ' || protection || ' ' || (since IS NOT NULL)"), $bob->pid . ' 0 redis true',
    'when the first has left, the oldest of the others is shown');
is(metric('held_locks'), 3, 'and the product counts as held');
$bob->run('COMMIT');
is(shown('pid'), $cat->pid, 'then the last');
like($node->value('SELECT inventory_lock.get_lock_stats()'), qr/"key": "$product"/, 'get_lock_stats() has it too');

# The last one stays. It came after others, so the time counts from when it was alone.
$node->set('inventory_lock.max_hold' => '1s');
$node->reload;
$node->poll_until(sub { $redis->command('GET', $product) eq '' }, 'the share of who came later ends with max_hold');
is($cat->error_of('COMMIT'), 'IL011', 'and its transaction does not commit');
share($ann, 'red');
$node->poll_until(sub { $redis->command('GET', $product) eq '' }, 'the share of who came first ends with max_hold');
$ann->error_of('COMMIT');
$node->set('inventory_lock.max_hold' => '10min');
$node->reload;
$node->nothing_left($redis, 'after max_hold');

# Without Redis.
$redis->stop;
$node->wait_for_protection('database');
is(share($ann, 'red') . share($bob, 'blue'), 'databasedatabase', 'two share a product without Redis');
is(shown("pid || ' ' || waiters || ' ' || protection"), $ann->pid . ' 0 database', 'which is shown as it is');
is(metric('waiters') . ' ' . metric('held_locks_degraded'), '0 3', 'in metrics() too');
$_->run('COMMIT') for $ann, $bob;
$redis->start;
$node->wait_for_protection('redis');

# Databases of two encodings.
$node->safe_psql('postgres', "CREATE DATABASE $_->[0] TEMPLATE template0 ENCODING '$_->[1]' LOCALE 'C'")
  for [ 'latin', 'LATIN1' ], [ 'unicode', 'UTF8' ];
$node->safe_psql($_, 'CREATE EXTENSION inventory_lock') for 'latin', 'unicode';
my @latin = map { $node->session('latin') } 1, 2;
my $take = "SELECT inventory_lock.acquire_lock('test_caf' || chr(233)) > 0";
$_->run('BEGIN') for @latin;
$latin[0]->run($take);
$latin[1]->send($take);
$node->wait_at_gate(1);
my $unicode = $node->session('unicode');
my $key = 'lock:test_caf?';
is($unicode->run("SELECT waiters FROM inventory_lock.active_locks WHERE key = '$key'"), 1,
    'a key of a database of another encoding is shown in what both have');
is($unicode->error_of('SELECT * FROM inventory_lock.top'), '', 'top goes on');
is($unicode->run("SELECT inventory_lock.get_lock_stats() -> 'locks' @> '[{\"key\": \"$key\"}]'"), 't', 'get_lock_stats() has it');
$latin[0]->run('COMMIT');
$latin[1]->result;
is($unicode->run("SELECT waits FROM inventory_lock.stat_key WHERE key = '$key'"), 1, 'stat_key too');
$node->psql('unicode', 'SELECT inventory_lock.clear_test_locks()', stderr => \my $notices);
like($notices, qr/which holds lock "\Q$key"/, 'and so does who is told that it is taken away');
is($latin[1]->error_of('COMMIT'), 'IL011', 'as it is');

# While clear_test_locks() waits for one session to let go, the next one does and has other business.
my $gatekeeper = $node->session;
$gatekeeper->run('SELECT pg_advisory_lock(1)');
my %holders;
for my $name ('test_a', 'test_b')
{
    my $session = $node->session;
    $holders{ $session->pid } = $session;
    $session->run('BEGIN');
    $session->run("SELECT inventory_lock.acquire_lock('$name')");
}
my ($stays, $leaves) = map { $holders{$_} }
  split /\n/, $node->value("SELECT pid FROM inventory_lock.get_locks() WHERE key LIKE 'lock:test\\__'");
$unicode->send('SELECT inventory_lock.clear_test_locks()');
$node->poll_until(
    sub { $node->value('SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $unicode->pid) eq 'PgSleep' },
    'clear_test_locks() waits for the first');
$leaves->run('COMMIT');
$leaves->send('SELECT pg_advisory_lock(1)');
is(($unicode->result)[0], 1, 'clear_test_locks() frees the key of one that stays');
$gatekeeper->run('SELECT pg_advisory_unlock(1)');
is($leaves->sent_error, '', 'and does not end the statement of one that has left');
is($stays->error_of('COMMIT'), 'IL011', 'who stayed cannot commit');

# Who had the key for which one waited long.
my $foreign = 'lock:long';
my $wait = "SELECT inventory_lock.acquire_lock('long') > 0";
my $log_start = -s $node->logfile;
my $lines = sub { return join ' ', slurp_file($node->logfile, $log_start) =~ /slow lock: key=$foreign holder=(\S+)/g };
$redis->command('SET', $foreign, 'stranger');
$ann->run("SET inventory_lock.log_min_wait = '20ms'");
$ann->send($wait);
$node->wait_at_lease($ann->pid);
$redis->command('DEL', $foreign);
$ann->result;
is($lines->(), 'stranger', 'a slow lock is logged with who had it');
$node->nothing_left($redis, 'of it');
$redis->freeze;
$ann->run($wait);
$redis->thaw;
is($lines->(), 'stranger -', 'but not where nobody had it and Redis was silent');
$node->wait_for_protection('redis');

$_->quit for $ann, $bob, $cat, @latin, $unicode, $gatekeeper, $stays, $leaves;
$node->finish($redis);
done_testing();
