# Many sessions of one server at once, spoken to directly in PostgreSQL's protocol, for TAP tests that
# start and end statements by the thousand.
#
#   my $crowd = InventoryLock::Crowd->new($node, 60);
#   $crowd->send($_, 'SELECT …') for $crowd->members;    # returns at once
#   $crowd->signal(3, 'INT');                            # cancels, as pg_cancel_backend does; TERM ends
#   $crowd->finish;                                      # all have answered, or ended
#   my $state = $crowd->code(3);                         # SQLSTATE, '' when it succeeded
#   my @rows = $crowd->ask(0, 'SELECT …');               # send, wait; dies on an error
#
# A member whose backend ended is connected again by finish(), one that is left in a failed transaction
# rolled back.

package InventoryLock::Crowd;

use strict;
use warnings FATAL => 'all';

use IO::Select;
use IO::Socket::UNIX;
use PostgreSQL::Test::Utils;
use Time::HiRes ();

my $protocol = 3 << 16;

sub new
{
    my ($class, $node, $size) = @_;
    my $self = bless {
        path => $node->host . '/.s.PGSQL.' . $node->port,
        select => IO::Select->new,
        members => [ map { {} } 1 .. $size ] }, $class;
    $self->connect($_) for $self->members;
    $self->finish;
    return $self;
}

sub members { my ($self) = @_; return 0 .. $#{ $self->{members} } }
sub pid { return $_[0]{members}[ $_[1] ]{pid} }
sub code { return $_[0]{members}[ $_[1] ]{code} }
sub rows { return @{ $_[0]{members}[ $_[1] ]{rows} } }
sub busy { return $_[0]{members}[ $_[1] ]{busy} }

sub connect
{
    my ($self, $i) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $self->{path}) // die "$self->{path}: $!";
    my $user = getpwuid $>;
    my $body = pack('N', $protocol) . join('', map { "$_\0" } 'user', $user, 'database', 'postgres') . "\0";
    $self->{members}[$i] = { socket => $socket, busy => 1, in => '', code => '', rows => [] };
    $self->{select}->add($socket);
    $self->{by_handle}{$socket} = $i;
    syswrite $socket, pack('N', 4 + length $body) . $body;
    return;
}

sub send
{
    my ($self, $i, $sql) = @_;
    my $member = $self->{members}[$i];
    die 'the member has not answered yet' if $member->{busy};
    @$member{qw(busy answered code rows)} = (1, 0, '', []);
    my $message = 'Q' . pack('N', 5 + length $sql) . "$sql\0";
    syswrite($member->{socket}, $message) == length $message or die "send: $!";
    return;
}

# A member that is told to end counts as busy until it is gone, also when its answer was faster.
sub signal
{
    my ($self, $i, $name) = @_;
    my $member = $self->{members}[$i];
    kill $name, $member->{pid} or die "backend $member->{pid}: $!";
    $member->{ending} = 1 if $name eq 'TERM';
    return;
}

# Reads what has come, waiting for it at most so many seconds. Returns who has answered completely.
sub receive
{
    my ($self, $seconds) = @_;
    my @done;
    for my $socket ($self->{select}->can_read($seconds))
    {
        my $i = $self->{by_handle}{$socket};
        my $member = $self->{members}[$i];
        my $got = sysread $socket, $member->{in}, 65536, length $member->{in};
        $self->understand($member);
        if (!$got)
        {
            $self->{select}->remove($socket);
            delete $self->{by_handle}{$socket};
            close $socket;
            $member->{gone} = 1;
            $member->{busy} = 0;
        }
        push @done, $i unless $member->{busy};
    }
    return @done;
}

sub understand
{
    my ($self, $member) = @_;
    while (length $member->{in} >= 5)
    {
        my ($kind, $length) = unpack 'aN', $member->{in};
        last if length $member->{in} < 1 + $length;
        my $body = substr $member->{in}, 5, $length - 4;
        substr($member->{in}, 0, 1 + $length) = '';
        if ($kind eq 'Z')
        {
            @$member{qw(status answered)} = ($body, 1);
            $member->{busy} = 0 unless $member->{ending};
        }
        elsif ($kind eq 'K')
        {
            ($member->{pid}) = unpack 'N', $body;
        }
        elsif ($kind eq 'E')
        {
            ($member->{code}) = $body =~ /(?:^|\0)C(\w{5})\0/ unless $member->{answered};
        }
        elsif ($kind eq 'D')
        {
            my ($count, $rest) = unpack 'n a*', $body;
            my @row;
            for (1 .. $count)
            {
                my $size = unpack 'N', $rest;
                my $null = $size == 0xFFFFFFFF;
                push @row, $null ? undef : substr $rest, 4, $size;
                $rest = substr $rest, 4 + ($null ? 0 : $size);
            }
            push @{ $member->{rows} }, \@row;
        }
    }
    return;
}

# Waits until every member has answered and is connected and in no transaction. code() and rows() tell
# of what was sent before.
sub finish
{
    my ($self) = @_;
    my $end = Time::HiRes::time() + $PostgreSQL::Test::Utils::timeout_default;
    for (;;)
    {
        for my $i (grep { !$self->busy($_) } $self->members)
        {
            my ($code, $rows) = @{ $self->{members}[$i] }{qw(code rows)};
            $self->restore($i);
            @{ $self->{members}[$i] }{qw(code rows)} = ($code, $rows);
        }
        last unless grep { $_->{busy} } @{ $self->{members} };
        die 'no answer in time' if Time::HiRes::time() > $end;
        $self->receive(1);
    }
    return;
}

# Connects again who is gone, and rolls back who is in a failed transaction: below a savepoint it still
# has its locks. Returns at once.
sub restore
{
    my ($self, $i) = @_;
    my $member = $self->{members}[$i];
    if ($member->{gone})
    {
        $self->connect($i);
    }
    elsif ($member->{status} ne 'I')
    {
        $self->send($i, 'ROLLBACK');
    }
    return;
}

sub ask
{
    my ($self, $i, $sql) = @_;
    $self->send($i, $sql);
    $self->receive(1) while $self->busy($i);
    die "$sql\nfailed: " . $self->code($i) if $self->code($i) ne '';
    return $self->rows($i);
}

sub quit
{
    my ($self) = @_;
    close $_->{socket} for grep { !$_->{gone} } @{ delete $self->{members} };
    return;
}

1;
