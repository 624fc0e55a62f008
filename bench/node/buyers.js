// Buyers of one SKU from a Node service: one process, one Redis connection, a pool of connections to
// PostgreSQL, and as many buyers at once as that pool has connections.
//
//   node buyers.js PGHOST PGPORT REDIS_PORT CONNECTIONS
//
// Commands through stdin, one answer line for each:
//
//   application COUNT   the lock in the application, by node-redlock around the transaction
//   database COUNT      the lock in the database: the call, outside of BEGIN a transaction of its own
//                       → "SECONDS BOUGHT GAVE_UP"

const readline = require('readline');
const Redis = require('ioredis');
const { Pool } = require('pg');
const { default: Redlock, ExecutionError } = require('redlock');

const [host, port, redisPort, connections] = process.argv.slice(2);
const pool = new Pool({
  host, port: Number(port), user: 'postgres', database: 'postgres', max: Number(connections),
});
const redis = new Redis({ port: Number(redisPort) });
// Polls every 100 ms, as the Python service does; 10,000 times, so that nobody gives up.
const redlock = new Redlock([redis], { retryCount: 10000, retryDelay: 100, retryJitter: 50 });
redlock.on('error', () => {}); // every attempt that finds the key taken is one

async function sell() {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query("SELECT sfu('bench-1', 1)");
    await client.query('COMMIT');
  } finally {
    client.release();
  }
}

// Has he bought? False when he gave up waiting for the lock.
const buy = {
  async application() {
    let lock;
    try {
      lock = await redlock.acquire(['inventory_lock:bench-1'], 30000);
    } catch (error) {
      if (error instanceof ExecutionError) return false;
      throw error;
    }
    try {
      await sell();
    } finally {
      await lock.release();
    }
    return true;
  },
  async database() {
    const result = await pool.query(
      "SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase('bench-1', 1)",
    );
    return result.rowCount === 1;
  },
};

async function sale(how, count) {
  let left = count;
  let bought = 0;
  let gaveUp = 0;
  const buyer = async () => {
    while (left > 0) {
      left -= 1;
      if (await buy[how]()) {
        bought += 1;
      } else {
        gaveUp += 1;
      }
    }
  };
  const began = process.hrtime.bigint();
  await Promise.all(Array.from({ length: Number(connections) }, buyer));
  return `${Number(process.hrtime.bigint() - began) / 1e9} ${bought} ${gaveUp}`;
}

async function main() {
  // All connections are open before the first sale.
  const open = await Promise.all(Array.from({ length: Number(connections) }, () => pool.connect()));
  open.forEach((client) => client.release());
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [how, count] = line.trim().split(' ');
    console.log(await sale(how, Number(count)));
  }
  redis.disconnect();
  await pool.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
