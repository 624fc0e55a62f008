# pg_upgrade carries everything over: tables of ours and of the user's, bindings, orders, reservations,
# stored answers, fences, settings, privileges and what users built upon our functions. Servers have
# the extension preloaded meanwhile, as in production.
#
# The new server is of the version under test. INVENTORY_LOCK_OLD_SERVER names the installation to
# come from (a folder with bin/ and lib/ in which the extension is installed), such as an older major
# version; without it both are the same, and pg_upgrade does the same work.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $old = InventoryLock::Cluster->create(
    'old', redis => $redis, install_path => $ENV{INVENTORY_LOCK_OLD_SERVER});

my $line = q{'[{"variant_id": "42", "quantity": 3}, {"variant_id": "43", "quantity": 2}]'};
my $order = "place_order_locked('user', 'checkout-1', $line)";
$old->safe_psql('postgres', qq{
    SET client_min_messages = error;
    CREATE ROLE shop_app LOGIN;
    GRANT pg_monitor TO shop_app;
    GRANT USAGE ON SCHEMA shop TO shop_app;
    GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA shop TO shop_app;
    GRANT EXECUTE ON FUNCTION inventory_lock.acquire_lock(text, interval, interval) TO shop_app;
    ALTER ROLE shop_app SET inventory_lock.wait_timeout = '7s';
    CREATE SCHEMA own;
    CREATE TABLE own.products (id integer PRIMARY KEY, title text, stock integer NOT NULL);
    INSERT INTO own.products VALUES (7, 'cup', 10), (8, 'plate', 10);
    SELECT inventory_lock.bind('own', 'own.products', variant_column => 'id', on_hand_column => 'stock');
    CREATE VIEW own.busy AS SELECT key, pid FROM inventory_lock.active_locks;
    CREATE FUNCTION own.sell(integer) RETURNS bigint LANGUAGE sql
        BEGIN ATOMIC SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(\$1, 1, binding => 'own'); END;
    SELECT own.sell(7) FROM generate_series(1, 3);
    SELECT FROM inventory_lock.adjust_stock_locked(8, -4, request_key => 'r1', binding => 'own');
    SELECT FROM inventory_lock.$order;
    SELECT FROM inventory_lock.place_order_locked('user', 'checkout-2', $line);
    SELECT FROM shop.orders o, inventory_lock.cancel_order_locked(o.order_id::text, '[{"line_no": 1, "quantity": 1}]')
        WHERE idempotency_key = 'checkout-2';
    SELECT FROM inventory_lock.reserve_stock_locked('holder', '[{"variant_id": "42", "quantity": 5}]', '1 h');
    SELECT inventory_lock.assert_fence('lock:elsewhere', 5);
});
my ($answer) = $old->value("SELECT order_id, status, total, response FROM inventory_lock.$order");

# What must be the same afterwards.
sub state_of
{
    my ($node) = @_;
    return join "\n", map { $node->value($_) } (
        'SELECT * FROM inventory_lock.binding ORDER BY name',
        'SELECT * FROM inventory_lock.fence ORDER BY 1',
        'SELECT * FROM shop.stock_level ORDER BY variant_id',
        'SELECT * FROM shop.stock_movement ORDER BY movement_id',
        'SELECT * FROM shop.orders ORDER BY order_id',
        'SELECT * FROM shop.order_line ORDER BY order_id, line_no',
        'SELECT * FROM shop.reservation ORDER BY 1',
        'SELECT * FROM own.products ORDER BY id',
        'SELECT * FROM own.products_movement ORDER BY movement_id',
        'SELECT rolconfig FROM pg_roles WHERE rolname = $$shop_app$$',
        q{SELECT proname, proacl FROM pg_proc WHERE pronamespace = 'inventory_lock'::regnamespace ORDER BY oid::regprocedure::text},
        # What the owner has besides since 17 (MAINTAIN) is PostgreSQL's own.
        q{SELECT relname, regexp_replace(relacl::text, 'postgres=\w+', 'postgres=') FROM pg_class WHERE relnamespace IN ('inventory_lock'::regnamespace, 'shop'::regnamespace)
          ORDER BY relname},
        q{SELECT extversion FROM pg_extension WHERE extname = 'inventory_lock'});
}
$old->poll_until(sub { $redis->lock_keys eq '' }, 'nothing is locked');
my $before = state_of($old);
my $instance = $old->value('SELECT instance FROM inventory_lock.get_status()');
$old->stop;

