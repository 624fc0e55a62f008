# A private Redis server for a TAP test: on a free loopback port, in a folder of its own. (With
# bind => … it listens there; $redis->{within} = [ command … ] starts it by that command.)
#
#   my $redis = InventoryLock::Redis->new('main', requirepass => 'secret');
#   $redis->start;  $redis->kill9;  $redis->start;  $redis->freeze;  $redis->thaw;  $redis->stop;
#   my $value = $redis->command('GET', 'inventory_lock:42');
#
# Whatever was started is ended when the test ends, whichever way.

package InventoryLock::Redis;

use strict;
use warnings FATAL => 'all';

use IO::Socket::INET;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket ();
use Time::HiRes ();

my $poll_interval_us = 20_000;
my @all;

sub new
{
    my ($class, $name, %settings) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir_short();
    my $self = bless {
        name => $name,
        folder => $folder,
        socket => "$folder/redis.sock",
        port => PostgreSQL::Test::Cluster::get_free_port(),
        settings => \%settings,
        host => $settings{bind} // '127.0.0.1',
    }, $class;
    push @all, $self;
    return $self;
}

sub port { return $_[0]->{port} }
sub folder { return $_[0]->{folder} }
sub socket_path { return $_[0]->{socket} }

# What inventory_lock.redis_url says; user is optional.
sub url
{
    my ($self, $user) = @_;
    return 'redis://' . (defined $user ? "$user\@" : '') . "$self->{host}:$self->{port}/0";
}

sub start
{
    my ($self) = @_;
    my @arguments = $self->arguments;
    open my $log, '>>', "$self->{folder}/redis.log" or die "redis.log: $!";
    my $pid = fork // die "fork: $!";
    if ($pid == 0)
    {
        chdir $self->{folder} or die;
        open STDIN, '<', '/dev/null' or die;
        open STDOUT, '>&', $log or die;
        open STDERR, '>&', $log or die;
        exec @{ $self->{within} // [] }, 'redis-server', @arguments or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        my $answer = $self->command('PING');
        return if $answer =~ /PONG|NOAUTH|LOADING/;
        die "redis ended at start: " . slurp_file("$self->{folder}/redis.log")
          if waitpid($pid, POSIX::WNOHANG()) == $pid;
        Time::HiRes::usleep($poll_interval_us);
    }
    die "redis does not answer";
}

sub arguments
{
    my ($self) = @_;
    my %settings = (
        bind => '127.0.0.1',
        port => $self->{port},
        unixsocket => $self->{socket},
        dir => $self->{folder},
        save => '',
        appendonly => 'no',
        %{ $self->{settings} });
    return map { ("--$_", $settings{$_}) } sort keys %settings;
}

# Runs one command and returns the answer as redis-cli prints it, without the last line feed.
sub command
{
    my ($self, @words) = @_;
    my ($out, $err) = ('', '');
    my @login = defined $self->{login} ? @{ $self->{login} } : ();
    IPC::Run::run(
        [ 'redis-cli', '--no-auth-warning', '-h', $self->{host}, '-p', $self->{port}, @login, @words ],
        '<', \undef, '>', \$out, '2>', \$err);
    chomp $out;
    return $out ne '' ? $out : $err;
}

# As whom command() logs in: user and password.
sub login
{
    my ($self, $user, $password) = @_;
    $self->{login} = [ '--user', $user, '--pass', $password ];
    return;
}

# A connection of its own, for what must be quick: a function that sends one command and returns the
# answer, undef for nothing.
sub wire
{
    my ($self) = @_;
    my $socket = IO::Socket::INET->new(
        PeerHost => $self->{host}, PeerPort => $self->{port}, Timeout => 5) // die "redis: $@";
    $socket->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
    return sub {
        print $socket '*' . scalar(@_) . "\r\n" . join('', map { '$' . length($_) . "\r\n$_\r\n" } @_);
        my $answer = <$socket> // die 'redis closed the connection';
        $answer =~ s/\r\n$//;
        return $answer eq '$-1' ? undef : substr $answer, 1 unless $answer =~ /^\$(\d+)/;
        read($socket, my $text, $1 + 2) == $1 + 2 or die 'redis closed the connection';
        return substr $text, 0, $1;
    };
}

# The keys of locks: sorted, one string. Fences and gaps are no locks.
sub lock_keys
{
    my ($self) = @_;
    return join ' ', sort grep { /^(inventory_lock:|lock:)/ } split /\n/, $self->command('KEYS', '*');
}

sub freeze { kill 'STOP', $_[0]->{pid} }
sub thaw { kill 'CONT', $_[0]->{pid} }
sub stop { return $_[0]->end('TERM') }
sub kill9 { return $_[0]->end('KILL') }

sub end
{
    my ($self, $signal) = @_;
    return unless defined $self->{pid};
    kill $signal, $self->{pid};
    kill 'CONT', $self->{pid};
    waitpid $self->{pid}, 0;
    delete $self->{pid};
    return;
}

END
{
    my $status = $?;
    $_->end('KILL') for @all;
    $? = $status;
}

1;
