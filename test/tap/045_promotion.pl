# A standby is promoted under load: the primary dies by SIGKILL, then its successor by an immediate
# stop, each time in the middle of sales, and with a lease that is held for certain: those of the
# sales come and go. The new primary's worker starts with the promotion, as an instance of its own; it
# leaves the dead server's leases alone until their time to live has passed; then sales go on. Whatever
# a client was told is in the ledger, and fences go on growing.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $clients = 8;
my $ttl_s = 10;
my $stock = 1_000_000;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $primary = InventoryLock::Cluster->create(
    'first',
    redis => $redis,
    settings => {
        # The locks wait for the standby with the sale, so that most moments find some in Redis.
        'inventory_lock.early_release' => 'off',
        'inventory_lock.inventory_ttl' => "${ttl_s}s",
        'wal_level' => 'replica',
        'max_wal_senders' => 5,
        'hot_standby' => 'on' });
$primary->value("INSERT INTO shop.stock_level (variant_id, on_hand) SELECT 'sku' || i, $stock FROM generate_series(0, 9) i");
$primary->value("INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('held', $stock)");

# Half of the sales are of one hot variant, half of ten others.
my $script = PostgreSQL::Test::Utils::tempdir() . '/sell.sql';
append_to_file($script, <<'END');
\set hot random(0, 1)
\set cold random(0, 9)
SELECT * FROM inventory_lock.adjust_stock_locked(CASE WHEN :hot = 1 THEN 'sku0' ELSE 'sku' || :cold END, -1);
END

# Begins to sell. done() then says how many sales were acknowledged, and how pgbench ended.
sub sell
{
    my ($node, @how) = @_;
    my $run = { out => '', err => '' };
    $run->{pgbench} = IPC::Run::start(
        [ 'pgbench', '--no-vacuum', '--client', $clients, '--jobs', 2, @how, '--file', $script,
          '--host', $node->host, '--port', $node->port, 'postgres' ],
        '<', \undef, '>', \$run->{out}, '2>', \$run->{err}, IPC::Run::timeout(180));
    return $run;
}

sub done
{
    my ($run) = @_;
    my $good = IPC::Run::finish($run->{pgbench});
    my ($count) = $run->{out} =~ /number of transactions actually processed: (\d+)/;
    return ($good, $count // 0);
}

sub sold { return $_[0]->value("SELECT count(*) FROM shop.stock_movement WHERE variant_id LIKE 'sku%'") }

my $acknowledged = 0;
my $in_doubt = 0;
for my $death ('SIGKILL', 'an immediate stop')
{
    my $name = $death eq 'SIGKILL' ? 'second' : 'third';
    $primary->backup($name);
    my $standby = InventoryLock::Cluster->new($name);
    $standby->init_from_backup($primary, $name, has_streaming => 1);
    $standby->set('synchronous_standby_names' => '');
    $standby->start;
    # Acknowledged means: on the standby.
    $primary->set('synchronous_standby_names' => '*');
    $primary->reload;
    $primary->poll_until(
        sub { $primary->value('SELECT sync_state FROM pg_stat_replication') eq 'sync' }, 'a synchronous standby');
    is($standby->worker_pid, '', "$death: the standby has no worker");
    is($standby->error_of("SELECT * FROM inventory_lock.adjust_stock_locked('sku0', -1)"), '25006',
        "$death: and locks nothing");

    my $before = sold($primary);
    my $run = sell($primary, '--time', 120);
    $primary->poll_until(sub { sold($primary) > $before + 300 }, 'sales are under way');
    my $instance = $primary->value('SELECT instance FROM inventory_lock.get_status()');
    my $holder = $primary->session;
    $holder->run('BEGIN');
    $holder->run("SELECT * FROM inventory_lock.adjust_stock_locked('held', -1)");
    $death eq 'SIGKILL' ? $primary->kill9_and_wait : $primary->stop('immediate');
    my ($good, $count) = done($run);
    ok(!$good, "$death: the clients lost their server");
    cmp_ok($count, '>=', 200, "$death: in the middle of sales");
    $acknowledged += $count;
    $in_doubt += $clients;
    my $token = $redis->command('GET', 'inventory_lock:held');
    like($token, qr/^pg:$instance:/, "$death: the dead server's lease is left in Redis");

    $standby->promote;
    $standby->poll_until(sub { $standby->worker_pid ne '' }, 'a worker');
    $standby->wait_for_protection('redis');
    isnt($standby->value('SELECT instance FROM inventory_lock.get_status()'), $instance,
        "$death: the new primary is an instance of its own");
    is($standby->error_of("SELECT * FROM inventory_lock.adjust_stock_locked('held', -1, wait_timeout => '0')"),
        'IL010', "$death: it does not take what the dead one may still hold");
    is($redis->command('GET', 'inventory_lock:held'), $token, "$death: and leaves it alone");
    my $stored = sold($standby);
    cmp_ok($stored, '>=', $acknowledged, "$death: every sale that was acknowledged is there");
    cmp_ok($stored, '<=', $acknowledged + $in_doubt, "$death: and at most those besides that were under way");

    my $started = Time::HiRes::time();
    ($good, $count) = done(sell($standby, '--transactions', 50));
    ok($good, "$death: all clients sell on at the new primary");
    is($count, 50 * $clients, "$death: every one of their sales");
    is($standby->value("SELECT protection FROM inventory_lock.adjust_stock_locked('held', -1)"), 'redis',
        "$death: what the dead one held is sold as well");
    cmp_ok(Time::HiRes::time() - $started, '<', $ttl_s + 20, "$death: as soon as the old lease has expired");
    $acknowledged += $count;
    is($standby->value("SELECT count(*) FROM shop.stock_movement WHERE protection <> 'redis'"), 0,
        "$death: under a lock in Redis, all of them");
    is( $standby->value(
            q{SELECT count(*) FROM (SELECT fence <= lag(fence) OVER (PARTITION BY variant_id
              ORDER BY movement_id) AS back FROM shop.stock_movement) f WHERE back}),
        0, "$death: no fence went back");
    is($standby->value("SELECT sum($stock - on_hand) FROM shop.stock_level WHERE variant_id LIKE 'sku%'"),
        sold($standby), "$death: the levels are what the sales left");
    $standby->ledger_agrees;
    $primary = $standby;
}

$primary->finish($redis);
done_testing();
