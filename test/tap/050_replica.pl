# active_locks shows the locks of others by asking the replica that redis_replica_url names: never
# the primary, not even when the replica is gone; then it warns, and the rest of the view is there.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes ();

my $redis = InventoryLock::Redis->new('primary');
$redis->start;
my $replica = InventoryLock::Redis->new('replica', replicaof => '127.0.0.1 ' . $redis->port,
    'repl-diskless-sync-delay' => 0);
$replica->start;

# The documented rights, and the one more that listing needs.
my ($documented) = slurp_file('docs/operations.md') =~ /ACL SETUSER locks on >the-password(.*?)```/s;
my @rights = grep { $_ ne '>' } split ' ', $documented;

sub replica_user
{
    my (@more) = @_;
    is($replica->command('ACL', 'SETUSER', 'looker', 'reset', 'on', 'nopass', @rights, @more),
        'OK', "a user of the replica with the documented rights and @more");
    return;
}
replica_user('+scan');

my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.redis_replica_url' => $replica->url('looker'),
        'inventory_lock.redis_command_timeout' => '3s' });

# Without the key by which the test asks how well Redis is: with lease_linger it is kept for a while.
sub look
{
    my ($columns) = @_;
    my ($out, $err) = ('', '');
    $node->psql('postgres',
        "SELECT $columns FROM inventory_lock.active_locks WHERE key <> 'inventory_lock:probe' ORDER BY key",
        stdout => \$out, stderr => \$err, on_error_die => 1);
    return ($out, $err);
}

sub replicated { return $node->poll_until(sub { $replica->lock_keys eq $redis->lock_keys }, 'replicated') }

sub commands
{
    my ($server, @names) = @_;
    my $stats = $server->command('INFO', 'commandstats');
    return join ' ', map { "$_=" . ($stats =~ /cmdstat_$_:calls=(\d+)/ ? $1 : 0) } @names;
}

sub role_is
{
    my ($state) = @_;
    return $node->poll_until(
        sub {
            $node->value("SELECT state FROM inventory_lock.redis_status WHERE role = 'replica'") eq $state;
        },
        "the replica is $state");
}
role_is('ready');
is($node->value("SELECT count(*), count(DISTINCT endpoint) FROM inventory_lock.redis_status"),
    '3|2', 'redis_status has a row for the replica');

# What others hold.
$node->poll_until(sub { $redis->lock_keys eq '' }, 'nothing is locked');
$redis->command('SET', 'inventory_lock:99', 'a-foreign-uuid', 'PX', 600000);
$redis->command('SET', 'lock:order_creation_u_k', 'pg:0123:4567:89ab', 'PX', 600000);
$redis->command('SET', 'lock:nightly', "odd \xff token");
$redis->command('RPUSH', 'lock:list', 'a');
$redis->command('SET', 'unlock:me', 'no lock');
my $session = $node->session;
$session->run('BEGIN');
$session->run("SELECT inventory_lock.adjust_stock_locked('42', -1)");
replicated();
my ($out, $err) = look('key, kind, owner, ttl_ms BETWEEN 1 AND 600000 AS ttl, "foreign", pid IS NOT NULL AS here, waiters');
$out =~ s/pg:[0-9a-f]{16,}[^|]*/ours/;
is($out, join("\n",
        'inventory_lock:42|inventory|ours|t|f|t|0',
        'inventory_lock:99|inventory|a-foreign-uuid|t|t|f|0',
        'lock:list|custom|||t|f|0',
        'lock:nightly|custom|odd ? token||t|f|0',
        'lock:order_creation_u_k|order|pg:0123:4567:89ab|t|f|f|0'),
    'every lock of others is shown, ours once, and nothing that is no lock');
is($err, '', 'without a warning');
$session->run('ROLLBACK');
unlike($replica->command('ACL', 'LOG'), qr/reason/, 'the replica denied nothing');

# The primary is not asked.
my @asking = qw(eval evalsha scan get pttl keys);
$node->poll_until(sub { $redis->lock_keys !~ /inventory_lock:42/ }, 'released');
my $before = commands($redis, @asking);
my $evals = commands($replica, 'eval');
look('key') for 1 .. 50;
is(commands($redis, @asking), $before, 'fifty looks: not one command more on the primary');
cmp_ok((commands($replica, 'eval') =~ /(\d+)/)[0] - ($evals =~ /(\d+)/)[0], '>=', 50,
    'for the replica is asked');

# Many sessions at once share a list, and each is answered.
my @crowd = map { $node->session } 1 .. 12;
$_->send("SELECT count(*) FROM inventory_lock.active_locks") for @crowd;
is(join(' ', map { ($_->result)[0] } @crowd), join(' ', (4) x 12), 'twelve sessions at once all see it');
$_->quit for @crowd;

# More than there is room for.
my @many = map { ("lock:many$_", 'x') } 1 .. 600;
$redis->command('MSET', @many);
replicated();
($out, $err) = look('key');
is(scalar(split /\n/, $out), 512, 'a bounded number is shown');
like($err, qr/WARNING:  not all locks held elsewhere are shown/, 'and a warning says that there are more');
$redis->command('DEL', map { "lock:many$_" } 1 .. 600);
replicated();

# A replica that is silent: the view waits for no longer than redis_command_timeout; who is tired of
# waiting can cancel; the worker goes on serving locks.
$session->run('BEGIN');
$session->run("SELECT inventory_lock.adjust_stock_locked('42', -1)");
$replica->freeze;
my $waiting = $node->session;
$waiting->send('SELECT count(*) FROM inventory_lock.active_locks');
my $asks = "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = " . $waiting->pid;
$node->poll_until(sub { $node->value($asks) eq 't' }, 'it waits for the replica');
$node->value('SELECT pg_cancel_backend(' . $waiting->pid . ')');
is($waiting->sent_error, '57014', 'a look can be cancelled');
$waiting->quit;
$before = commands($redis, @asking);
my $started = Time::HiRes::time();
($out, $err) = look('key');
cmp_ok(Time::HiRes::time() - $started, '<', 5, 'a silent replica holds nobody up for long');
is($out, 'inventory_lock:42', 'what this server holds is shown all the same');
like($err, qr/WARNING:  locks held elsewhere are not shown: asking the Redis replica failed/, 'with a warning');
is($node->protection, 'redis', 'locks are taken as ever');
$replica->thaw;
role_is('ready');

# A replica that is gone.
$replica->kill9;
role_is('down');
$before = commands($redis, @asking);
($out, $err) = look('key');
is($out, 'inventory_lock:42', 'without the replica this server is shown');
like($err, qr/DETAIL:  .+\nHINT:  The view inventory_lock.redis_status/, 'the warning says why and where to look');
is(commands($redis, @asking), $before, 'and the primary is left alone');
is($node->protection, 'redis', 'locks are taken as ever');
like(slurp_file($node->logfile), qr/connection to Redis at 127\.0\.0\.1:@{[$replica->port]}.* failed/, 'the log says it');
is(scalar(() = slurp_file($node->logfile) =~ /connection to Redis at 127\.0\.0\.1:@{[$replica->port]}/g),
    2, 'once each time');

# It is back, first with too few rights.
$replica->start;
replica_user();
role_is('ready');
($out, $err) = look('key');
is($out, 'inventory_lock:42', 'a user without SCAN lists nothing');
like($err, qr/DETAIL:  .*(NOPERM|can.t run this command|no permissions)/, 'and the warning says what is missing');
replica_user('+scan');
replicated();
($out, $err) = look('key');
like($out, qr/inventory_lock:42\ninventory_lock:99\nlock:list/, 'all is as before');
is($err, '', 'without a warning');
$session->run('ROLLBACK');
$session->quit;

# Switched off.
$node->append_conf('postgresql.conf', "inventory_lock.redis_replica_url = ''");
$node->reload;
$node->poll_until(sub { $node->value('SELECT count(*) FROM inventory_lock.redis_status') == 2 }, 'off');
$node->poll_until(sub { (look('key'))[0] eq '' }, 'nothing is asked any more');
is((look('key'))[1], '', 'without a setting there is nothing to warn of');

$redis->command('DEL', qw(inventory_lock:99 lock:order_creation_u_k lock:nightly lock:list unlock:me));
$replica->stop;
$node->finish($redis);
done_testing();
