# lease_linger: leases that are only kept for their next user give way when the lease table fills, so
# that there is room for as many keys in use as without it.

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
    settings => { 'inventory_lock.lease_linger' => '20s', 'inventory_lock.max_leases' => 64 });
my $session = $node->session;

sub lingering { return $node->value(q{SELECT count(*) FROM inventory_lock.active_locks}) }

$session->run("SELECT inventory_lock.acquire_lock('first')");
cmp_ok(lingering(), '>=', 1, 'a lease lingers');

# One key after the other, many more than the table has room for.
my $refused = grep { $session->error_of("SELECT inventory_lock.acquire_lock('one_$_')") ne '' } 1 .. 300;
is($refused, 0, 'keys that nobody uses leave room for others');
$node->poll_until(
    sub { $node->value('SELECT leases_used FROM inventory_lock.get_status()') <= 32 }, 'half of the table is free');
$session->run("SELECT inventory_lock.acquire_lock('again')");
cmp_ok(lingering(), '>=', 1, 'and linger again when there is room');

# Many keys in use at once, while others linger.
$session->run('BEGIN');
$refused = grep { $session->error_of("SELECT inventory_lock.acquire_lock('all_$_')") ne '' } 1 .. 56;
is($refused, 0, 'nearly all of the table can be in use');
$session->run('ROLLBACK');
$session->quit;

$node->set('inventory_lock.lease_linger' => '0');
$node->reload;
$node->finish($redis);
done_testing();
