// A foreign client in Node: redlock over ioredis, commanded line by line through stdin.
//
//   acquire KEY TTL_MS RETRIES   → "ok" or "taken"
//   release                      → "ok" or "lost"
//
// One answer line for each command line.

const readline = require('readline');
const Redis = require('ioredis');
const { default: Redlock } = require('redlock');

const redis = new Redis(process.argv[2]);
let lock = null;

async function handle(words) {
  if (words[0] === 'acquire') {
    const redlock = new Redlock([redis], {
      retryCount: Number(words[3]),
      retryDelay: 20,
      retryJitter: 10,
    });
    redlock.on('error', () => {});
    try {
      lock = await redlock.acquire([words[1]], Number(words[2]));
      return 'ok';
    } catch (error) {
      return 'taken';
    }
  }
  if (words[0] === 'release') {
    try {
      await lock.release();
      return 'ok';
    } catch (error) {
      return 'lost';
    }
  }
  return 'unknown';
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(await handle(line.trim().split(' ')));
  }
  redis.disconnect();
})();
