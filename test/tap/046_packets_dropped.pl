# A network that drops every packet without a word. Two network namespaces of the test's own, joined by
# a pair of virtual interfaces: PostgreSQL in one, Redis in the other, where a routing rule throws away
# what comes in. What is demanded stands in InventoryLock::Breaker.

use strict;
use warnings FATAL => 'all';

use Test::More;

BEGIN
{
    if (!$ENV{INVENTORY_LOCK_IN_NAMESPACE})
    {
        my @command = qw(unshare --map-current-user --keep-caps --net);
        plan skip_all => 'this system allows no network namespaces to ordinary users'
          if system("@command true 2>/dev/null") != 0;
        $ENV{INVENTORY_LOCK_IN_NAMESPACE} = 1;
        exec @command, $^X, (map { "-I$_" } @INC), $0 or die "unshare: $!";
    }
}

use InventoryLock::Breaker;
use InventoryLock::Redis;
use PostgreSQL::Test::Utils qw(system_or_bail);

my ($here, $there) = qw(10.231.0.1 10.231.0.2);
# It lives as long as the other end of its pipe, which is ours.
my $other = open(my $pipe, '|-', qw(unshare --net cat)) // die "unshare: $!";
my @within = ('nsenter', "--net=/proc/$other/ns/net");

# Waits until the process is in a namespace of its own, and takes the other interface there.
my $own = readlink '/proc/self/ns/net';
for (1 .. 500)
{
    last if (readlink("/proc/$other/ns/net") // $own) ne $own;
    select undef, undef, undef, 0.01;
}
system_or_bail(qw(ip link set lo up));
system_or_bail(qw(ip link add here type veth peer name there netns), $other);
system_or_bail(qw(ip address add), "$here/30", qw(dev here));
system_or_bail(qw(ip link set here up));
system_or_bail(@within, qw(ip link set lo up));
system_or_bail(@within, qw(ip address add), "$there/30", qw(dev there));
system_or_bail(@within, qw(ip link set there up));

# Rules are asked before the table of local addresses only if that table's own rule stands behind them.
system_or_bail(@within, qw(ip rule add pref 100 lookup local));
system_or_bail(@within, qw(ip rule del pref 0));

my $redis = InventoryLock::Redis->new('main', bind => $there, 'protected-mode' => 'no');
$redis->{within} = \@within;
$redis->start;
my $breaker = InventoryLock::Breaker->new($redis);

$breaker->check(
    'packets dropped',
    break => sub { system_or_bail(@within, qw(ip rule add pref 50 iif there blackhole)) },
    heal => sub { system_or_bail(@within, qw(ip rule del pref 50)) },
    error => qr/in time/,
    hint => qr/slow commands|network/);

$breaker->finish;
done_testing();
