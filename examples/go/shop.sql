-- Statements as Go's database/sql or pgx prepares them: placeholders are $1, $2, … with their types.
--
-- For each: QueryRow(ctx, statement, arguments…). An error is a *pgconn.PgError; repeat the call with the
-- same arguments when its Code is IL010, IL011, IL012, IL020, 40001 or 40P01. On IL001 its Detail is
-- a JSON array of the lines that are short. Run it here with psql -f: PREPARE stands for db.Prepare.

PREPARE buy (text, bigint) AS
SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase($1, $2);

PREPARE give_back (text, bigint, text) AS
SELECT quantity_after FROM inventory_lock.increment_stock_on_cancellation($1, $2, order_id => $3);

PREPARE place_order (text, text, jsonb) AS
SELECT order_id, total, replayed FROM inventory_lock.place_order_locked($1, $2, $3);

-- Several statements under one lock: db.BeginTx, these two and your own, tx.Commit.
PREPARE lock_stock (text, interval) AS
SELECT inventory_lock.acquire_stock_lock($1, wait_timeout => $2);

EXECUTE buy('42', 2);
EXECUTE place_order('user-7', 'go-1', '[{"variant_id": "42", "quantity": 1, "unit_price": 19.90}]');
EXECUTE place_order('user-7', 'go-1', '[{"variant_id": "42", "quantity": 1, "unit_price": 19.90}]');

BEGIN;
EXECUTE lock_stock('42', '2 s');
UPDATE shop.stock_level SET low_stock_threshold = 5 WHERE variant_id = '42';
COMMIT;
