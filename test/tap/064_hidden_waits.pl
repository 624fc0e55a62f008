# Waits that go through somebody who has a gate and no lease yet. Circles through them are found, or do
# not come about; and who is not to wait does not.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my %settings = (
    'inventory_lock.max_tenure' => '200ms',
    'inventory_lock.wait_timeout' => '20s',
    max_wal_senders => 5,    # or nobody waits for a standby
    wal_level => 'replica');
my @nodes = map { InventoryLock::Cluster->create($_, redis => $redis, settings => {%settings}) } qw(a b);
my ($first, $second) = @nodes;
$_->safe_psql('postgres',
    q{INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES ('red', 'shirt', 1000), ('blue', 'shirt', 1000),
     ('green', 'shirt', 1000), ('v1', NULL, 1000), ('v2', NULL, 1000), ('v3', NULL, 1000)}) for @nodes;
$_->wait_for_protection('redis') for @nodes;
my ($ann, $more, $bob) = ($first->session, $first->session, $second->session);
my $lock = "SELECT inventory_lock.acquire_product_lock('shirt') > 0";

sub change { return "SELECT protection FROM inventory_lock.adjust_stock_locked('$_[0]', -1)" }
sub free { return $first->poll_until(sub { $redis->lock_keys eq '' }, 'all keys are free') }
sub wait_out_tenure { my $end = time + 0.4; return $first->poll_until(sub { time > $end }, 'the tenure is over') }

# Three in two clusters, the one in the middle without any lease: he has the gate of v2, and waits for v3.
$_->run('BEGIN') for $ann, $bob;
$ann->run(change('v1'));
$bob->run(change('v3'));
$more->send(q{SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked('[{"variant_id": "v2", "delta": -1}, {"variant_id": "v3", "delta": -1}]')});
$first->wait_at_lease($more->pid);
$ann->send(change('v2'));
$first->wait_at_gate(1);
my $started = time;
is($bob->error_of(change('v1')), '40P01', 'a circle through a gate without a lease is found');
cmp_ok(time - $started, '<', 10, 'before anybody has waited for too long');
$bob->run('ROLLBACK');
is(($more->result)[0], '2', 'the others go on');
is(($ann->result)[0], 'redis', 'all of them');
$ann->run('COMMIT');
free();

# A newcomer to a product that another cluster waits for would wait for those who use it; one of them
# waits for a gate of his.
$ann->run('BEGIN');
$ann->run(change('red'));
$bob->send($lock);
$second->wait_at_lease($bob->pid);
wait_out_tenure();
$more->send(change('green'));
$first->wait_at_lease($more->pid);
$started = time;
$ann->send(change('green'));
is(($more->result)[0], 'redis', 'a newcomer whom a user of the product waits for joins');
is(($ann->result)[0], 'redis', 'so that the user goes on');
cmp_ok(time - $started, '<', 10, 'at once');
$ann->run('COMMIT');
is(($bob->result)[0], 't', 'and then the other cluster has its turn');
free();

# Who is not to wait is told at once: while it is another cluster's turn,
my $soon = "SET statement_timeout = '5s'; SELECT FROM inventory_lock.adjust_stock_locked('green', -1, wait_timeout => '0 s')";
$ann->run('BEGIN');
$ann->run(change('red'));
$bob->send($lock);
$second->wait_at_lease($bob->pid);
wait_out_tenure();
is($first->error_of($soon), 'IL010', "a newcomer who is not to wait for another cluster's turn");
$ann->run('COMMIT');
is(($bob->result)[0], 't', 'the other cluster has it');
free();

# and while a commit waits for its standby, when its gate is free already.
$first->set(synchronous_standby_names => 'nobody');
$first->reload;
$first->poll_until(sub { $first->value('SHOW synchronous_standby_names') eq 'nobody' }, 'commits wait for a standby');
$ann->run("SET inventory_lock.early_release = 'statement'");
$ann->send(change('red'));
$first->poll_until(
    sub { $first->value('SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $ann->pid) eq 'SyncRep' }, 'one does');
is($first->error_of("SET statement_timeout = '5s'; SELECT inventory_lock.acquire_product_lock('shirt', '0 s')"),
    'IL010', 'nobody has the product before that commit is acknowledged');
$first->set(synchronous_standby_names => '');
$first->reload;
is(($ann->result)[0], 'redis', 'it is');
is($first->error_of("SELECT inventory_lock.acquire_product_lock('shirt', '10 s')"), '', 'then it can be had');

$_->quit for $ann, $more, $bob;
$_->finish($redis) for @nodes;
done_testing();
