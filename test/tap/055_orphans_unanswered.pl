# What a dead server left in Redis is freed also when the first attempt is lost on its way: the
# connection is given up without an answer, or closed, and the next connection tries again.

use strict;
use warnings FATAL => 'all';

use File::Basename qw(dirname);
use InventoryLock::Cluster;
use InventoryLock::Redis;
use IO::Socket::UNIX;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $control = PostgreSQL::Test::Utils::tempdir_short() . '/proxy.sock';
my $proxy = IPC::Run::start(
    [
        'python3', dirname(dirname($INC{'InventoryLock/Redis.pm'})) . '/../proxy/resp_proxy.py',
        '--listen', "127.0.0.1:$port", '--upstream', '127.0.0.1:' . $redis->port, '--control', $control ],
    '<', \undef, '>', '/dev/null', '2>', '/dev/null');
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
until (-S $control) { die 'no proxy' if time > $end; select undef, undef, undef, 0.02 }

sub tell_proxy
{
    my ($line) = @_;
    my $socket = IO::Socket::UNIX->new(Peer => $control) // die "proxy: $!";
    print $socket "$line\n";
    my $answer = <$socket>;
    die "proxy: $line: $answer" unless $answer =~ /^ok/;
    return $answer;
}

my $node = InventoryLock::Cluster->create(
    'main',
    settings => {
        'inventory_lock.redis_url' => "redis://127.0.0.1:$port/0",
        'inventory_lock.custom_ttl' => '10min' });
$node->wait_for_protection('redis');

for my $rule ('rule requests drop match=EVALSHA', 'rule requests close match=EVALSHA')
{
    my $session = $node->session;
    $session->run('BEGIN');
    $session->run("SELECT count(inventory_lock.acquire_lock('left_' || i)) FROM generate_series(1, 20) i");
    $node->kill9_and_wait;
    $session->abandon;
    tell_proxy($rule);
    $node->poll_until(sub { $node->start(fail_ok => 1) }, 'the server starts again');
    my $met = sub { tell_proxy('stats') =~ /"(?:drop|close)": [1-9]/ };
    $node->poll_until($met, 'the first attempt is lost');
    tell_proxy('clear');
    $node->poll_until(sub { $redis->lock_keys !~ /left_/ }, 'the keys are freed');
    pass("freed after: $rule");
    $node->wait_for_protection('redis');
}

$node->finish($redis, crashes => 1);
$proxy->kill_kill;
done_testing();
