# Statements are cancelled and sessions terminated by the thousand: 500 and more at each step on the way
# to a lock (at the gate, with the request filled, taken and answered, between grant and row lock), each
# seen there before the signal was sent, and the rest at random moments under load. Behind every round no
# key has outlived its waiter and the next caller gets through at once; in the end no place of the lease
# table and no backend's slot is lost.
#
# CANCELS=n sets how many signals are sent in all, SEED=n the seed of everything random; it is printed.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Crowd;
use InventoryLock::Redis;
use List::Util qw(sum0);
use Test::More;
use Time::HiRes qw(time usleep);

my $cancels = $ENV{CANCELS} || 10_000;
my $at_each_step = 500;
my $crowd_size = 60;
my $leases = 400;
my $connections = 70;
my $hot = 4;                  # variants that all want under load
my $in_a_storm = 250;         # signals
my $next_ms = 2000;           # the next caller's limit, far below any time to live
my $gone_after = 8;           # seconds; a forgotten lease would go at its first renewal, after 20
my $longest_pause_us = 3000;
my $seed = $ENV{SEED} || int(1000 * time) % 1_000_000;
srand $seed;
note("CANCELS=$cancels SEED=$seed");

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => {
        max_connections => $connections,
        superuser_reserved_connections => 0,
        fsync => 'off',
        log_min_messages => 'fatal',
        'inventory_lock.max_leases' => $leases,
        'inventory_lock.inventory_ttl' => '60s',
        'inventory_lock.order_ttl' => '60s',
        'inventory_lock.custom_ttl' => '60s',
        'inventory_lock.redis_command_timeout' => '10s' });    # Redis is frozen now and then
$node->safe_psql('postgres',
    "INSERT INTO shop.stock_level (variant_id, on_hand) SELECT 'v' || i, 1000000 FROM generate_series(0, $crowd_size) i");
my $wire = $redis->wire;
my $observer = InventoryLock::Crowd->new($node, 2);    # the second one holds rows and gates
my $crowd = InventoryLock::Crowd->new($node, $crowd_size);
my $worker = $node->worker_pid;
my (%counted, %outcome, %strange, @next_ms);
my $used = 'SELECT leases_used FROM inventory_lock.get_status()';

sub ask { my ($sql) = @_; return map { $_->[0] } $observer->ask(0, $sql) }

sub wait_until
{
    my ($what, $condition) = @_;
    my $end = time + $PostgreSQL::Test::Utils::timeout_default;
    until ($condition->())
    {
        die "never happened: $what" if time > $end;
        $crowd->receive(0.002);
    }
    return;
}

# --- the counts that must be the same before and after ---

# How many keys one transaction can lock before the lease table is full, and how many of as many sessions
# as there can be get a lock through Redis at the same time.
sub free_places
{
    $observer->send(1, "SELECT count(inventory_lock.acquire_lock('place_' || i)) FROM generate_series(1, $leases) i");
    $observer->finish;
    my $places = $observer->code(1) || ($observer->rows(1))[0][0];
    my $rest = InventoryLock::Crowd->new($node, $connections - $crowd_size - 2);
    my $served = 0;
    for my $some ($crowd, $rest)
    {
        $some->send($_, "SELECT protection FROM inventory_lock.adjust_stock_locked('v$_', 1)") for $some->members;
    }
    for my $some ($crowd, $rest)
    {
        $some->finish;
        $served += grep { $some->code($_) eq '' && ($some->rows($_))[0][0] eq 'redis' } $some->members;
    }
    $rest->quit;
    return "$places leases, $served sessions";
}

# --- one signal to everybody who was seen at the step ---

sub signal
{
    my ($i) = @_;
    my $name = rand() < 0.2 ? 'TERM' : 'INT';
    $crowd->signal($i, $name);
    return $name;
}

# The codes with which those that got a signal must have ended.
my %code_of = (INT => '57014', TERM => '57P01');

# Signals to those at the step, who must end before they can leave it. `go` lets them run again.
sub strike
{
    my ($step, $seen, $go) = @_;
    my %sent = map { $_ => signal($_) } @$seen;
    $go->() if $go;
    $crowd->finish;
    for my $i (keys %sent)
    {
        my $code = $crowd->code($i);
        $counted{$step}{ $sent{$i} }++ if $code eq $code_of{ $sent{$i} };
        $strange{$code}++ if $code ne $code_of{ $sent{$i} };
    }
    return;
}

