# A lease is renewed exactly as long as a living transaction wants it: through three times to live, not
# without interest, never behind its release, not past max_hold. The shortest time to live allowed works with the default margin.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        'inventory_lock.inventory_ttl' => '2s',
        'inventory_lock.commit_margin' => '200ms' });
my $adjust = "SELECT protection FROM inventory_lock.adjust_stock_locked";

sub counter
{
    my ($name) = @_;
    return $node->value("SELECT value FROM inventory_lock.get_counters() WHERE kind IS NULL AND name = '$name'");
}

# The key's own history, as Redis tells it: the smallest and largest rest of its time to live.
sub watch
{
    my ($key, $seconds) = @_;
    my ($least, $tokens, $end) = (1e9, {}, time + $seconds);
    while (time < $end)
    {
        my ($ttl, $token) = ($redis->command('PTTL', $key), $redis->command('GET', $key));
        $least = $ttl if $ttl < $least;
        $tokens->{$token}++;
    }
    return ($least, join ' ', sort keys %$tokens);
}

# Three times to live.
my $session = $node->session;
$session->run('\set VERBOSITY verbose');
$session->run('BEGIN');
is($session->run("$adjust('42', -1)"), 'redis', 'a stock change is protected');
my $token = $redis->command('GET', 'inventory_lock:42');
my $before = counter('renewals');
my ($least, $tokens) = watch('inventory_lock:42', 6);
is($tokens, $token, 'one token throughout three times to live');
cmp_ok($least, '>', 700, 'renewed in good time');
my $renewals = counter('renewals') - $before;
cmp_ok($renewals, '>=', 6, 'renewed at a third of the time to live');
cmp_ok($renewals, '<=', 12, 'and not more often than that');
$session->run('COMMIT');
$node->nothing_left($redis, 'after the long transaction');

# Nothing is sent for keys without interest.
$session->run("$adjust('42', -1)");
$node->poll_until(sub { $redis->lock_keys eq '' }, 'the key is gone');
$redis->command('CONFIG', 'RESETSTAT');
$before = counter('renewals');
my $end = time + 2.5;
$node->poll_until(sub { time > $end }, 'more than one time to live has passed');
is(counter('renewals'), $before, 'no renewal without interest');
unlike($redis->command('INFO', 'commandstats'), qr/cmdstat_eval/, 'no script was run for idle keys');

# On the wire, nothing is renewed behind its release: everything that Redis was told, read in order while
# keys are held for a while and let go.
my $log = PostgreSQL::Test::Utils::tempdir() . '/monitor';
my $monitor = IPC::Run::start([ 'redis-cli', '-h', '127.0.0.1', '-p', $redis->port, 'MONITOR' ], '<', \undef, '>', $log);
$node->poll_until(sub { -s $log }, 'Redis tells what it is told');
for my $round (1 .. 10)
{
    $session->run('BEGIN');
    $session->run("$adjust('42', -1)");
    $session->run("$adjust('43', -1)");
    $before = counter('renewals');
    $node->poll_until(sub { counter('renewals') >= $before + 2 }, 'renewed') if $round % 5 == 0;
    $session->run('COMMIT');
    $session->run("$adjust('43', -1)");
    $node->poll_until(sub { $redis->lock_keys eq '' }, 'the keys are gone');
}
$redis->command('ECHO', 'that is all');
$node->poll_until(sub { slurp_file($log) =~ /that is all/ }, 'all is told');
$monitor->kill_kill;
my (%released, @renewed, @behind);
for my $line (grep { /"EVALSHA"/ } split /\n/, slurp_file($log))
{
    my (undef, undef, $keys, @words) = $line =~ /"((?:[^"\\]|\\.)*)"/g;
    my ($first, @rest) = splice @words, $keys;    # tokens stand first, but for acquisitions
    next unless $first =~ /^pg:/;
    # A release: lock and token of each; or lock, fence, gap; token, fence, two times to live.
    if ($keys == @rest + 1)
    {
        $released{$_}++ for $first, @rest;
    }
    elsif ($keys == 3 && @rest == 3)
    {
        $released{$first}++;
    }
    elsif (@rest == 2 * $keys - 1)                # locks; of each the token and its time to live
    {
        push @renewed, grep { /^pg:/ } $first, @rest;
        push @behind, grep { $released{$_} } grep { /^pg:/ } $first, @rest;
    }
}
cmp_ok(scalar(keys %released), '>=', 20, 'releases were seen on the wire');
cmp_ok(scalar(@renewed), '>=', 4, 'so were renewals');
is("@behind", '', 'none of them came behind the release of its lease');

