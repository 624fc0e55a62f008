# Rows that are written without plans are as statements would have written them: the same script is
# run on tables that can be written so, and on tables with a trigger that does nothing, which are
# left to statements. Results, errors and rows are the same, and every index knows every row, also
# when constraints and indexes come while calls go on.

use strict;
use warnings FATAL => 'all';

use InventoryLock::Cluster;
use InventoryLock::Redis;
use IPC::Run ();
use Test::More;

my $redis = InventoryLock::Redis->new('main');
$redis->start;
my $node = InventoryLock::Cluster->create(
    'main',
    redis => $redis,
    settings => { 'inventory_lock.sold_out_check' => 'off', session_preload_libraries => 'auto_explain' });

my $tables = q{
    SET client_min_messages = error;
    CREATE EXTENSION IF NOT EXISTS inventory_lock;
    CREATE EXTENSION amcheck;
    SELECT inventory_lock.create_tables();
    DELETE FROM shop.stock_level;
    CREATE TABLE product (id text COLLATE "C" PRIMARY KEY);
    INSERT INTO product VALUES ('P');
    -- Columns that have gone, that come with a default, that are short; keys in both directions.
    ALTER TABLE shop.stock_level ADD gone int DEFAULT 1, ADD colour text NOT NULL DEFAULT 'red',
        ADD long text, ALTER version TYPE smallint, ADD CONSTRAINT unlucky CHECK (on_hand <> 13),
        ADD FOREIGN KEY (product_id) REFERENCES product;
    ALTER TABLE shop.stock_level DROP gone;
    CREATE TABLE wish (variant_id text COLLATE "C", location_id text COLLATE "C",
        FOREIGN KEY (variant_id, location_id) REFERENCES shop.stock_level);
    CREATE INDEX ON shop.stock_level (on_hand);
    CREATE INDEX ON shop.stock_level (version) WHERE on_hand < 20;
    CREATE INDEX ON shop.stock_level ((held + on_hand));
    ALTER TABLE shop.stock_movement ADD gone int, ADD copied_at timestamptz DEFAULT 'epoch',
        ADD number serial, ALTER note TYPE varchar(5);
    ALTER TABLE shop.stock_movement DROP gone;
    ALTER TABLE shop.orders ALTER total TYPE numeric(6, 1), ADD channel text DEFAULT 'web';
    ALTER TABLE shop.order_line ALTER quantity TYPE int, ALTER unit_price TYPE numeric(8, 2);
    INSERT INTO shop.stock_level (variant_id, location_id, product_id, on_hand, version, long)
    VALUES ('1', 'main', 'P', 100, 0, repeat('x', 3000)), ('1', 'b', NULL, 50, 0, NULL),
        ('2', 'main', NULL, 100, 0, NULL), ('3', 'main', 'P', 15, 0, NULL),
        ('last', 'main', NULL, 5, 32767, NULL), ('4', 'main', NULL, 1000, 0, NULL);
    INSERT INTO wish VALUES ('1', 'main'), ('2', 'main');};

# What makes a difference: an idle trigger on every table.
my $watched = join '', map { qq{
    CREATE TRIGGER idle AFTER INSERT OR UPDATE ON shop.$_ FOR EACH ROW WHEN (false)
    EXECUTE FUNCTION suppress_redundant_updates_trigger();} }
    qw(stock_level stock_movement orders order_line);

