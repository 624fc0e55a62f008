// Buying and ordering from Node, with pg.
//
//   npm ci && node shop.js "postgres://…"
//
// The two things every caller does: it sends the same idempotency key again after a failure, and it
// repeats what may be repeated, and nothing else.

const { Pool } = require('pg');

// Somebody else has the lock, it was lost, Redis is away and fallback is off, the same request is
// under way; and PostgreSQL's own serialization failure and deadlock.
const REPEAT = new Set(['IL010', 'IL011', 'IL012', 'IL020', '40001', '40P01']);

class SoldOut extends Error {
  constructor(short) {
    super(short.map((line) => `${line.variant_id}: ${line.available} left`).join(', '));
    this.short = short; // variant_id, requested and available of every line that cannot be served
  }
}

// The first row. A query outside of BEGIN is a transaction of its own, so the lock lasts as long as it.
async function call(pool, sql, values, attempts = 5) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return (await pool.query(sql, values)).rows[0];
    } catch (error) {
      if (error.code === 'IL001') throw new SoldOut(JSON.parse(error.detail));
      if (!REPEAT.has(error.code) || attempt === attempts) throw error;
      await new Promise((wake) => setTimeout(wake, Math.random() * 50 * 2 ** attempt));
    }
  }
}

const buy = (pool, variantId, quantity) => call(
  pool,
  'SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase($1::text, $2)',
  [variantId, quantity],
);

const order = (pool, userId, idempotencyKey, lines) => call(
  pool,
  'SELECT order_id, total, replayed FROM inventory_lock.place_order_locked($1::text, $2, $3)',
  [userId, idempotencyKey, JSON.stringify(lines)],
);

async function main() {
  const pool = new Pool({ connectionString: process.argv[2], max: 20 });
  console.log('left:', (await buy(pool, '42', 2)).quantity_after);
  const lines = [{ variant_id: '42', quantity: 1, unit_price: 19.9 }];
  const first = await order(pool, 'user-7', 'node-1', lines);
  const again = await order(pool, 'user-7', 'node-1', lines);
  console.log('total:', first.total, 'again the same order:', again.order_id === first.order_id,
    'replayed:', again.replayed);
  try {
    await buy(pool, '42', 1000000);
  } catch (error) {
    if (!(error instanceof SoldOut)) throw error;
    console.log('sold out:', error.short[0].variant_id, error.short[0].requested);
  }
  // Twenty buyers at once over one pool: a queue in the database, not a storm of retries.
  const many = await Promise.all(Array.from({ length: 20 }, () => buy(pool, '42', 1)));
  console.log('sold at once:', new Set(many.map((row) => row.quantity_after)).size);
  await pool.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
