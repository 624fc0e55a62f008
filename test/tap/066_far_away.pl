# A cluster that is further away from Redis than the other one has its share of a key that both are busy
# on; and an answer that comes twice is not taken for the answer to another request.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Proxy;
use InventoryLock::Redis;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $proxy = InventoryLock::Proxy->new($redis);
my %settings = (
    'inventory_lock.redis_pool_size' => 1,
    'inventory_lock.redis_command_timeout' => '5s',
    'synchronous_commit' => 'off');
my ($near, $far) = map {
    InventoryLock::Cluster->create(
        $_->[0], settings => { %settings, 'inventory_lock.redis_url' => $_->[1]->url }) } ['near', $redis], ['far', $proxy];
$_->wait_for_protection('redis') for $near, $far;

# Two requests are on their way, and the answer to the first comes twice. The second one's key is not free.
my @sessions = map { $far->session } 1 .. 2;
$redis->command('SET', 'lock:second', 'foreign', 'PX', 600000);
$proxy->tell('rule requests delay ms=500 n=1 match=lock:first');
$proxy->tell('rule replies double n=1 match=granted');
$sessions[0]->send("SELECT count(inventory_lock.acquire_lock('first', '10 s'))");
$far->wait_at_lease($sessions[0]->pid);
$sessions[1]->send("SELECT inventory_lock.acquire_lock('second', '3 s')");
is(($sessions[0]->result)[0], '1', 'the first one has its key');
is($sessions[1]->sent_error, 'IL010', 'the second one does not');
is($redis->command('GET', 'lock:second'), 'foreign', 'it is still the other client\'s');
$redis->command('DEL', 'lock:second');
$far->wait_for_protection('redis');

# Thirty milliseconds away, where the other one is there in one.
$proxy->tell('rule replies delay ms=30');
my $moment = '3 ms';    # each holds the key for a moment, so that there is always another one waiting
my $script = PostgreSQL::Test::Utils::tempdir() . '/busy.sql';
append_to_file($script, "BEGIN;\nSELECT FROM inventory_lock.adjust_stock_locked('probe', -1);\n\\sleep $moment\nCOMMIT;\n");
my $grants = "SELECT count(*) FROM shop.stock_movement WHERE variant_id = 'probe' AND protection = 'redis'";
my @before = map { $_->value($grants) } $near, $far;
my @runs = map {
    my ($out, $err) = ('', '');
    IPC::Run::start(
        [ 'pgbench', '-n', '-c', '6', '-T', '16', '-f', $script, '-h', $_->host, '-p', $_->port, 'postgres' ],
        '<', \undef, '>', \$out, '2>', \$err);
} $near, $far;
$_->finish for @runs;
my ($of_near, $of_far) = map { $_->[0]->value($grants) - $_->[1] } [$near, $before[0]], [$far, $before[1]];
note("grants: $of_near near, $of_far far");
cmp_ok($of_far / ($of_near + $of_far), '>', 0.25, 'the one further away has its share');
$proxy->tell('clear');

$_->quit for @sessions;
$_->finish($redis) for $near, $far;
done_testing();
