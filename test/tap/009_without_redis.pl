# Not configured, not preloaded, refused, or fallback forbidden: what a call says and does.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $call = "SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)";

# Preloaded, but no redis_url.
my $node = InventoryLock::Cluster->create('unconfigured');
my $session = $node->session;
is($session->run($call), 'database', 'without redis_url a call uses database locks');
is(scalar(my @one = $session->warnings), 1, 'and warns');
$session->run($call);
is(scalar(my @none = $session->warnings), 0, 'once per session');

$session->quit;
$node->finish(undef);

# Not preloaded.
$node = InventoryLock::Cluster->create('plain', settings => { shared_preload_libraries => '' });
$session = $node->session;
is($session->run($call), 'database', 'without shared_preload_libraries a call uses database locks');
is(scalar(my @first = $session->warnings), 1, 'and warns');
like($node->value('SELECT inventory_lock.status()::text'), qr/preload/,
    'status() says that the library is not preloaded');
my $other = $node->session;
$session->run('BEGIN');
$session->run($call);
$other->send('SELECT quantity_after FROM inventory_lock.adjust_stock_locked($$42$$, -1)');
$node->wait_at_gate(1);
$session->run('COMMIT');
my ($after) = $other->result;
is($after, 997, 'transactions of one server exclude each other at the gate all the same');
$session->quit;
$other->quit;
$node->finish(undef);

# Fallback forbidden.
my $redis = InventoryLock::Redis->new('main');
$redis->start;
$node = InventoryLock::Cluster->create(
    'strict',
    redis => $redis,
    settings => {
        'inventory_lock.lease_linger' => 0,    # a lease that lingers serves for a while without Redis
        'inventory_lock.on_redis_failure' => 'error',
        'inventory_lock.breaker_failures' => 2,
        'inventory_lock.breaker_cooldown' => '1s' });
$session = $node->session;
is($session->run($call), 'redis', 'with Redis a call is protected by it');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'its lease is gone, which would serve once more');
$redis->kill9;
is($session->error_of($call), 'IL012', 'without, the call is refused when fallback is off');
is($session->error_of($call), 'IL012', 'and again') for 1 .. 3;
my $started = Time::HiRes::time();
is($session->error_of($call), 'IL012', 'once the breaker is open') for 1 .. 20;
cmp_ok((Time::HiRes::time() - $started) / 20, '<', 0.1, 'at once');
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"), 999,
    'refused calls change nothing');
$session->run('BEGIN');
$session->run("SET LOCAL inventory_lock.on_redis_failure = fallback");
is($session->run($call), 'database', 'a superuser may allow the fallback for one transaction');
$session->run('COMMIT');
$redis->start;
$node->poll_until(sub { $node->error_of($call) eq '' }, 'calls are served again');
pass('served again when Redis is back');
$session->quit;

# The log says what happened, once per change of state.
my $log = slurp_file($node->logfile);
my $opened = () = $log =~ /LOG:.*redis.*(unavailable|open|fail)/gi;
cmp_ok($opened, '>=', 1, 'the log says that Redis was lost');
cmp_ok($opened, '<=', 3, 'and does not repeat itself');

$node->finish($redis);
done_testing();
