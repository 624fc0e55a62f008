# Redis Sentinel: it is asked for the primary, and a failover is followed. A lock that the new primary has
# stands; a transaction whose lock it does not have does not commit.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use InventoryLock::Sentinel;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($one, $two) = map { InventoryLock::Redis->new($_) } qw(one two);
$one->start;
$two->{settings}{replicaof} = '127.0.0.1 ' . $one->port;
$two->start;
my @sentinels = map { InventoryLock::Sentinel->new($_, watches => $one, quorum => 2) } 1 .. 3;
$_->start for @sentinels;

sub wait_until
{
    my ($what, $condition) = @_;
    return InventoryLock::Cluster->poll_until($condition, $what);
}

# The server that Sentinel calls the primary.
sub primary { return $sentinels[1]->command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', 'shop') =~ /(\d+)$/ ? $1 : 0 }

# The other one, when Sentinels and it know each other: a failover can succeed. (Sentinel may have changed
# its mind about which is which since the last one.)
sub replica
{
    my $replica;
    wait_until(
        'a failover can succeed',
        sub {
            $replica = primary() == $one->port ? $two : $one;
            $replica->command('INFO', 'replication') =~ /master_link_status:up/
              && $sentinels[1]->command('SENTINEL', 'CKQUORUM', 'shop') =~ /^OK/
              && $sentinels[1]->command('SENTINEL', 'REPLICAS', 'shop') =~ /flags\nslave\n.*status\nok\n/s
              && $sentinels[1]->command('SENTINEL', 'MASTER', 'shop') =~ /num-other-sentinels\n2/;
        });
    return $replica;
}
replica();

my $url = 'redis+sentinel://' . join(',', map { '127.0.0.1:' . $_->port } @sentinels) . '/shop/0';
$sentinels[0]->kill9;    # the next one is asked
my $node = InventoryLock::Cluster->create('main', settings => { 'inventory_lock.redis_url' => $url });
$node->wait_for_protection('redis');
$sentinels[0]->start;

sub endpoint { return $node->value('SELECT DISTINCT endpoint FROM inventory_lock.redis_status') }
is(endpoint(), '127.0.0.1:' . $one->port . '/0', 'the primary is the one that Sentinel names');
like(slurp_file($node->logfile), qr{LOG:  Sentinel names the Redis primary at 127.0.0.1:@{[$one->port]}/0}, 'the log says which');

# A planned failover: the new primary has the locks.
my $holder = $node->session;
$holder->run('BEGIN');
$holder->run("SELECT inventory_lock.acquire_lock('kept')");
my $next = replica();
wait_until('the lock is replicated', sub { $next->command('EXISTS', 'lock:kept') eq '1' });
is($sentinels[1]->command('SENTINEL', 'FAILOVER', 'shop'), 'OK', 'a failover is asked for');
wait_until('the replica is the primary', sub { primary() == $next->port });
my $started = time;
wait_until('the worker follows', sub { endpoint() eq '127.0.0.1:' . $next->port . '/0' });
$node->wait_for_protection('redis');
cmp_ok(time - $started, '<', 4, 'within some seconds');
is($next->command('EXISTS', 'lock:kept'), '1', 'the lock is there');
is($holder->error_of('COMMIT'), '', 'and its transaction commits');
wait_until('the lock is released', sub { $next->command('EXISTS', 'lock:kept') eq '0' });

# The primary dies, and the replica has never heard of the lock.
$next = replica();
my $old = $next == $one ? $two : $one;
$holder->run('BEGIN');
$holder->run("SELECT inventory_lock.acquire_lock('lost')");
wait_until('the lock is replicated', sub { $next->command('EXISTS', 'lock:lost') eq '1' });
$next->command('CONFIG', 'SET', 'replica-read-only', 'no');
$next->command('DEL', 'lock:lost');
$old->kill9;
$started = time;
my $caller = $node->session;
my ($slowest, $failed) = (0, 0);
wait_until(
    'calls use the new primary',
    sub {
        my $asked = time;
        my $protection = eval {
            $caller->run(q{SELECT protection FROM inventory_lock.adjust_stock_locked('42', -1)});
        };
        $caller->warnings;
        $failed++ unless defined $protection;
        $slowest = time - $asked if time - $asked > $slowest;
        primary() == $next->port && ($protection // '') eq 'redis';
    });
is($failed, 0, 'no call failed while the primary was away');
cmp_ok($slowest, '<', 1.5, 'none took long');
cmp_ok(time - $started, '<', 20, 'and calls use Redis again by themselves');
is(endpoint(), '127.0.0.1:' . $next->port . '/0', 'which is the other server now');
is($holder->error_of('COMMIT'), 'IL011', 'the transaction whose lock is not there does not commit');

# The old primary comes back as one that takes writes, until Sentinel has told it what it is.
delete $old->{settings}{replicaof};
$old->start;
replica();
wait_until('the worker is where Sentinel says', sub { endpoint() eq '127.0.0.1:' . primary() . '/0' });
is($node->protection, 'redis', 'both are there again');

# Without Sentinel what is known stays in use.
$_->kill9 for @sentinels;
wait_until('the log says that Sentinel is away',
    sub { slurp_file($node->logfile) =~ /LOG:  nobody says where the Redis primary is: Sentinel at/ });
is($node->protection, 'redis', 'locks go on without Sentinel');
$_->start for @sentinels;
$next = replica();
$sentinels[1]->command('SENTINEL', 'FAILOVER', 'shop');
wait_until('the worker follows again', sub { endpoint() eq '127.0.0.1:' . $next->port . '/0' });
$node->wait_for_protection('redis');
my @lines = slurp_file($node->logfile) =~ /nobody says where/g;
is(scalar(@lines), 1, 'its absence is told once');

# What Sentinel does not know.
$node->value(qq{ALTER SYSTEM SET inventory_lock.redis_url = '@{[$url =~ s/shop/nobody/r]}'});
$node->reload;
wait_until('redis_status says why',
    sub { $node->value('SELECT last_error FROM inventory_lock.redis_status LIMIT 1') =~ /Sentinel at .* does not know the primary/ });
ok(1, 'a name that Sentinel does not know is told');
is($node->protection, 'database', 'and calls go on without Redis');
$node->value(q{ALTER SYSTEM RESET inventory_lock.redis_url});
$node->reload;
$node->wait_for_protection('redis');
is($node->error_of("ALTER SYSTEM SET inventory_lock.redis_replica_url = '$url'"),
    '22023', 'for the locks of others a replica is to be named');

$_->quit for $holder, $caller;
$node->finish(primary() == $one->port ? $one : $two);
done_testing();