# Behind a round: nothing is left, at once, and the next caller gets its key.
sub settled
{
    my ($when) = @_;
    my $end = time + $gone_after;
    my $keys = '?';
    while (time < $end)
    {
        my ($places) = ask($used);
        $keys = $places == 0 ? $redis->lock_keys : "$places leases";
        last if $keys eq '';
        usleep(rand $longest_pause_us);
    }
    my $started = time;
    my ($protection) = eval { ask("SELECT protection FROM inventory_lock.adjust_stock_locked('v"
          . int(rand $hot) . "', 1, wait_timeout => '$next_ms ms')") };
    push @next_ms, 1000 * (time - $started);
    $protection //= $@;
    return if $keys eq '' && $protection eq 'redis';
    fail("nothing is left and the next caller gets its key: $when");
    diag("left: $keys; the next caller: $protection");
    die 'no use to go on';
}

# Which members stand where, as pg_stat_activity, pg_locks and get_locks() tell it.
my %standing = (
    gate => q{a.wait_event_type = 'Lock' AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND
        locktype = 'advisory' AND objsubid = 18764 AND NOT granted)},
    lease => q{a.wait_event_type = 'Extension' AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND
        locktype = 'advisory' AND objsubid = 18764 AND granted)},
    row => q{a.wait_event_type = 'Lock' AND a.wait_event IN ('transactionid', 'tuple') AND
        EXISTS (SELECT FROM inventory_lock.get_locks() k WHERE k.pid = a.pid AND state = 'held')});

sub standing
{
    my ($where) = @_;
    my %there = map { $_ => 1 } ask("SELECT pid FROM pg_stat_activity a WHERE $standing{$where}");
    return grep { $there{ $crowd->pid($_) } } $crowd->members;
}

sub in_state
{
    my ($state) = @_;
    my ($count) = ask("SELECT count(*) FROM inventory_lock.get_locks() WHERE state = '$state'");
    return $count == $crowd_size;
}

# Every member wants a key of its own.
sub all_ask
{
    $crowd->send($_, "SELECT FROM inventory_lock.adjust_stock_locked('v$_', 1)") for $crowd->members;
    return;
}

# The worker has done what there was to do, and sleeps.
sub worker_idle
{
    my ($idle) = ask("SELECT wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = $worker");
    return $idle eq 't';
}

# Only while it sleeps: stopped with a spinlock, the worker would stop everybody.
sub stop_worker
{
    wait_until('the worker is stopped while it sleeps', sub {
        kill 'STOP', $worker if worker_idle();
        return 1 if worker_idle();
        kill 'CONT', $worker;
        return 0;
    });
    return;
}

sub go_worker { kill 'CONT', $worker; return }

# Each brings the whole crowd to its step and strikes when it was seen there.
my %steps = (
    'at the gate' => sub {
        $observer->ask(1, "BEGIN; SELECT FROM inventory_lock.adjust_stock_locked('v0', 1)");
        $crowd->send($_, "SELECT FROM inventory_lock.adjust_stock_locked('v0', 1)") for $crowd->members;
        wait_until('all wait at the gate', sub { standing('gate') == $crowd_size });
        strike('at the gate', [ standing('gate') ]);
        $observer->ask(1, 'COMMIT');
    },
    'filled' => sub {
        stop_worker();
        all_ask();
        wait_until('all have asked the worker', sub { standing('lease') == $crowd_size });
        in_state('absent') or die 'the worker works while it is stopped';
        strike('filled', [ standing('lease') ]);
        go_worker();
    },
    'taken' => sub {
        if (rand() < 0.5)    # under way to Redis
        {
            $redis->freeze;
            all_ask();
            wait_until('all are asked for in Redis',
                sub { in_state('acquiring') && standing('lease') == $crowd_size });
            strike('taken', [ standing('lease') ]);
            $redis->thaw;
        }
        else                 # waiting for a foreign client
        {
            $wire->('SET', "inventory_lock:v$_", 'foreign', 'PX', 60000) for $crowd->members;
            all_ask();
            wait_until('all know of the foreign client', sub {
                my ($known) = ask(q{SELECT count(*) FROM inventory_lock.get_locks() WHERE owner = 'foreign'});
                return $known == $crowd_size && standing('lease') == $crowd_size;
            });
            strike('taken', [ standing('lease') ]);
            $wire->('DEL', "inventory_lock:v$_") for $crowd->members;
        }
    },
    # The backend does not run while the worker answers, and finds answer and signal together.
    'answered' => sub {
        $redis->freeze;
        all_ask();
        wait_until('all are asked for in Redis',
            sub { in_state('acquiring') && standing('lease') == $crowd_size });
        my @seen = standing('lease');
        kill 'STOP', map { $crowd->pid($_) } @seen;
        $redis->thaw;
        wait_until('all have an answer', sub { in_state('held') && worker_idle() });
        strike('answered', \@seen, sub { kill 'CONT', map { $crowd->pid($_) } @seen });
    },
    'between grant and row lock' => sub {
        $observer->ask(1, q{BEGIN; SELECT FROM shop.stock_level WHERE variant_id LIKE 'v%' FOR UPDATE});
        all_ask();
        wait_until('all wait for their rows', sub { standing('row') == $crowd_size });
        strike('between grant and row lock', [ standing('row') ]);
        $observer->ask(1, 'COMMIT');
    });

