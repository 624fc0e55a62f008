# A private Redis Sentinel for a TAP test, started and stopped as InventoryLock::Redis is.
#
#   my $sentinel = InventoryLock::Sentinel->new('one', watches => $redis, quorum => 2);
#   … watches => $redis, host => 'redis.test', quorum => 1);    # which it knows, and tells, by this name
#
# It knows the primary as "shop", counts it as down after 500 ms, and looks at everything more often than
# one that is not being tested.

package InventoryLock::Sentinel;

use strict;
use warnings FATAL => 'all';
use parent 'InventoryLock::Redis';

use PostgreSQL::Test::Utils qw(append_to_file);

sub new
{
    my ($class, $name, %options) = @_;
    my $self = $class->SUPER::new($name);
    $self->{$_} = $options{$_} for qw(watches quorum);
    $self->{primary_host} = $options{host};
    return $self;
}

sub start
{
    my ($self) = @_;
    $self->SUPER::start;
    $self->command('SENTINEL', 'DEBUG', 'INFO-PERIOD', '200', 'PUBLISH-PERIOD', '200');
    return;
}

# Sentinel keeps what it learns in its configuration, so that is written once.
sub arguments
{
    my ($self) = @_;
    my $file = "$self->{folder}/sentinel.conf";
    append_to_file(
        $file,
        join "\n",
        "bind 127.0.0.1",
        "port $self->{port}",
        "dir $self->{folder}",
        (defined $self->{primary_host} ? map { "sentinel $_-hostnames yes" } qw(resolve announce) : ()),
        'sentinel monitor shop '
          . join(' ', $self->{primary_host} // '127.0.0.1', $self->{watches}->port, $self->{quorum}),
        'sentinel down-after-milliseconds shop 500',
        'sentinel failover-timeout shop 3000',
        '') unless -e $file;
    return ($file, '--sentinel');
}

1;
