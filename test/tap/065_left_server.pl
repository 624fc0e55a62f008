# Redis has moved: what is still open on the server that was left does not spoil the new one, and is
# forgotten when its time is over, also if that server is dead.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my ($old, $new) = map { InventoryLock::Redis->new($_) } qw(old new);
$_->start for $old, $new;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $old,
    settings => {
        'inventory_lock.lease_linger' => 0,
        'inventory_lock.breaker_failures' => 3,
        'inventory_lock.custom_ttl' => '5s' });
$node->wait_for_protection('redis');
my $used = 'SELECT leases_used FROM inventory_lock.get_status()';
my $session = $node->session;

sub move_to
{
    my ($redis) = @_;
    $node->set('inventory_lock.redis_url' => $redis->url);
    $node->reload;
    return $node->poll_until(
        sub { $node->value(q{SELECT bool_and(state = 'ready' AND endpoint LIKE '%:} . $redis->port . q{%') FROM inventory_lock.redis_status}) eq 't' },
        'connected to the other server');
}

# The old server refuses what is released there, again and again.
$session->run('BEGIN');
$session->run("SELECT count(inventory_lock.acquire_lock('old' || i)) FROM generate_series(1, 8) i");
move_to($new);
$old->command('CONFIG', 'SET', 'min-replicas-to-write', 1);
my $offset = -s $node->logfile;
$session->run('COMMIT');
my $refused = sub { $old->command('INFO', 'errorstats') =~ /NOREPLICAS:count=(\d+)/ ? $1 : 0 };
$node->poll_until(sub { $refused->() >= 16 }, 'releases are refused');
is($node->value(q{SELECT inventory_lock.status()->>'breaker'}), 'closed', 'errors of the old server do not count');
unlike(slurp_file($node->logfile, $offset), qr/Redis does not answer/, 'and did not');
is($node->value(q{SELECT inventory_lock.acquire_lock('old1', '2 s') > 0}), 't', 'a key that it does not let go of can be had on the new one');
is($node->protection, 'redis', 'which protects');
$node->poll_until(sub { $node->value($used) == 0 }, 'all of it is over after the TTL');

# The old server dies before it has heard of a release.
$session->run('BEGIN');
$session->run("SELECT count(inventory_lock.acquire_lock('dead' || i)) FROM generate_series(1, 8) i");
$new->kill9;
$session->error_of('COMMIT');
$old->command('CONFIG', 'SET', 'min-replicas-to-write', 0);
move_to($old);
$node->poll_until(sub { $node->value($used) == 0 }, 'what was open on it is forgotten');
ok(1, 'nothing is left in the lease table of a server that is dead');

$session->quit;
$node->finish($old);
done_testing();
