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

# A shop's own tables, what has been made beside them, and its function for orders.
my $own = q{SELECT order_id, replayed FROM inventory_lock.place_order_locked('u', 'k', '[{"variant_id": 7, "quantity": 2}]', options => '{"binding": "own"}')};
$node->safe_psql('postgres', q{
    SET client_min_messages = error;
    CREATE SCHEMA own;
    CREATE TABLE own.products (id integer PRIMARY KEY, stock integer NOT NULL CHECK (stock >= 0));
    INSERT INTO own.products VALUES (7, 10);
    CREATE TABLE own.invoice (number bigint GENERATED ALWAYS AS IDENTITY (START 5001) PRIMARY KEY, lines jsonb);
    CREATE FUNCTION own.write_order(text, text, jsonb, jsonb) RETURNS bigint LANGUAGE sql AS
        'INSERT INTO own.invoice (lines) VALUES ($3) RETURNING number';
    SELECT inventory_lock.bind('own', 'own.products', variant_column => 'id', on_hand_column => 'stock',
        order_writer => 'own.write_order(text, text, jsonb, jsonb)');
});
is($node->value($own), '5001|f', 'an order of the shop\'s own');
$node->value(q{SELECT FROM inventory_lock.reserve_stock_locked('anna', '[{"variant_id": 7, "quantity": 5}]', '1 day', binding => 'own')});

# Bindings of tables that are gone: of all of them, and of one.
$node->safe_psql('postgres', q{
    SET client_min_messages = error;
    CREATE TABLE own.gone (variant_id integer PRIMARY KEY, on_hand integer NOT NULL);
    CREATE TABLE own.half (variant_id integer PRIMARY KEY, on_hand integer NOT NULL);
    SELECT inventory_lock.bind(t, ('own.' || t)::regclass) FROM unnest('{gone,half}'::text[]) t;
    SELECT inventory_lock.create_outbox('half');
    DROP TABLE own.gone, own.gone_movement, own.gone_reservation, own.gone_orders, own.gone_order_line, own.half_outbox;
    SELECT inventory_lock.assert_fence('lock:report', 7);
});

# The owner of the database dumps it, who is no superuser and owns the tables.
$node->safe_psql('postgres', q{
    CREATE ROLE dbo LOGIN;
    ALTER DATABASE postgres OWNER TO dbo;
    GRANT USAGE ON SCHEMA shop, own TO dbo;
    GRANT SELECT ON ALL TABLES IN SCHEMA shop, own TO dbo;
    GRANT SELECT ON ALL SEQUENCES IN SCHEMA shop, own TO dbo;
});
my $file = PostgreSQL::Test::Utils::tempdir() . '/shop.sql';
$node->command_ok(['pg_dump', '-d', $node->connstr('postgres') . ' user=dbo', '-f', $file], 'dumped by the owner of the database');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok(
    ['psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $file],
    'restored');

is($node->safe_psql('copy', $order), 'placed|t', 'the order is known there');
is($node->safe_psql('copy', 'SELECT string_agg(name, $$,$$ ORDER BY name) FROM inventory_lock.binding'),
    'default,own', 'bindings of tables that are gone are not, and not of others by their numbers');
is($node->safe_psql('copy', 'SELECT key, fence FROM inventory_lock.fence'), 'lock:report|7', 'the last fence of a lock is there');
is($node->safe_psql('copy', "SELECT position, variant_id, kind FROM inventory_lock.outbox_fetch('mailer')"),
    '4|43|out_of_stock', 'the consumer goes on behind what it has acknowledged');
$node->safe_psql('copy', "SELECT FROM inventory_lock.adjust_stock_locked('42', 5)");
is( $node->safe_psql('copy', "SELECT string_agg(variant_id || ' ' || kind, ', ' ORDER BY position) FROM inventory_lock.outbox_fetch('mailer')"),
    '43 out_of_stock, 42 back_in_stock', 'and new events come behind the old ones');
is($node->safe_psql('copy', $own), '5001|t', 'the shop\'s own order is known there');
is( $node->safe_psql('copy', q{SELECT on_hand, held, fence > 0 FROM inventory_lock.stock(7, binding => 'own')}),
    '8|5|t', 'with what is held, and the last fence');
is($node->safe_psql('copy', $own =~ s/'k'/'k2'/r), '5002|f', 'and its function makes the next one');
is( $node->safe_psql('copy', q{SELECT quantity_after, drift FROM inventory_lock.increment_stock_on_cancellation(7, 1, '5001', binding => 'own'),
        inventory_lock.verify_stock(binding => 'own')}),
    '7|0', 'a part of the first is given back');
is($node->safe_psql('copy', 'SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0'),
    0, 'the ledger is whole');
is($node->safe_psql('copy', "SELECT string_agg(severity, ',') FROM unnest('{default,own}'::text[]) b, inventory_lock.check_binding(b) WHERE severity = 'error'"),
    '', 'nothing is wrong with the bindings');

$node->finish;
done_testing();
