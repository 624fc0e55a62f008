# What administrators see of a key and do to it: who is in the way, what a role may free, and what is
# said where there is no Redis.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create('main', redis => $redis);
$node->wait_for_protection('redis');

# A key that somebody else has protects nobody here.
my $waiter = $node->session;
$redis->command('SET', 'lock:theirs', 'foreign', 'PX', 600000);
$waiter->send("SELECT inventory_lock.acquire_lock('theirs') > 0");
$node->wait_at_lease($waiter->pid);
my $look = q{SELECT pid, owner, "foreign", protection FROM inventory_lock.active_locks WHERE key = 'lock:theirs'};
is($node->value($look), '|foreign|t|', 'a key that is waited for has an owner, and no protection');
$redis->command('DEL', 'lock:theirs');
is(($waiter->result)[0], 't', 'it is free');

# Whoever may free keys needs the right to cancel whom they are taken from.
$node->safe_psql('postgres', q{
    CREATE ROLE clerk LOGIN;
    CREATE ROLE warden LOGIN;
    GRANT EXECUTE ON FUNCTION inventory_lock.acquire_lock(text, interval, interval) TO clerk;
    GRANT EXECUTE ON FUNCTION inventory_lock.force_release_lock(text) TO warden;
    GRANT USAGE ON SCHEMA inventory_lock TO clerk, warden});
my ($clerk, $warden) = map { InventoryLock::Session->new($node->connstr('postgres') . " user=$_") } qw(clerk warden);
my $force = "SELECT inventory_lock.force_release_lock('lock:held')";
$clerk->run('BEGIN');
$clerk->run("SELECT inventory_lock.acquire_lock('held')");
is($warden->error_of($force), '42501', "another role's session is not cancelled");
is($redis->command('EXISTS', 'lock:held'), '1', 'and its key stays');
is($clerk->error_of('COMMIT'), '', 'it commits');
$redis->command('SET', 'lock:held', 'foreign', 'PX', 600000);
is($warden->run($force), 't', "a foreign client's key is freed");
$node->safe_psql('postgres', 'GRANT pg_signal_backend TO warden');
$clerk->run('BEGIN');
$clerk->run("SELECT inventory_lock.acquire_lock('held')");
$clerk->send('SELECT count(*) FROM generate_series(1, 1000000000000)');
$node->poll_until(
    sub { $node->value('SELECT query FROM pg_stat_activity WHERE pid = ' . $clerk->pid) =~ /generate_series/ }, 'it is at work');
is($warden->run($force), 't', 'with that right it is');
is($clerk->sent_error, '57014', 'and is told');
$clerk->run('ROLLBACK');

# Without Redis nothing is said of one that does not answer.
$node->set('inventory_lock.redis_url' => '');
$node->reload;
$node->poll_until(sub { $node->value('SHOW inventory_lock.redis_url') eq '' }, 'there is no Redis');
for my $call ('force_release_lock', 'lock_token')
{
    my $err = '';
    $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT inventory_lock.$call('lock:held')", stderr => \$err, on_error_stop => 0);
    like($err, qr/IL012: locks in Redis are not configured.*redis_url is empty.*HINT:  Set it/s, "$call says what is missing");
}
my $warning = '';
$node->psql('postgres', "SELECT inventory_lock.acquire_lock('here')", stderr => \$warning);
like($warning, qr/WARNING:  locks in Redis are not configured.*redis_url is empty.*HINT:  Set it/s, 'so does a lock');

$_->quit for $waiter, $clerk, $warden;
$node->finish($redis);
done_testing();
