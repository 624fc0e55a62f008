# A redis_url that is refused because a password stands in it: the server's log does not show it, nor is it
# told to a session without privileges that loads the library.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = InventoryLock::Cluster->create('main');
my @names = ('inventory_lock.redis_replica_url', 'inventory_lock.redis_url');

# The log from here on, when each setting has been refused there.
sub refused_in_log
{
    my ($from, $when) = @_;
    for my $name (@names)
    {
        $node->poll_until(
            sub { slurp_file($node->logfile, $from) =~ /invalid value for parameter "\Q$name\E"/ }, "$name is refused $when");
    }
    my $log = slurp_file($node->logfile, $from);
    unlike($log, qr/hunter2/, "the log does not show it $when");
    like($log, qr/DETAIL:  The URL contains a password/, "but what is wrong, $when");
    return;
}

my $from = -s $node->logfile;
$node->set(map { $_ => 'redis://locker:hunter2@127.0.0.1/0' } @names);
$node->reload;
refused_in_log($from, 'at a reload');

$from = -s $node->logfile;
$node->restart;
refused_in_log($from, 'at the start');
is($node->value("SHOW $names[1]"), '', 'and it is not in use');

# Not preloaded: whoever calls a function loads the library.
$from = -s $node->logfile;
$node->set('shared_preload_libraries' => '');
$node->restart;
$node->safe_psql('postgres', 'CREATE ROLE visitor LOGIN');
$node->psql(
    'postgres', "SELECT FROM inventory_lock.stock('42')",
    connstr => $node->connstr('postgres') . ' user=visitor',
    stderr => \my $err, on_error_stop => 0);
like($err, qr/WARNING:  invalid value for parameter "inventory_lock.redis_url"\n/, 'a visitor is told of the setting');
unlike($err, qr/hunter2/, 'but not of its value');
unlike(slurp_file($node->logfile, $from), qr/hunter2/, 'nor does the log show it');

$node->set(map { $_ => '' } @names);
$node->reload;
$node->finish;
done_testing();