# --- random moments ---

my $order = 0;

sub random_statement
{
    my ($i) = @_;
    my $variant = 'v' . int rand $hot;
    my $choice = rand;
    return "SELECT FROM inventory_lock.adjust_stock_locked('$variant', 1)" if $choice < 0.4;
    return "SELECT FROM inventory_lock.adjust_stock_locked('v$i', 1)" if $choice < 0.6;
    return "BEGIN; SELECT inventory_lock.acquire_lock('$variant'); SAVEPOINT s; "
      . "SELECT inventory_lock.acquire_lock('own_$i'); ROLLBACK TO s; "
      . "SELECT FROM inventory_lock.adjust_stock_locked('v$i', 1); COMMIT" if $choice < 0.8;
    $order++;
    my $lines = join ', ', map { qq({"variant_id": "v$_", "quantity": 1, "unit_price": 1}) }
      do { my %some = map { int(rand $hot) => 1 } 1 .. 3; keys %some };
    return "SELECT FROM inventory_lock.place_order_locked('u$i', 'o$order', '[$lines]')";
}

# A round of load: everybody has something to do until so many signals were sent.
sub storm
{
    my ($signals) = @_;
    my ($sent, %sent) = (0);
    my $ended = sub {
        my ($i) = @_;
        my $name = delete $sent{$i} or return;
        $outcome{ "$name " . ($crowd->code($i) || 'too late') }++;
    };
    while ($sent < $signals)
    {
        for my $i ($crowd->members)
        {
            next if $crowd->busy($i);
            $crowd->restore($i);
            $crowd->send($i, random_statement($i)) unless $crowd->busy($i);
        }
        $wire->('SET', 'inventory_lock:v' . int(rand $hot), 'foreign', 'NX', 'PX', 1 + int rand 30) if rand() < 0.05;
        usleep(rand $longest_pause_us);
        for (1 .. 1 + rand 4)
        {
            my $i = int rand $crowd_size;
            next if $sent{$i} || !$crowd->busy($i) || !$crowd->pid($i);
            $sent{$i} = signal($i);
            $sent++;
        }
        $ended->($_) for $crowd->receive(0);
    }
    my @open = keys %sent;
    $crowd->finish;
    $ended->($_) for @open;
    return $sent;
}

# --- the run ---

my $before = free_places();
is($before, "$leases leases, " . ($connections - 2) . ' sessions', 'all is free in the beginning');
my ($sent, $rounds) = (0, 0);
my $started = time;
for my $step (sort keys %steps)
{
    for (1 .. 2 * $at_each_step / $crowd_size)
    {
        wait_until('nothing is locked', sub { (ask($used))[0] == 0 });
        $steps{$step}->();
        $sent += $crowd_size;
        settled('round ' . $rounds++ . ", $step");
        last if sum0(values %{ $counted{$step} }) >= $at_each_step;
    }
}
while ($sent < $cancels)
{
    $sent += storm($in_a_storm);
    settled('round ' . $rounds++ . ', random moments');
}
note(sprintf '%d signals in %.1f s, %d rounds', $sent, time - $started, $rounds);
note('random moments: ' . join ', ', map { "$outcome{$_} $_" } sort keys %outcome);
@next_ms = sort { $a <=> $b } @next_ms;
note(sprintf 'the next caller: median %.1f ms, longest %.1f ms', $next_ms[ @next_ms / 2 ], $next_ms[-1]);

for my $step (sort keys %steps)
{
    my ($cancelled, $terminated) = map { $counted{$step}{$_} // 0 } qw(INT TERM);
    cmp_ok($cancelled + $terminated, '>=', $at_each_step, "$step: $cancelled cancelled, $terminated terminated");
}
cmp_ok($sent, '>=', $cancels, "$sent signals in all");
pass("behind each of $rounds rounds nothing was left and the next caller got its key");
my @strange = (keys %strange, grep { !/ (57014|57P01|too late)$/ } keys %outcome);
is("@strange", '', 'nobody got another error than that of its signal');
is(free_places(), $before, 'no lease and no slot is lost');
is($node->worker_pid, $worker, 'the worker is the same one');
$_->quit for $crowd, $observer;
$node->finish($redis);
done_testing();
