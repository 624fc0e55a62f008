# A product's lock across servers: changes of its variants on two servers share its key in Redis and do
# not keep each other out; its lock on one keeps the changes on the other out, and they it; a foreign
# client with plain SET NX on the key takes part. Shared keys are renewed, found lost before commit, end
# with their TTL, are freed by the next life of a server that was killed, and yield to who waits.

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
my %settings = (
    'inventory_lock.inventory_ttl' => '10s',
    'inventory_lock.max_tenure' => '200ms',
    'inventory_lock.wait_timeout' => '20s');
my @nodes = map { InventoryLock::Cluster->create($_, redis => $redis, settings => {%settings}) } qw(a b);
my ($first, $second) = @nodes;
for my $node (@nodes)
{
    $node->safe_psql('postgres',
        "INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES ('red', 'shirt', 100000),
         ('blue', 'shirt', 100000), ('green', 'shirt', 100000), ('loose', NULL, 100000)");
}
my $key = 'inventory_lock:product:shirt';
my $wire = $redis->wire;
my @sessions = map { $_->session } @nodes;
my ($ann, $bob) = @sessions;
my $more = $first->session;
my $lock = "SELECT inventory_lock.acquire_product_lock('shirt') > 0";
my $hurry = "SELECT inventory_lock.acquire_product_lock('shirt', '0 s')";

sub change { return "SELECT protection FROM inventory_lock.adjust_stock_locked('$_[0]', -1)" }

# How many servers share the key.
sub sharers { my $value = $wire->('GET', $key) // ''; return $value =~ /^pg:intents:/ ? scalar(() = $value =~ /=/g) : 0 }
sub free { return $first->poll_until(sub { $redis->lock_keys eq '' }, 'all keys are free') }

# The matrix between two servers.
$ann->run('BEGIN');
is($ann->run(change('red')), 'redis', 'a change of a variant');
is(sharers(), 1, 'shares its product');
is($redis->command('SET', $key, 'foreign', 'NX', 'PX', 1000), '', 'a foreign client cannot have the product');
cmp_ok($wire->('PTTL', $key), '>', 5000, 'the key has a TTL');
$bob->run('BEGIN');
is($bob->run(change('blue')), 'redis', 'another server changes another variant meanwhile');
is(sharers(), 2, 'and shares the product too');
is($more->run(change('green')), 'redis', 'so does another session');
is($second->error_of($hurry), 'IL010', 'nobody has the whole product meanwhile');
$bob->run('COMMIT');
$first->poll_until(sub { sharers() == 1 }, 'who is done leaves');
is($redis->command('SET', $key, 'foreign', 'NX', 'PX', 1000), '', 'the other one still has it');
$bob->send($lock);
$second->wait_at_lease($bob->pid);
$ann->run('COMMIT');
is(($bob->result)[0], 't', 'the last one out lets who waits for the product in');
free();

$ann->run('BEGIN');
is($ann->run($lock), 't', 'the product is locked');
is($ann->run(change('red')), 'redis', 'its holder changes a variant');
is($second->error_of("$hurry"), 'IL010', 'another server cannot lock it');
$bob->send(change('blue'));
$second->wait_at_lease($bob->pid);
is($second->value(change('loose')), 'redis', 'variants of no product are free');
my $started = time;
$ann->run('COMMIT');
is(($bob->result)[0], 'redis', 'a change waits for the lock of another server');
cmp_ok(time - $started, '<', 2, 'and no longer');
free();

# On one server, with changes that queue behind who waits for the product: they keep the shared lease
# wanted, and yet it must go.
$ann->run('BEGIN');
$ann->run(change('red'));
my $third = $first->session;
$more->send("BEGIN; $lock;");
$first->wait_at_gate(1);
$third->send(change('blue'));
$first->wait_at_gate(2);
$started = time;
$ann->run('COMMIT');
like(($more->result)[0], qr/t/, 'the product is locked while changes queue');
cmp_ok(time - $started, '<', 2, 'quickly');
unlike($wire->('GET', $key), qr/intents/, 'alone');
$started = time;
$more->run('COMMIT');
is(($third->result)[0], 'redis', 'then they go on');
cmp_ok(time - $started, '<', 2, 'quickly');
$third->quit; 
free();

# Two that want each other's product, each sharing its own: found through the shared keys.
$_->safe_psql('postgres', "INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES ('cup', 'mug', 1000)") for @nodes;
$_->run('BEGIN') for $ann, $bob;
$ann->run(change('red'));
$bob->run(change('cup'));
$ann->send("SELECT inventory_lock.acquire_product_lock('mug') > 0");
$first->wait_at_lease($ann->pid);
$bob->send($lock);
my @ends;
for my $session ($ann, $bob)
{
    push @ends, $session->sent_error || 'got it';
    $session->run('ROLLBACK');
}
is(join(' ', sort @ends), '40P01 got it', 'one of two that wait for each other through shared keys is ended');
free();

# A foreign client on the product's key.
$wire->('SET', $key, 'foreign', 'NX', 'PX', 600000);
$ann->send(change('red'));
$first->wait_at_lease($ann->pid);
 
is($first->value("SELECT string_agg(owner, ',') FROM inventory_lock.active_locks WHERE key = '$key' AND \"foreign\""),
    'foreign', 'one sees who is in the way');
is($second->error_of($hurry), 'IL010', 'the product cannot be locked');
$wire->('DEL', $key);
is(($ann->result)[0], 'redis', 'a change waits for a foreign holder of the product');
free();
$wire->('SET', $key, 'foreign', 'NX', 'PX', 700);
$started = time;
is($ann->run(change('red')), 'redis', 'and no longer than its TTL');
cmp_ok(time - $started, '<', 3, 'by the clock');
free();

# Renewed beyond the TTL, on both servers; each change of the key by one makes the other one look, not write.
$_->set('inventory_lock.inventory_ttl' => '2s') for @nodes;
$_->reload for @nodes;
$second->poll_until(sub { $second->value('SHOW inventory_lock.inventory_ttl') eq '2s' }, 'reloaded');
$_->run('BEGIN') for @sessions;
$ann->run(change('red'));
$bob->run(change('blue'));
my $commands = sub { ($redis->command('INFO', 'stats') =~ /total_commands_processed:(\d+)/)[0] };
my $before = $commands->();
$started = time;
$first->poll_until(sub { time - $started > 5 }, 'five seconds have passed');
is(sharers(), 2, 'both are still there after two TTLs');
cmp_ok($commands->() - $before, '<', 400, 'in a few commands');
is($second->error_of($hurry), 'IL010', 'the product is still not to be had');
$_->run('COMMIT') for @sessions;
free();

# Lost before commit: nothing is written.
for my $loss (['deleted', sub { $wire->('DEL', $key) }],
    ['taken by force', sub { $wire->('SET', $key, 'foreign', 'PX', 1000) }],
    ['forced', sub { $second->value("SELECT inventory_lock.force_release_lock('$key')") }])
{
    my ($what, $lose) = @$loss;
    my $level = $first->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = 'red'");
    $ann->run('BEGIN');
    $ann->run(change('red'));
    $lose->();
    $first->poll_until(sub { $first->value("SELECT count(*) FROM inventory_lock.get_locks()
        WHERE key = '$key' AND state = 'lost'") > 0 }, "$what: the loss is known");
    is($ann->error_of('COMMIT'), 'IL011', "$what: the change does not commit");
    is($first->value("SELECT on_hand FROM shop.stock_level WHERE variant_id = 'red'"), $level, "$what: nothing is written");
    free();
}

# A server that is killed: the other one's share stays, its own goes with its TTL or its next life.
$ann->run('BEGIN');
$ann->run(change('red'));
$bob->run('BEGIN');
$bob->run(change('blue'));
is(sharers(), 2, 'both share the product');
$first->kill9_and_wait;
$_->abandon for $ann, $more;
$second->poll_until(sub { sharers() == 2 or sharers() == 1 }, 'still shared');
is($second->error_of($hurry), 'IL010', 'not to be had while the living one shares it');
my $waiter = $second->session;
$bob->run('COMMIT');
$started = time;
is($waiter->run($lock), 't', 'what the dead one had ends with its TTL');
cmp_ok(time - $started, '<', 4, 'in time');
free();
$first->start;
$first->wait_for_protection('redis');
$first->set('inventory_lock.inventory_ttl' => '10min');
$first->reload;
$first->poll_until(sub { $first->value('SHOW inventory_lock.inventory_ttl') eq '10min' }, 'reloaded');
($ann, $more) = ($first->session, $first->session);
$ann->run('BEGIN');
$ann->run(change('red'));
$bob->run('BEGIN');
$bob->run(change('blue'));
$first->kill9_and_wait;
$_->abandon for $ann, $more;
$first->start;
$first->wait_for_protection('redis');
$first->poll_until(sub { sharers() == 1 }, 'the next life frees what its own dead one had');
is($second->error_of('SELECT 1/(SELECT count(*) FROM inventory_lock.get_locks() WHERE state <> \'held\' AND key = \'' . $key . '\')'),
    '22012', 'and nothing else');
$bob->run('COMMIT');
free();

# Both servers busy on the product's variants, so that there is always somebody who shares it: who wants it
# alone gets it all the same.
my $script = PostgreSQL::Test::Utils::tempdir() . '/busy.sql';
my $moment = '5 ms';
append_to_file($script, <<"SQL");
\\set n random(1, 3)
BEGIN;
SELECT FROM inventory_lock.adjust_stock_locked((ARRAY['red', 'blue', 'green'])[:n], -1);
\\sleep $moment
COMMIT;
SQL
my @runs = map {
    my $node = $_;
    my ($out, $err) = ('', '');
    IPC::Run::start(
        [ 'pgbench', '-n', '-c', '4', '-T', '8', '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
        '<', \undef, '>', \$out, '2>', \$err);
} @nodes;
$second->poll_until(sub { sharers() == 2 }, 'both are at it');
my @waited;
for my $round (1 .. 3)
{
    $started = time;
    is($waiter->run($lock), 't', "who wants the product alone gets it (round $round)");
    push @waited, time - $started;
}
note('seconds waited for the product: ' . join ' ', map { sprintf '%.2f', $_ } @waited);
cmp_ok((sort { $a <=> $b } @waited)[-1], '<', 3, 'before long');
ok($_->finish, 'and no change fails for it') for @runs;
is($_->value("SELECT count(*) FROM shop.stock_movement WHERE protection = 'database'"), '0', $_->name . ' never went without Redis')
  for @nodes;

# Without Redis the gate does it alone.
free();
$redis->stop;
$first->wait_for_protection('database');
$ann = $first->session;
$ann->run('BEGIN');
is($ann->run($lock), 't', 'without Redis the product can be locked');
is($first->error_of("SET inventory_lock.wait_timeout = '100ms'; SELECT FROM inventory_lock.adjust_stock_locked('blue', -1)"), 'IL010',
    'and keeps changes out on its server');
$ann->run('COMMIT');
is($first->value(change('blue')), 'database', 'which say how they were protected');
$redis->start;
$_->wait_for_protection('redis') for @nodes;
is($first->value(change('blue')), 'redis', 'until Redis is back');
$_->quit for $ann, $bob, $waiter;

$_->finish($redis, crashes => 1) for @nodes;
done_testing();