my $adjusted = 'location_id, quantity_before, quantity_after, version, protection FROM inventory_lock.';
my @calls = (
    "SELECT $adjusted" . q{adjust_stock_locked('2', -7, 'damage', actor => 'ann', note => 'wet')},
    "SELECT $adjusted" . q{adjust_stock_locked('1', 20, 'count', 'b', 'file', '9', request_key => 'r1')},
    "SELECT $adjusted" . q{adjust_stock_locked('1', 20, 'count', 'b', 'file', '9', request_key => 'r1')},
    "SELECT $adjusted" . q{adjust_stock_locked('2', 1, request_key => 'r1')},
    "SELECT $adjusted" . q{adjust_stock_locked('3', -2)},                              # unlucky
    "SELECT $adjusted" . q{adjust_stock_locked('3', -2)},                              # is checked again
    "SELECT $adjusted" . q{adjust_stock_locked('3', -1)},
    "SELECT $adjusted" . q{adjust_stock_locked('2', 1, note => 'too long a note')},
    "SELECT $adjusted" . q{adjust_stock_locked('2', 1, note => 'short')},
    "SELECT $adjusted" . q{adjust_stock_locked('last', 1)},                            # no further version
    "SELECT $adjusted" . q{set_stock_locked('2', 88)},
    "SELECT $adjusted" . q{transfer_stock_locked('1', 5, 'b', 'main', request_key => 't')},
    q{SELECT variant_id, quantity_after, sqlstate FROM inventory_lock.adjust_stock_bulk_locked(
        '[{"variant_id": "1", "delta": -1, "location_id": "main"}, {"variant_id": "2", "delta": 3},
          {"variant_id": "3", "delta": -99}]', 'best_effort')},
    q{SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_bulk_locked(
        '[{"variant_id": "2", "delta": 1}, {"variant_id": "2", "delta": -1}]')},
    q{SELECT status, total, lines FROM inventory_lock.place_order_locked('ann', 'one',
        '[{"variant_id": "2", "quantity": 2, "unit_price": 1.255}]', '{"currency": "EUR", "gift": true}')},
    q{SELECT status, replayed, total FROM inventory_lock.place_order_locked('ann', 'one',
        '[{"variant_id": "2", "quantity": 2, "unit_price": 1.255}]', '{"currency": "EUR", "gift": true}')},
    q{SELECT status, lines FROM inventory_lock.place_order_locked('ann', 'many',
        '[{"variant_id": "4", "quantity": 1}, {"variant_id": "2", "quantity": 3, "unit_price": 2},
          {"variant_id": "1", "quantity": 60, "location_id": "b"}]')},
    q{SELECT status FROM inventory_lock.place_order_locked('ann', 'dear',
        '[{"variant_id": "4", "quantity": 9, "unit_price": 99999}]')},                 # total too large
    q{SELECT status, sqlstate FROM inventory_lock.place_order_locked('ann', 'no',
        '[{"variant_id": "3", "quantity": 99}]', options => '{"on_failure": "record"}')},
    q{INSERT INTO shop.orders (user_id, idempotency_key, status, request_fingerprint, response)
        VALUES ('eve', 'k', 'placed', '', '{}')},
    q{SELECT count(*) FROM inventory_lock.reserve_stock_locked('ann', '[{"variant_id": "2", "quantity": 4}]', '1 h')},
    q{SELECT status FROM inventory_lock.place_order_locked('ann', 'held', '[{"variant_id": "2", "quantity": 4}]',
        options => (SELECT jsonb_build_object('reservation_id', max(reservation_id::text)) FROM shop.reservation))},
    # A row that this transaction has made, with a foreign key.
    q{BEGIN; INSERT INTO shop.stock_level (variant_id, product_id, on_hand) VALUES ('new', 'P', 30);
        SELECT quantity_after FROM inventory_lock.adjust_stock_locked('new', -1);
        SELECT quantity_after FROM inventory_lock.adjust_stock_locked('new', -1); COMMIT},
    q{BEGIN; SAVEPOINT s; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', -1);
        ROLLBACK TO s; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', -2); COMMIT},
    # An error among several rows (unlucky; no further version), and the same session goes on.
    q{BEGIN; SAVEPOINT s; SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked(
            '[{"variant_id": "2", "delta": 1}, {"variant_id": "3", "delta": -1}, {"variant_id": "4", "delta": 1}]');
        ROLLBACK TO s; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', 2);
        SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_bulk_locked(
            '[{"variant_id": "2", "delta": 2}, {"variant_id": "3", "delta": 2}, {"variant_id": "4", "delta": 2}]'); COMMIT},
    q{BEGIN; SAVEPOINT s; SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked(
            '[{"variant_id": "2", "delta": 1}, {"variant_id": "4", "delta": 1}, {"variant_id": "last", "delta": 1}]');
        ROLLBACK TO s; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('2', 2);
        SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_bulk_locked(
            '[{"variant_id": "2", "delta": 2}, {"variant_id": "4", "delta": 2}]'); COMMIT},
    # The last variant of several has been locked before.
    q{BEGIN; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', 1);
        SELECT variant_id, quantity_after FROM inventory_lock.adjust_stock_bulk_locked(
            '[{"variant_id": "2", "delta": 1}, {"variant_id": "4", "delta": 1}]'); COMMIT},
    # Read only columns of one's own snapshot, serializable.
    q{BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', -1);
        SELECT on_hand FROM shop.stock_level WHERE variant_id = '4'; COMMIT},
    q{CREATE PUBLICATION p FOR TABLE shop.stock_level; ALTER TABLE shop.stock_level REPLICA IDENTITY NOTHING;
        SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', -1)},
    q{DROP PUBLICATION p; SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', -1)},
    # A column that nobody gives, of a domain that refuses NULL.
    q{CREATE DOMAIN channel AS text; ALTER TABLE shop.stock_movement ADD channel channel;
        ALTER DOMAIN channel ADD CONSTRAINT given CHECK (VALUE IS NOT NULL) NOT VALID;
        SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', -1)},
    q{ALTER TABLE shop.stock_movement DROP channel; DROP DOMAIN channel});
my $rows = q{
    SELECT to_jsonb(s) - 'fence' - 'updated_at' - 'long', length(long) FROM shop.stock_level s ORDER BY variant_id, location_id;
    SELECT to_jsonb(m) - 'fence' - 'occurred_at' - 'reference_id' - 'movement_id' - 'number' FROM shop.stock_movement m ORDER BY 1;
    SELECT to_jsonb(o) - 'order_id' - 'created_at' - 'response' - 'request_fingerprint' FROM shop.orders o ORDER BY idempotency_key;
    SELECT idempotency_key, to_jsonb(l) - 'order_id' FROM shop.order_line l JOIN shop.orders USING (order_id) ORDER BY 1, line_no;
    SELECT count(*) FROM shop.stock_movement m WHERE reference_type = 'order' AND NOT EXISTS
        (SELECT FROM shop.orders o WHERE o.order_id::text = m.reference_id);
    SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0};

# Result and errors of a script, as psql prints them.
sub outcome
{
    my ($database, $sql) = @_;
    my ($out, $err) = ('', '');
    $node->psql($database, "\\set VERBOSITY verbose\n$sql;", stdout => \$out, stderr => \$err, on_error_stop => 0);
    $err =~ s/^psql:<stdin>:\d+: //mg;
    $err =~ s/^(CONTEXT|LOCATION|DETAIL:  Failing row).*\n?//mg;    # times, fences; who raised it
    $out =~ s/"fence": \d+/"fence": some/g;
    return "$out\n$err";
}
sub indexes_are_whole
{
    my ($database) = @_;
    my $err = '';
    $node->psql($database, q{SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class ON oid = indexrelid
        WHERE relnamespace = 'shop'::regnamespace}, stderr => \$err, on_error_stop => 0);
    return is($err, '', "every index of $database knows every row");
}

$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain watched);
$node->safe_psql('plain', $tables);
$node->safe_psql('watched', $tables . $watched);
for my $call (@calls)
{
    my ($name) = $call =~ /FROM inventory_lock\.(.*)/s ? $1 : $call;
    is(outcome('plain', $call), outcome('watched', $call), $name =~ s/\s+/ /gr);
}
is_deeply([split /\n/, outcome('plain', $rows)], [split /\n/, outcome('watched', $rows)], 'all rows are the same');
like(outcome('plain', $rows), qr/\n0\n0\n/, 'and agree with the ledger');
indexes_are_whole($_) for qw(plain watched);

# It is as the names say: no statement writes to the plain tables, every one to the others.
sub statements
{
    my ($database, $call) = @_;
    my $err = '';
    $node->psql($database, "SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;
        SET client_min_messages = log; $call", stderr => \$err);
    return scalar(() = $err =~ /Query Text: (?:WITH|UPDATE|INSERT)/g);
}
my $sale = q{SELECT FROM inventory_lock.decrement_stock_on_purchase('4', 1)};
my $order = q{SELECT FROM inventory_lock.place_order_locked('bob', gen_random_uuid()::text,
    '[{"variant_id": "4", "quantity": 1}, {"variant_id": "2", "quantity": 1}]')};
is(statements('plain', $sale), 0, 'a sale without statements');
is(statements('watched', $sale), 2, 'and with them');
is(statements('plain', $order), 0, 'an order without statements');
cmp_ok(statements('watched', $order), '>', 0, 'and with them');

# What another session has changed is known to the next call of one that wrote before.
my $session = $node->session('plain');
my $more = q{SELECT quantity_after FROM inventory_lock.adjust_stock_locked('4', 1)};
$session->run($more);
$node->safe_psql('plain', q{ALTER TABLE shop.stock_level ADD CONSTRAINT few CHECK (on_hand < 900) NOT VALID});
is($session->error_of($more), '23514', 'a new constraint is obeyed');
$node->safe_psql('plain', q{ALTER TABLE shop.stock_level DROP CONSTRAINT few;
    ALTER TABLE shop.stock_movement ADD tag text NOT NULL DEFAULT 'new'});
ok($session->run($more), 'and one that has gone is not');
is($node->safe_psql('plain', q{SELECT tag FROM shop.stock_movement ORDER BY movement_id DESC LIMIT 1}), 'new',
    'a new column has its default');

# A trigger of the user's changes the tables in the middle of a call.
$node->safe_psql('plain', q{
    CREATE FUNCTION makes_index() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN CREATE INDEX made ON shop.stock_level (on_hand, variant_id); RETURN NEW; END';
    CREATE TRIGGER makes_index AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION makes_index()});
$session->run($order);
$node->safe_psql('plain', 'DROP TRIGGER makes_index ON shop.orders');
is($node->safe_psql('plain', q{SELECT count(*) FROM pg_class WHERE relname = 'made'}), '1', 'the trigger made an index');
indexes_are_whole('plain');

# The same, and calls a function itself: what was made ready for the call around it is of the old tables.
my $levels = q{SELECT string_agg(variant_id || location_id || ' ' || on_hand, ', ' ORDER BY variant_id, location_id) FROM shop.stock_level};
my $one_less = $levels =~ s/\|\| on_hand/|| on_hand - (variant_id IN ('2', '4'))::int/r;
for my $change ('CREATE INDEX made_too ON shop.stock_level (on_hand, product_id); DROP TABLE wish',
    'CLUSTER shop.stock_level USING stock_level_pkey')
{
    $node->safe_psql('plain', qq{
        UPDATE shop.stock_level SET colour = 'green';
        CLUSTER shop.stock_level USING stock_level_on_hand_idx;
        CREATE FUNCTION changes() RETURNS trigger LANGUAGE plpgsql AS
            \$\$BEGIN $change; PERFORM inventory_lock.stock('4'); RETURN NEW; END\$\$;
        CREATE TRIGGER changes AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION changes()});
    my $expected = $node->safe_psql('plain', $one_less);
    $session->run($order);
    $node->safe_psql('plain', 'DROP TRIGGER changes ON shop.orders; DROP FUNCTION changes');
    is($node->safe_psql('plain', $levels), $expected, "$change: the row that was meant is written");
    indexes_are_whole('plain');
}
$node->safe_psql('plain', q{
    CREATE FUNCTION paints() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN UPDATE shop.stock_level SET colour = 'blue' WHERE variant_id = '2'; RETURN NEW; END$$;
    CREATE TRIGGER paints AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION paints()});
my $left = q{SELECT sum(on_hand) FROM shop.stock_level WHERE variant_id = '2'};
my $before = $node->safe_psql('plain', $left);
$session->run($order);
is($node->safe_psql('plain', $left), $before - 1, 'a row that a trigger has changed meanwhile is written');
is($node->safe_psql('plain', q{SELECT colour FROM shop.stock_level WHERE variant_id = '2'}), 'blue',
    'and keeps what the trigger wrote');
$node->safe_psql('plain', 'DROP TRIGGER paints ON shop.orders');

# A trigger of the orders gets an error among several rows, and goes on as if nothing were.
$node->safe_psql('plain', q{
    CREATE FUNCTION tries() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN PERFORM inventory_lock.adjust_stock_bulk_locked(
            '[{"variant_id": "2", "delta": 1}, {"variant_id": "4", "delta": 1}]', note => 'too long a note');
        EXCEPTION WHEN string_data_right_truncation THEN
            PERFORM inventory_lock.stock('4'), inventory_lock.verify_stock('2'),  -- memory is used again
                (SELECT string_agg(repeat('x', i % 1000), '') FROM generate_series(1, 2000) i);
            RETURN NEW;
        END$$;
    CREATE TRIGGER tries AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION tries()});
my $fours = q{SELECT on_hand FROM shop.stock_level WHERE variant_id = '4'};
$before = $node->safe_psql('plain', $fours);
$session->run($more);
$session->run(q{SELECT FROM inventory_lock.place_order_locked('bob', gen_random_uuid()::text, '[{"variant_id": "4", "quantity": 3}]')})
    for 1 .. 2;
is($node->safe_psql('plain', $fours), $before + 1 - 6, 'orders whose trigger has caught an error among several rows');
$node->safe_psql('plain', 'DROP TRIGGER tries ON shop.orders');
indexes_are_whole('plain');

# Indexes are made and dropped while everybody writes.
my $script = $node->basedir . '/calls.sql';
PostgreSQL::Test::Utils::append_to_file($script, "$sale;\n");
$node->safe_psql('plain', q{UPDATE shop.stock_level SET on_hand = 1000000, version = 0 WHERE variant_id = '4';
    ALTER TABLE shop.stock_level ALTER version TYPE bigint});
my $load = IPC::Run::start(
    ['pgbench', '-n', '-M', 'prepared', '-c', 4, '-t', 500, '-f', $script, $node->connstr('plain')],
    '>', \my $done, '2>', \my $problems);
for my $number (1 .. 3)
{
    $node->safe_psql('plain', "CREATE INDEX CONCURRENTLY c$number ON shop.stock_level (on_hand, location_id)");
    $node->safe_psql('plain', "CREATE INDEX CONCURRENTLY m$number ON shop.stock_movement (delta, movement_id)");
    $node->safe_psql('plain', 'DROP INDEX CONCURRENTLY shop.c' . ($number - 1)) if $number > 1;
}
$load->finish;
like($done, qr{actually processed: 2000/2000}, 'calls go on while indexes come and go') or diag $problems;
indexes_are_whole('plain');
is($node->safe_psql('plain', 'SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0'), '1',
    'the level that was changed by hand shows as drift, and no other')
    or diag $node->safe_psql('plain', 'SELECT * FROM inventory_lock.verify_stock() WHERE drift <> 0');

$node->finish($redis);
done_testing();
