# A private PostgreSQL with inventory_lock, for TAP tests.
#
#   my $redis = InventoryLock::Redis->new('main');  $redis->start;
#   my $node = InventoryLock::Cluster->create('main', redis => $redis, settings => { … });
#   …
#   $node->finish($redis);          # no orphaned key, no sign of a crash in the log
#
# create() starts the server, makes the extension and the shop tables and waits until a stock change
# is protected by Redis. install_path => … makes it of another PostgreSQL. A test that crashes the
# server on purpose passes crashes => 1 to finish().

package InventoryLock::Cluster;

use strict;
use warnings FATAL => 'all';
use parent 'PostgreSQL::Test::Cluster';

use InventoryLock::Redis;
use InventoryLock::Session;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes ();

my $poll_interval_us = 10_000;

sub create
{
    my ($class, $name, %options) = @_;
    my $self = $class->new($name, install_path => $options{install_path});
    $self->init;
    my %settings = (
        shared_preload_libraries => 'inventory_lock',
        max_connections => 100,
        max_prepared_transactions => 2,
        restart_after_crash => 'on',
        log_statement => 'none',
        features(),
        %{ $options{settings} // {} });
    $settings{'inventory_lock.redis_url'} //= $options{redis}->url if $options{redis};
    $self->set(%settings);
    $self->start;
    $self->safe_psql('postgres',
        q{SET client_min_messages = error;
          CREATE EXTENSION inventory_lock;
          SELECT inventory_lock.create_tables();
          INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('42', 1000), ('43', 1000);
          INSERT INTO shop.stock_level (variant_id, on_hand, backorder_limit)
          VALUES ('probe', 1000000, 1000000)});
    $self->wait_for_protection('redis') if $options{redis};
    return $self;
}

# Server settings for a whole run, from the environment: `FEATURES="name=value name=value"`. What a
# test sets itself goes before them.
sub features { return map { split /=/, $_, 2 } split ' ', $ENV{FEATURES} // '' }

# Appends settings; the last one of a name counts.
sub set
{
    my ($self, %settings) = @_;
    $self->append_conf('postgresql.conf', join "\n", map { "$_ = '$settings{$_}'" } sort keys %settings);
    return;
}

sub session { my ($self, $database) = @_; return InventoryLock::Session->new($self->connstr($database // 'postgres')) }

sub value
{
    my ($self, $sql) = @_;
    my $out;
    $self->psql('postgres', $sql, stdout => \$out, stderr => \my $err, on_error_die => 1);
    return $out;
}

# SQLSTATE with which the statement fails, '' when it succeeds.
sub error_of
{
    my ($self, $sql) = @_;
    $self->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", stderr => \my $err, on_error_stop => 0);
    return InventoryLock::Session::sqlstate($err // '');
}

sub poll_until
{
    my ($self, $condition, $what) = @_;
    my $end = Time::HiRes::time() + $PostgreSQL::Test::Utils::timeout_default;
    while (Time::HiRes::time() < $end)
    {
        return 1 if $condition->();
        Time::HiRes::usleep($poll_interval_us);
    }
    die "never happened: $what";
}

# Which protection a stock change has now: 'redis', 'database', or '' when the server is not there. An
# unused lease that is still kept (lease_linger) would say nothing about Redis: not before it is gone.
sub protection
{
    my ($self, $variant) = @_;
    $variant //= 'probe';
    my ($out, $err) = ('', '');
    my $ask = qq{
        SELECT CASE WHEN EXISTS (SELECT FROM inventory_lock.get_locks()
                WHERE key = 'inventory_lock:$variant' AND state = 'held' AND pid IS NULL AND waiters = 0)
            THEN 'kept'
            ELSE (SELECT protection FROM inventory_lock.adjust_stock_locked('$variant', -1)) END};
    $self->poll_until(
        sub { $self->psql('postgres', $ask, stdout => \$out, stderr => \$err); ($out // '') ne 'kept' },
        "the lease of $variant is not kept any more");
    return $out;
}

sub wait_for_protection
{
    my ($self, $wanted) = @_;
    return $self->poll_until(sub { $self->protection eq $wanted }, "protection by $wanted");
}

sub worker_pid
{
    my ($self) = @_;
    my ($out, $err) = ('', '');
    $self->psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'inventory_lock%'",
        stdout => \$out, stderr => \$err);
    return $out;
}

# Kills the postmaster with SIGKILL, and waits until it and every child of it are gone.
sub kill9_and_wait
{
    my ($self) = @_;
    my $postmaster = $self->{_pid};
    my $data = $self->data_dir;
    $data = "$ENV{PWD}/$data" unless $data =~ m{^/};
    $self->kill9;
    return $self->poll_until(
        sub {
            !kill(0, $postmaster)
              && !grep { (readlink($_) // '') eq $data } glob '/proc/[0-9]*/cwd';
        },
        'all processes of the dead server are gone');
}

# Waits until so many sessions queue at gates.
sub wait_at_gate
{
    my ($self, $count) = @_;
    return $self->poll_until(
        sub {
            $self->value(
                q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764
                  AND NOT granted}) == ($count // 1);
        },
        'a session waits at the gate');
}

# Waits until this session holds its gate and waits for the lease.
sub wait_at_lease
{
    my ($self, $pid) = @_;
    return $self->poll_until(
        sub {
            $self->value(
                qq{SELECT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid)
                   WHERE pid = $pid AND wait_event_type IN ('Extension', 'InventoryLockLease')
                   AND locktype = 'advisory' AND objsubid = 18764 AND granted)}) eq 't';
        },
        'a session waits for its lease');
}

# A test: within the time-out, Redis has no lock key and PostgreSQL no gate.
sub nothing_left
{
    my ($self, $redis, $when) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $keys = eval { $self->poll_until(sub { $redis->lock_keys eq '' }, 'no key'); '' }
      // $redis->lock_keys;
    is($keys, '', "no key is left in Redis $when");
    is( $self->value(
            q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764}),
        '0', "no gate is left $when");
    return;
}

# Nothing sold twice, nothing lost: level and ledger agree.
sub ledger_agrees
{
    my ($self) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($self->value('SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0'),
        '0', 'level and ledger agree');
    return;
}

# The end of every test: nothing left, ledger right, stops in time, and no crash but on purpose.
sub finish
{
    my ($self, $redis, %options) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $self->nothing_left($redis, 'at the end') if $redis;
    $self->ledger_agrees;
    my $started = Time::HiRes::time();
    $self->stop('fast');
    cmp_ok(Time::HiRes::time() - $started, '<', 10, 'the server stops quickly');
    my $signs = $options{crashes} ? qr/stuck spinlock|PANIC/ : qr/terminated by signal|stuck spinlock|PANIC/;
    my @signs = grep { /$signs/ } split /\n/, slurp_file($self->logfile);
    is("@signs", '', 'the log shows no crash' . ($options{crashes} ? ' but the intended' : ''));
    return;
}

1;
