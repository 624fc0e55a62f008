# PgBouncer in transaction mode: many clients share few server connections, holds end with their
# transactions, and nothing of one client's reaches the next.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => { 'inventory_lock.lease_linger' => 0 });    # a key goes with its statement
$node->safe_psql('postgres', 'CREATE ROLE buyer LOGIN SUPERUSER');

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
my ($host, $server_port) = ($node->host, $node->port);
append_to_file("$folder/pgbouncer.ini", <<"CONFIG");
[databases]
postgres = host=$host port=$server_port user=buyer
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir = $folder
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 300
logfile = $folder/pgbouncer.log
CONFIG
my $bouncer = fork // die "fork: $!";
if ($bouncer == 0)
{
    chdir $folder or die;
    open STDOUT, '>', "$folder/out" or die;
    open STDERR, '>&', \*STDOUT or die;
    exec 'pgbouncer', "$folder/pgbouncer.ini" or POSIX::_exit(127);
}
END
{
    my $status = $?;
    if ($bouncer) { kill 'KILL', $bouncer; waitpid $bouncer, 0 }
    $? = $status;
}
my $through = "host=127.0.0.1 port=$port user=buyer dbname=postgres";
$node->poll_until(sub { system("psql -XAtqc 'SELECT 1' '$through' >/dev/null 2>&1") == 0 },
    'PgBouncer answers');

# 200 clients through 5 connections on two keys, a third of them rolling back.
my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
append_to_file($script, <<'SQL');
\set third random(1, 3)
BEGIN;
SELECT FROM inventory_lock.adjust_stock_locked((42 + :client_id % 2)::text, -1);
\if :third = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
command_ok(
    [
        'pgbench', '--no-vacuum', '--client', 200, '--jobs', 2, '--transactions', 5, '--file', $script,
        '--protocol', 'simple', $through
    ],
    '200 clients through 5 server connections, 1,000 transactions');
my $sold = $node->value("SELECT count(*) FROM shop.stock_movement WHERE variant_id IN ('42', '43')");
is($node->value("SELECT 2000 - sum(on_hand) FROM shop.stock_level WHERE variant_id IN ('42', '43')"),
    $sold, 'the stock fell by exactly what was committed');
cmp_ok($sold, '>', 400, 'most were committed');
cmp_ok($sold, '<', 900, 'and many rolled back');
$node->nothing_left($redis, 'after the load');

# No session state: the next client on the same server connection holds nothing.
is( `psql -XAtq '$through' -c "SELECT inventory_lock.try_acquire_lock('a') > 0"`, "t\n",
    'a lock taken outside a transaction block');
is($redis->lock_keys, '', 'ends with its statement');

# A client that vanishes in its transaction: PgBouncer drops the server connection, the key goes.
my ($in, $out) = ('', '');
my $client = IPC::Run::start([ 'psql', '-XAtq', $through ], '<', \$in, '>', \$out);
$in = "BEGIN; SELECT inventory_lock.acquire_lock('gone') > 0;\n";
$client->pump until $out =~ /t/;
is($redis->lock_keys, 'lock:gone', 'a client holds a lock');
$client->kill_kill;
$node->nothing_left($redis, 'after its client vanished');

kill 'INT', $bouncer;
waitpid $bouncer, 0;
$bouncer = 0;
$node->finish($redis);
done_testing();
