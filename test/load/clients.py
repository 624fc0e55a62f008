"""Buyers, foreign services, and what they were told."""

import asyncio
import collections
import json
import random
import time
import uuid

import psycopg
import redis as redis_client
import redis.asyncio

Call = collections.namedtuple("Call", "at took outcome")  # seconds from the start; ok, short, error
Sample = collections.namedtuple("Sample", "at stock waiters held degraded mode")
RETRY_S = 0.1    # how often a foreign service looks whether the key is free
WORK_S = 0.002   # between its reading and its writing
SAMPLE_S = 0.2   # between two looks at the whole
RELEASE = ("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1])"
           " else return 0 end")


class Told:
    """What clients were told, counted by them alone."""

    def __init__(self):
        self.calls = []
        self.sold = collections.Counter()
        self.foreign = collections.Counter()
        self.orders = set()
        self.replays = self.replays_wrong = self.refused_wrongly = 0
        self.lost = []  # when
        self.errors = collections.Counter()


class Load:
    def __init__(self, options, redis, postgres, pool):
        self.options, self.redis, self.postgres, self.pool = options, redis, postgres, pool
        self.skus = [f"sku{number + 1}" for number in range(options["SKUS"])]
        self.told = Told()
        self.samples = []
        self.events = []
        self.top = ""
        self.started = 0.0
        self.redis_back = float("inf")

    def now(self):
        return time.monotonic() - self.started

    def over(self):
        return self.now() >= self.options["SECONDS"]

    async def run(self):
        buyers = [await self.connect() for _ in range(self.options["USERS"])]
        self.started = time.monotonic()
        tasks = [self.buyer(number, buyer) for number, buyer in enumerate(buyers)]
        tasks += [self.foreign(number) for number in range(self.options["FOREIGN"])]
        tasks.append(self.watch())
        if self.options["KILL_REDIS"]:
            tasks.append(self.kill_redis())
        await asyncio.gather(*tasks)
        for buyer in buyers:
            await buyer.close()

    async def connect(self, direct=False):
        where = (f"host={self.postgres.folder} port={self.postgres.port}" if direct else
                 f"host=127.0.0.1 port={self.pool.port}")
        connection = await psycopg.AsyncConnection.connect(
            f"{where} user=postgres dbname=postgres", autocommit=True)
        connection.prepare_threshold = None  # the pool changes servers between transactions
        return connection

    async def buyer(self, number, connection):
        chance = random.Random(number)
        turn = 0
        while not self.over():
            turn += 1
            if chance.random() < 0.5:
                await self.order(connection, f"user{number}", f"key{turn}", chance)
            else:
                await self.purchase(connection, chance.choice(self.skus), chance.randint(1, 2))

    async def call(self, connection, statement, values):
        """Row and SQLSTATE of one call, timed. One whose lock was lost is repeated."""
        began = self.now()
        try:
            row = await (await connection.execute(statement, values)).fetchone()
            self.told.calls.append(Call(began, self.now() - began, "ok"))
            return row, ""
        except psycopg.Error as error:
            if error.sqlstate == "IL011":
                self.told.calls.append(Call(began, self.now() - began, "error"))
                self.told.lost.append(self.now())
                return await self.call(connection, statement, values)
            short = error.sqlstate == "IL001"
            self.told.calls.append(Call(began, self.now() - began, "short" if short else "error"))
            if not short:
                self.told.errors[f"{error.sqlstate} {str(error).splitlines()[0]}"] += 1
            else:
                lines = json.loads(error.diag.message_detail)
                self.told.refused_wrongly += any(line["available"] >= line["requested"]
                                                 for line in lines)
            return None, error.sqlstate

    async def order(self, connection, user, key, chance):
        chosen = {sku: chance.randint(1, 2)
                  for sku in chance.sample(self.skus, min(len(self.skus), chance.randint(1, 2)))}
        lines = json.dumps([{"variant_id": sku, "quantity": quantity, "unit_price": 1}
                            for sku, quantity in chosen.items()])
        statement = ("SELECT order_id, replayed FROM"
                     " inventory_lock.place_order_locked(%s::text, %s, %s::jsonb)")
        row, _ = await self.call(connection, statement, (user, key, lines))
        if row is None:
            return
        self.told.sold.update(chosen)
        self.told.orders.add(row[0])
        if chance.random() < 0.05:
            again, _ = await self.call(connection, statement, (user, key, lines))
            self.told.replays += 1
            self.told.replays_wrong += again != (row[0], True)

    async def purchase(self, connection, sku, quantity):
        row, _ = await self.call(
            connection, "SELECT delta FROM inventory_lock.decrement_stock_on_purchase(%s::text, %s)",
            (sku, quantity))
        if row is not None:
            self.told.sold[sku] -= row[0]

    async def foreign(self, number):
        """Another service: the lock in Redis is all that protects its read and write."""
        chance = random.Random(-1 - number)
        client = redis.asyncio.Redis(port=self.redis.port, decode_responses=True)
        connection = await self.connect(direct=True)
        end = self.options["SECONDS"] / (4 if self.options["KILL_REDIS"] else 1)
        while self.now() < end:
            sku, token = chance.choice(self.skus), str(uuid.uuid4())
            key = f"inventory_lock:{sku}"
            if not await client.set(key, token, nx=True, px=30000):
                await asyncio.sleep(RETRY_S * (0.5 + chance.random()))
                continue
            level = (await (await connection.execute(
                "SELECT on_hand FROM shop.stock_level WHERE variant_id = %s", (sku,))).fetchone())[0]
            await asyncio.sleep(WORK_S)
            if level > 0:
                await connection.execute(
                    "UPDATE shop.stock_level SET on_hand = %s WHERE variant_id = %s", (level - 1, sku))
                self.told.foreign[sku] += 1
            await client.eval(RELEASE, 1, key, token)
        await connection.close()
        await client.aclose() if hasattr(client, "aclose") else await client.close()

    async def watch(self):
        connection = await self.connect(direct=True)
        while not self.over():
            row = await (await connection.execute(
                "SELECT (SELECT sum(on_hand) FROM shop.stock_level WHERE variant_id LIKE 'sku%'),"
                " coalesce(sum(waiters), 0), count(pid),"
                " count(pid) FILTER (WHERE protection <> 'redis'),"
                " (SELECT mode FROM inventory_lock.get_status()) FROM inventory_lock.get_locks()")
                ).fetchone()
            if not self.top and self.now() > self.options["SECONDS"] / 2:
                lines = await connection.execute("SELECT * FROM inventory_lock.top")
                self.top = "\n".join(line for line, in await lines.fetchall())
            self.samples.append(Sample(self.now(), *(int(value) for value in row[:4]), row[4]))
            if len(self.samples) > 1 and self.samples[-2].mode != row[4]:
                self.events.append((self.now(), f"locks by {row[4]}"))
            await asyncio.sleep(SAMPLE_S)
        await connection.close()

    async def kill_redis(self):
        await asyncio.sleep(self.options["SECONDS"] / 3)
        self.redis.kill()
        self.events.append((self.now(), "Redis killed"))
        await asyncio.sleep(self.options["SECONDS"] / 3)
        self.redis_back = self.now()
        await asyncio.get_running_loop().run_in_executor(None, self.redis.start)
        self.events.append((self.now(), "Redis back"))

    def lock_keys_left(self):
        client = redis_client.Redis(port=self.redis.port, decode_responses=True)
        end = time.monotonic() + 40  # time to live included
        while True:
            keys = [key for key in client.keys("*") if not key.startswith("il:")]
            if not keys or time.monotonic() > end:
                return keys
            time.sleep(SAMPLE_S)
