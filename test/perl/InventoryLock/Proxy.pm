# A proxy before a Redis for a TAP test: test/proxy/resp_proxy.py, which says what it can be told.
#
#   my $proxy = InventoryLock::Proxy->new($redis);
#   ... 'inventory_lock.redis_url' => $proxy->url
#   $proxy->tell('rule replies drop n=1');
#
# It is ended when the test ends, whichever way.

package InventoryLock::Proxy;

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use IO::Socket::UNIX;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes ();

my $program = dirname(__FILE__) . '/../../proxy/resp_proxy.py';
my $poll_interval_us = 20_000;
my @all;

# Returns when it listens.
sub new
{
    my ($class, $redis) = @_;
    my $self = bless {
        port => PostgreSQL::Test::Cluster::get_free_port(),
        control => PostgreSQL::Test::Utils::tempdir_short() . '/proxy.sock',
    }, $class;
    $self->{process} = IPC::Run::start(
        [
            'python3', $program, '--listen', "127.0.0.1:$self->{port}",
            '--upstream', '127.0.0.1:' . $redis->port, '--control', $self->{control} ],
        '<', \undef, '>', '/dev/null', '2>', '/dev/null');
    push @all, $self;
    for my $try (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
    {
        return $self if IO::Socket::UNIX->new(Peer => $self->{control});
        Time::HiRes::usleep($poll_interval_us);
    }
    die 'the proxy does not listen';
}

sub port { return $_[0]->{port} }
sub url { return "redis://127.0.0.1:$_[0]->{port}/0" }

# Gives it one command and returns its answer; dies when it refuses.
sub tell
{
    my ($self, $line) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $self->{control}) // die "proxy: $!";
    print $socket "$line\n";
    my $answer = <$socket>;
    die "proxy: $line: $answer" unless $answer =~ /^ok/;
    return $answer;
}

END
{
    my $status = $?;
    $_->{process}->kill_kill for @all;
    $? = $status;
}

1;