my $new = InventoryLock::Cluster->new('new');
$new->init;
$new->set(
    InventoryLock::Cluster::features(),
    shared_preload_libraries => 'inventory_lock',
    max_connections => 100,
    'inventory_lock.redis_url' => $redis->url);

sub folder_of_programs
{
    my ($node) = @_;
    return $node->install_path . '/bin' if defined $node->install_path;
    my ($folder) = grep { -x "$_/pg_upgrade" } split /:/, $ENV{PATH};
    return $folder;
}
chdir PostgreSQL::Test::Utils::tempdir() or die;
my @upgrade = (
    folder_of_programs($new) . '/pg_upgrade',
    '--old-bindir' => folder_of_programs($old), '--new-bindir' => folder_of_programs($new),
    '--old-datadir' => $old->data_dir, '--new-datadir' => $new->data_dir,
    '--old-port' => $old->port, '--new-port' => $new->port,
    '--socketdir' => $new->host);
command_ok([ @upgrade, '--check' ], 'pg_upgrade finds nothing in the way');
is($redis->lock_keys, '', 'and nobody took a lock meanwhile');
command_ok(\@upgrade, 'pg_upgrade succeeds');

$new->start;
$new->wait_for_protection('redis');
note('from ' . ($old->{_pg_version} // '?') . ' to ' . $new->value('SHOW server_version'));
my $after = state_of($new);
s/^.*\bprobe\b.*\n//mg for $before, $after;
is($after, $before, 'tables, bindings, fences, settings and privileges are as before');
isnt($new->value('SELECT instance FROM inventory_lock.get_status()'), $instance, 'the new server is an instance of its own');
is($new->value("SELECT string_agg(name, ' ' ORDER BY name) FROM inventory_lock.binding b, LATERAL inventory_lock.check_binding(b.name) WHERE severity = 'error'"),
    '', 'no binding is broken');

# And it is in use.
is($new->value("SELECT order_id, status, total, response FROM inventory_lock.$order"), $answer,
    'an order sent again is answered as before the upgrade');
is($new->value("SELECT replayed FROM inventory_lock.$order"), 't', 'from what is stored');
is($new->value("SELECT replayed FROM inventory_lock.adjust_stock_locked(8, -4, request_key => 'r1', binding => 'own')"), 't',
    'so is a change in tables of the user');
is($new->value('SELECT own.sell(7)'), 6, 'functions upon ours go on');
ok($new->poll_until(sub { $new->value('SELECT count(*) FROM own.busy') eq '0' }, 'nothing is locked'), 'so do views');
is($new->error_of("SELECT inventory_lock.assert_fence('lock:elsewhere', 4)"), 'IL011', 'an old fence is refused');
is($new->value("SELECT on_hand, held FROM shop.stock_level WHERE variant_id = '42'"), '995|5', 'the reservation holds');
is($new->value("SELECT (SELECT status FROM inventory_lock.cancel_order_locked(order_id::text)) FROM shop.orders WHERE idempotency_key = 'checkout-1'"),
    'cancelled', 'an order of before is cancelled');
is( $new->value(
        q{SELECT count(*) FROM (SELECT fence <= lag(fence) OVER (PARTITION BY variant_id
          ORDER BY movement_id) AS back FROM shop.stock_movement) f WHERE back}),
    0, 'no fence went back');
is($new->value("SELECT count(*) FROM inventory_lock.verify_stock(binding => 'own') WHERE drift <> 0"), 0,
    "the user's own level and ledger agree");
is($new->error_of('ALTER EXTENSION inventory_lock UPDATE'), '', 'ALTER EXTENSION UPDATE has nothing to do');
$new->finish($redis);
done_testing();
