# pg_dump carries bindings, stock, orders and events into another database, where calls and
# consumers go on as if nothing had happened.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = InventoryLock::Cluster->create('main');
my $order = q{SELECT status, replayed FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": "42", "quantity": 999}]')};
is($node->value($order), 'placed|f', 'an order is placed');
$node->value("SELECT FROM inventory_lock.adjust_stock_locked('42', -1)");
is($node->value("SELECT count(*) FROM inventory_lock.outbox_fetch('mailer')"), 1, 'an event has been read');
is($node->value("SELECT inventory_lock.outbox_ack('mailer', 2)"), 2, 'and acknowledged');
$node->value("SELECT FROM inventory_lock.adjust_stock_locked('43', -1000)");

my $file = PostgreSQL::Test::Utils::tempdir() . '/shop.sql';
$node->command_ok(['pg_dump', '-d', $node->connstr('postgres'), '-f', $file], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok(
    ['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $file],
    'restored');

is($node->safe_psql('copy', $order), 'placed|t', 'the order is known there');
is($node->safe_psql('copy', "SELECT position, variant_id, kind FROM inventory_lock.outbox_fetch('mailer')"),
    '4|43|out_of_stock', 'the consumer goes on behind what it has acknowledged');
$node->safe_psql('copy', "SELECT FROM inventory_lock.adjust_stock_locked('42', 5)");
is( $node->safe_psql('copy', "SELECT string_agg(variant_id || ' ' || kind, ', ' ORDER BY position) FROM inventory_lock.outbox_fetch('mailer')"),
    '43 out_of_stock, 42 back_in_stock', 'and new events come behind the old ones');
is($node->safe_psql('copy', 'SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0'),
    0, 'the ledger is whole');
is($node->safe_psql('copy', "SELECT string_agg(severity, ',') FROM inventory_lock.check_binding() WHERE severity = 'error'"),
    '', 'nothing is wrong with the binding');

$node->finish;
done_testing();
