# The file in which the worker writes down its leases has all its space on the disk before the first
# lease, so that a disk that fills later cannot end the worker, and the server with it. Where there is
# no room for the file, locks work without it.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils qw(slurp_file system_or_bail);
use Test::More;

my $max_leases = 100_000;
my $least_bytes = $max_leases * 256;    # keys alone
my $limit = 20 * 1024 * 1024;           # more than a segment of the WAL

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main', redis => $redis, settings => { 'inventory_lock.max_leases' => $max_leases });
my $file = $node->data_dir . '/pg_stat_tmp/inventory_lock.leases';

my (undef, undef, undef, undef, undef, undef, undef, $bytes, undef, undef, undef, undef, $blocks) = stat $file;
cmp_ok($bytes, '>', $least_bytes, 'the file has room for every lease');
cmp_ok($blocks * 512, '>=', $bytes, 'and all of it is on the disk');

# As on a full disk: no file may grow as large as this one would be.
sub limit_files { return system_or_bail('prlimit', '--pid', $$, "--fsize=$_[0]:") }
$node->stop;
unlink $file or die "$file: $!";
limit_files($limit);
my $log_start = -s $node->logfile;
$node->start;
limit_files('unlimited');
$node->wait_for_protection('redis');
like(slurp_file($node->logfile, $log_start), qr/could not allocate space for file "pg_stat_tmp\/inventory_lock\.leases"/,
    'without room for the file the log says so, and locks are taken in Redis');
ok(!-e "$file.new", 'nothing of it takes up the room that is left');

$node->finish($redis);
done_testing();
