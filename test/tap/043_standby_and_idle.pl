# Where nothing can be locked, and what ends by itself: on a hot standby reads answer and everything
# that locks or writes is refused with 25006; a session that sits idle in its transaction is ended by
# PostgreSQL's own time-out, and its lock goes with it; what logical replication applies calls us
# through ENABLE ALWAYS triggers alone.

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
        'inventory_lock.inventory_ttl' => '60s',
        'inventory_lock.redis_replica_url' => $redis->url,
        wal_level => 'replica',
        max_wal_senders => 5 });

# Idle in a transaction.
my $idle = $node->session;
$idle->run("SET idle_in_transaction_session_timeout = '300ms'");
$idle->run('BEGIN');
$idle->run("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
is($node->error_of("SELECT FROM inventory_lock.adjust_stock_locked('42', -1, wait_timeout => '20s')"),
    '', 'the next one gets the lock long before its time to live is over');
$idle->abandon;
$node->nothing_left($redis, 'after the time-out');
is($node->value("SELECT sum(delta) FROM shop.stock_movement WHERE variant_id = '42'"), -1,
    'nothing of the idle transaction was written');

# A hot standby.
$node->backup('standby');
my $standby = InventoryLock::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup('standby');
for my $call ("adjust_stock_locked('42', -1)", "acquire_lock('x')", "acquire_stock_lock('42')", "lock_token('inventory_lock:42')",
    qq{place_order_locked('u', 'k', '[{"variant_id": "42", "quantity": 1}]')})
{
    is($standby->error_of("SELECT * FROM inventory_lock.$call"), '25006', "standby: $call");
}
for my $call ("stock('42')", 'verify_stock()', 'active_locks', 'redis_status', 'stat', 'status()')
{
    is($standby->error_of("SELECT * FROM inventory_lock.$call"), '', "standby: $call answers");
}
$standby->psql('postgres', 'SELECT * FROM inventory_lock.active_locks', stderr => \my $warnings);
is($warnings, '', 'standby: active_locks does not warn of a worker that cannot be there');
is($standby->value("SELECT inventory_lock.status() ->> 'reason'"), 'the server is a standby', 'standby: status() says what it is');
like($standby->value('SELECT inventory_lock.metrics()'), qr/^inventory_lock_in_recovery 1$/m, 'so does metrics()');
$standby->stop;

# Logical replication from another server: an ordinary trigger is not run by what is applied.
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->start;
for my $server ($publisher, $node)
{
    $server->safe_psql('postgres', 'CREATE TABLE sold (id int PRIMARY KEY, variant text)');
}
$publisher->safe_psql('postgres', 'CREATE PUBLICATION sold FOR TABLE sold');
$node->safe_psql('postgres', q{
    CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM inventory_lock.decrement_stock_on_purchase(NEW.variant, 1);
        RETURN NEW;
    END $$;
    CREATE TRIGGER take AFTER INSERT ON sold FOR EACH ROW EXECUTE FUNCTION take();
});
$node->safe_psql('postgres', sprintf q{CREATE SUBSCRIPTION sold CONNECTION '%s dbname=postgres' PUBLICATION sold},
    $publisher->connstr);
my $sold = sub { $node->value("SELECT -coalesce(sum(delta), 0) FROM shop.stock_movement WHERE kind = 'sale'") };
my $applied = sub {
    my ($id) = @_;
    $publisher->safe_psql('postgres', "INSERT INTO sold VALUES ($id, '42')");
    $node->poll_until(sub { $node->value("SELECT count(*) FROM sold WHERE id = $id") == 1 }, "row $id arrives");
};
$applied->(1);
is($sold->(), 0, 'an ordinary trigger is not run');
$node->safe_psql('postgres', 'ALTER TABLE sold ENABLE ALWAYS TRIGGER take');
$applied->(2);
is($sold->(), 1, 'an ENABLE ALWAYS trigger is');
is($node->value("SELECT protection FROM shop.stock_movement WHERE kind = 'sale'"), 'redis',
    'and locks as everywhere');
$node->safe_psql('postgres', 'DROP SUBSCRIPTION sold');
$publisher->stop;

$node->finish($redis);
done_testing();
