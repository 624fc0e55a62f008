# Logging in to Redis: an ACL user with exactly the documented rights, the password from a file that
# only the server may read, a wrong password, and one that is changed while the server runs.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my @rights = qw(+eval +evalsha +script|load +get +mget +set +del +pttl +pexpire +exists +time +ping +select
  +info +publish +subscribe +object|idletime +client|id +client|tracking +client|kill
  ~inventory_lock:* ~lock:* ~il:* &il:recall:* &__redis__:invalidate);

sub user
{
    my ($password) = @_;
    is($redis->command('ACL', 'SETUSER', 'locker', 'reset', 'on', ">$password", @rights),
        'OK', 'an ACL user with the documented rights');
    return;
}
user('first secret');

my $password_file = PostgreSQL::Test::Utils::tempdir() . '/password';

sub password
{
    my ($password) = @_;
    unlink $password_file;
    append_to_file($password_file, "$password\n");
    chmod 0600, $password_file;
    return;
}
password('first secret');

my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.redis_url' => $redis->url('locker'),
        'inventory_lock.redis_password_file' => $password_file,
        'shared_memory_type' => 'sysv',
        'inventory_lock.breaker_cooldown' => '200ms' });
pass('works with exactly the documented rights');

# Also the ways that use other commands: a contended key with wake-up, an order, a refused commit.
$redis->command('SET', 'inventory_lock:42', 'foreign', 'PX', 60000);
my $session = $node->session;
$session->send("SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)");
$node->wait_at_lease($session->pid);
$redis->command('DEL', 'inventory_lock:42');
my ($out) = $session->result;
is($out, 'redis', 'waiting for a foreign key works with these rights');
$session->quit;
unlike($redis->command('ACL', 'LOG'), qr/reason/, 'Redis denied nothing');

# The password stands nowhere.
unlike($node->value('SELECT string_agg(setting, chr(10)) FROM pg_settings'), qr/first secret/,
    'no setting shows the password');
unlike(slurp_file($node->logfile), qr/first secret/, 'the log does not show it');
unlike($node->value('SELECT inventory_lock.status()::text'), qr/first secret/, 'nor does status()');

# All of the server's shared memory, as a core dump would have it.
my (undef, $segment) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^ *(\d+) +(\d+) *$/m;
my ($bytes) = map { (split)[3] } grep { (split)[1] eq $segment } split /\n/, slurp_file('/proc/sysvipc/shm');
ok(defined $bytes && shmread($segment, my $memory, 0, $bytes), 'shared memory can be read');
like($memory, qr{127\.0\.0\.1:@{[$redis->port]}/0}, 'in it stands where Redis is');
unlike($memory, qr/first secret/, 'but no password');

# A wrong password: degraded, and the log says why. The right one: back.
password('wrong secret');
$node->reload;
$node->poll_until(
    sub {
        $redis->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        $node->protection eq 'database';
    },
    'degraded with a wrong password');
pass('a wrong password degrades');
$node->poll_until(sub { slurp_file($node->logfile) =~ /WRONGPASS|password|auth/i }, 'the log says why');
unlike(slurp_file($node->logfile), qr/wrong secret/, 'without showing the password');
password('second secret');
user('second secret');
$node->reload;
$node->wait_for_protection('redis');
pass('the new password is taken on reload');

# A file that others can read is not used.
chmod 0644, $password_file;
$node->reload;
$node->poll_until(
    sub {
        $redis->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
        $node->protection eq 'database';
    },
    'degraded with a password file that others can read');
pass('a password file that others can read is refused');
chmod 0600, $password_file;
$node->reload;
$node->wait_for_protection('redis');

$node->finish($redis);
done_testing();
