# One psql session of a TAP test that can be left waiting.
#
#   my $session = $node->session;
#   $session->run('BEGIN');                     # returns what came out, dies on an error
#   $session->send("SELECT …");                 # returns at once
#   my ($out, $err) = $session->result;         # waits for all that was sent
#   my $state = $session->error_of('SELECT …'); # SQLSTATE, '' when it succeeded
#
# psql shows SQLSTATEs only (VERBOSITY sqlstate), also of warnings and notices. Behind every statement
# it is told to echo a marker, on both of its outputs: what comes before the marker is the answer.

package InventoryLock::Session;

use strict;
use warnings FATAL => 'all';

use IPC::Run ();
use PostgreSQL::Test::Utils;

sub new
{
    my ($class, $connection) = @_;
    my $self = bless { in => '', out => '', err => '', number => 0 }, $class;
    $self->{timer} = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
    $self->{psql} = IPC::Run::start(
        [ 'psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-f', '-', '-d', $connection ],
        '<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
    $self->{pid} = $self->run('SELECT pg_backend_pid()');
    return $self;
}

sub pid { return $_[0]->{pid} }

sub send
{
    my ($self, $sql) = @_;
    $self->{number}++;
    my $marker = "answered $self->{number}";
    $self->{in} .= "$sql\n;\n\\echo $marker\n\\warn $marker\n";
    $self->{psql}->pump_nb;
    return;
}

sub result
{
    my ($self) = @_;
    my $marker = "answered $self->{number}\n";
    $self->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
    until ($self->{out} =~ /$marker/ && $self->{err} =~ /$marker/)
    {
        die "no answer in time" if $self->{timer}->is_expired;
        die "psql ended: $self->{err}" unless eval { $self->{psql}->pump };
    }
    my @answer = ($self->{out}, $self->{err});
    $self->{out} = $self->{err} = '';
    s/answered \d+\n//g for @answer;
    chomp @answer;
    return @answer;
}

sub run
{
    my ($self, $sql) = @_;
    $self->send($sql);
    my ($out, $err) = $self->result;
    die "$sql\nfailed: $err" if $err =~ /ERROR|FATAL|connection/;
    $self->{warnings} = $err;
    return $out;
}

# SQLSTATEs of the warnings of the last run(), in order.
sub warnings
{
    my ($self) = @_;
    return $self->{warnings} =~ /WARNING:\s+(\w{5})/g;
}

# The SQLSTATE of an error, or '' when there is none in the text.
sub sqlstate
{
    my ($err) = @_;
    return $err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : '';
}

sub error_of
{
    my ($self, $sql) = @_;
    $self->send($sql);
    return $self->sent_error;
}

# The same for what send() started.
sub sent_error
{
    my ($self) = @_;
    my (undef, $err) = $self->result;
    return sqlstate($err);
}

sub quit
{
    my ($self) = @_;
    my $psql = delete $self->{psql} or return;
    $self->{in} .= "\\q\n";
    $self->{timer}->start($PostgreSQL::Test::Utils::timeout_default);
    $psql->finish;
    return;
}

# For a session whose server died under it.
sub abandon
{
    my ($self) = @_;
    my $psql = delete $self->{psql} or return;
    $psql->kill_kill;
    return;
}

1;