# A lingering lease that nobody uses is not renewed either, whatever Redis hints at.
$node->set('inventory_lock.lease_linger' => '60s');
$node->reload;
$node->poll_until(
    sub {
        $session->run("$adjust('43', -1)");
        return $redis->lock_keys eq 'inventory_lock:43';
    },
    'a lease lingers');
$before = counter('renewals');
$redis->command('SELECT', 1);
$redis->command('-n', 1, 'FLUSHDB');
$node->poll_until(sub { $redis->lock_keys eq '' }, 'the lingering lease ends');
is(counter('renewals'), $before, 'a lingering lease is not renewed');
$node->set('inventory_lock.lease_linger' => '0');
$node->reload;

# A thousand keys are renewed in a few commands.
$session->run('BEGIN');
$session->run("SELECT count(inventory_lock.acquire_lock('many_' || i, NULL, '2 s')) FROM generate_series(1, 900) i");
$redis->command('CONFIG', 'RESETSTAT');
$before = counter('renewals');
$node->poll_until(sub { counter('renewals') - $before >= 900 }, 'all are renewed');
my ($calls) = $redis->command('INFO', 'commandstats') =~ /cmdstat_evalsha:calls=(\d+)/;
cmp_ok($calls, '<=', 60, 'renewals go in batches');
is($session->error_of('COMMIT'), '', 'the transaction of many keys commits');
$node->nothing_left($redis, 'after the many keys');

# A frozen backend keeps its lease until max_hold, then loses it and cannot commit.
$node->set('inventory_lock.max_hold' => '3s');
$node->reload;
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
my $started = time;
kill 'STOP', $session->pid;
$node->poll_until(sub { $redis->lock_keys eq '' }, 'the frozen backend loses its key');
my $held = time - $started;
kill 'CONT', $session->pid;
cmp_ok($held, '>', 2.9, 'the frozen backend has its key until max_hold');
cmp_ok($held, '<', 7, 'and not much longer');
$session->send('COMMIT');
my (undef, $error) = $session->result;
like($error, qr/IL011/, 'it cannot commit');
like($error, qr/DETAIL: .*longer than inventory_lock\.max_hold|DETAIL: .*time to live/, 'and is told why');
like(slurp_file($node->logfile), qr/held for too long.*inventory_lock:42/, 'the log tells');
is($node->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = '42'"), 988, 'nothing is written');

# A busy one, that calls us again and again, cannot outlive max_hold either.
$session->run('BEGIN');
$session->run("$adjust('42', -1)");
$started = time;
my $state = '';
$node->poll_until(
    sub { ($state = $session->error_of("$adjust('42', -1)")) ne '' || time - $started > 12 },
    'the busy transaction ends');
is($state, 'IL011', 'a busy transaction loses its key after max_hold, too');
$session->run('ROLLBACK');
$node->set('inventory_lock.max_hold' => '10min');

# The shortest time to live with the default margin, which is as long.
$node->set('inventory_lock.inventory_ttl' => '1s', 'inventory_lock.commit_margin' => '1s');
$node->reload;
$session->run("SET inventory_lock.wait_timeout = '3s'");
$node->poll_until(
    sub { $node->value("SHOW inventory_lock.inventory_ttl") eq '1s' }, 'the settings are there');
is($session->error_of("$adjust('42', -1)"), '', 'a time to live no longer than the margin still works');
$session->quit;

$node->finish($redis);
done_testing();
