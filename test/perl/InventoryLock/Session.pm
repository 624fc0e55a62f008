# One psql session of a TAP test that can be left waiting.
#
#   my $session = $node->session;
#   $session->run('BEGIN');                     # returns what came out, dies on an error
#   $session->send("SELECT …");                 # returns at once
#   my ($out, $err) = $session->result;         # waits for all that was sent
#   my $state = $session->error_of('SELECT …'); # SQLSTATE, '' when it succeeded
#
# psql shows SQLSTATEs only (VERBOSITY sqlstate), warnings and notices included.

package InventoryLock::Session;

use strict;
use warnings FATAL => 'all';

sub new
{
    my ($class, $node, %options) = @_;
    my $psql = $node->background_psql('postgres', on_error_stop => 0, %options);
    my $self = bless { psql => $psql }, $class;
    $psql->query('\set VERBOSITY sqlstate');
    $self->{pid} = $psql->query('SELECT pg_backend_pid()');
    $psql->{stderr} = '';
    return $self;
}

sub pid { return $_[0]->{pid} }

sub send
{
    my ($self, $sql) = @_;
    my $out = $self->{psql}->query_until(qr/^sent\n/m, "\\echo sent\n$sql\n;\n");
    # An answer that came together with the echo belongs to result().
    $self->{psql}->{stdout} = $1 if $out =~ /^sent\n(.+)/ms;
    return;
}

sub result
{
    my ($self) = @_;
    my $out = $self->{psql}->query('');
    my $err = $self->{psql}->{stderr};
    $self->{psql}->{stderr} = '';
    return ($out, $err);
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
    my $psql = delete $self->{psql};
    $psql->quit if $psql;
    return;
}

# For a session whose server died under it.
sub abandon
{
    my ($self) = @_;
    my $psql = delete $self->{psql};
    eval { $psql->{run}->kill_kill; } if $psql;
    return;
}

1;
