# What every kind of trouble with Redis must look like from PostgreSQL, for the TAP tests of the
# breaker:
#
#   my $breaker = InventoryLock::Breaker->new($redis);     # starts a PostgreSQL for it
#   $breaker->check('OOM', break => sub { … }, heal => sub { … }, error => qr/…/, hint => qr/…/);
#   $breaker->finish;
#
# check() takes Redis from well to ill and back. Calls go on under database locks with one WARNING,
# quickly once the breaker is open; on_redis_failure = error refuses at once; redis_status says why;
# within 6 s calls use Redis again by themselves; and the log has one line for each change of state.

package InventoryLock::Breaker;

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes ();

my $call = q{SELECT protection FROM inventory_lock.adjust_stock_locked('42', 1)};

sub new
{
    my ($class, $redis) = @_;
    my $node = InventoryLock::Cluster->create(
        'main',
        redis => $redis,
        settings => {
            'inventory_lock.breaker_failures' => 1,
            'inventory_lock.breaker_cooldown' => '200ms',
            'inventory_lock.redis_connect_timeout' => '300ms',
            'inventory_lock.redis_command_timeout' => '300ms' });
    my $strict = $node->session;
    $strict->run('SET inventory_lock.on_redis_failure = error');
    return bless {
        node => $node, redis => $redis, session => $node->session, strict => $strict }, $class;
}

sub node { return $_[0]->{node} }

# The middle one of the times that so many calls take, in milliseconds.
sub median_ms
{
    my ($self, $count) = @_;
    my @ms;
    for (1 .. $count)
    {
        my $started = Time::HiRes::time();
        $self->{session}->run($call);
        push @ms, 1000 * (Time::HiRes::time() - $started);
    }
    @ms = sort { $a <=> $b } @ms;
    return $ms[ $count / 2 ];
}

sub check
{
    my ($self, $name, %case) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($node, $session, $strict) = @$self{qw(node session strict)};
    $node->wait_for_protection('redis');
    # A lease that is kept (lease_linger) would serve on, or its release fail once Redis is back.
    $node->poll_until(sub { $self->{redis}->lock_keys eq '' }, "$name: nothing is locked");
    my $log_start = -s $node->logfile;
    $case{break}->();

    is($session->run($call), 'database', "$name: the call goes on, on database locks");
    is(scalar(my @warned = $session->warnings), 1, "$name: with one WARNING");
    $node->poll_until(
        sub { $node->value(q{SELECT inventory_lock.status()->>'breaker'}) ne 'closed' },
        "$name: the breaker opens");
    cmp_ok($self->median_ms(15), '<', 150, "$name: then without waiting for Redis");
    my $asked = Time::HiRes::time();
    is($strict->error_of($call), 'IL012', "$name: refused where fallback is off");
    cmp_ok(1000 * (Time::HiRes::time() - $asked), '<', 150, "$name: and that at once");
    my $told = sub {
        $node->value(q{SELECT string_agg(last_error, '; ') FROM inventory_lock.redis_status});
    };
    eval { $node->poll_until(sub { $told->() =~ $case{error} }, 'last_error') };
    like($told->(), $case{error}, "$name: redis_status says why");

    $case{heal}->();
    my $healed = Time::HiRes::time();
    ok($node->wait_for_protection('redis'), "$name: back on Redis by itself");
    cmp_ok(Time::HiRes::time() - $healed, '<', 6, "$name: within 6 s");

    my $log = slurp_file($node->logfile, $log_start);
    my $opened = () = $log =~ /LOG:  Redis does not answer; new locks go without it/g;
    my $closed = () = $log =~ /LOG:  Redis answers again; new locks use it/g;
    is("$opened $closed", '1 1', "$name: one line in the log for each change of state");
    my ($line) = $log =~ /LOG:  Redis does not answer[^\n]*\n[^\n]*?HINT:  ([^\n]*)/;
    like($line // '', $case{hint}, "$name: and it says what to do");
    return;
}

sub finish
{
    my ($self) = @_;
    $_->quit for @$self{qw(session strict)};
    $self->{node}->finish($self->{redis});
    return;
}

1;
