"""The clients of the chaos run: each does one kind of work until told to stop, survives whatever
happens to its connection, and remembers what it was promised.

The rule all of them follow is that of a careful application: an answer is a promise; without an
answer the same request (same request_key, same idempotency key) is sent again until there is one.
What was promised is checked in the end by invariants.py.
"""

import json
import pathlib
import random
import sys
import threading
import time

import psycopg2
import redis as redis_py

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "history"))
from recorders import Recorder, now  # noqa: E402 (the path is set just above)

VARIANTS = ["v%d" % n for n in range(6)]
LOCKS = ["chaos1", "chaos2"]
REFUSALS = {"IL001"}  # an answer, too
LONGEST_S = 90  # nobody may be without an answer for longer


class Client(threading.Thread):
    """One connection at a time; subclasses do one piece of work in turn()."""

    refusals = REFUSALS

    def __init__(self, world, number):
        super().__init__(name=f"{type(self).__name__} {number}", daemon=True)
        self.world, self.number = world, number
        self.chance = random.Random(f"{world.seed} {self.name}")
        self.connection = None
        self.answers, self.errors, self.slowest_s = 0, {}, 0.0
        self.trouble = None
        self.serial = 0

    def run(self):
        try:
            while not self.world.stopping.is_set():
                self.turn()
        except Exception as error:  # reported by the driver as a failed test
            self.trouble = f"{self.name}: {type(error).__name__}: {error}"
        finally:
            self.forget_connection()

    def forget_connection(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def connect(self):
        return psycopg2.connect(self.world.dsn(), connect_timeout=5)

    def once(self, statement, arguments):
        """One attempt in a transaction of its own; the row, or None when there was no answer."""
        try:
            if self.connection is None:
                self.connection = self.connect()
            with self.connection, self.connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '20 s'")
                cursor.execute(statement, arguments)
                row = cursor.fetchone()
            return row
        except psycopg2.Error as error:
            code = error.pgcode or "connection"
            self.errors[code] = self.errors.get(code, 0) + 1
            if code in self.refusals:
                return (code,)
            if code.startswith(("22", "42", "P0", "XX")):
                raise
            if self.connection is not None and self.connection.closed:
                self.forget_connection()
            if code == "connection":
                self.forget_connection()
                self.world.stopping.wait(0.05)
            return None

    def insist(self, statement, arguments):
        """The same request until there is an answer."""
        began = time.monotonic()
        while (row := self.once(statement, arguments)) is None:
            if time.monotonic() - began > LONGEST_S:
                raise TimeoutError(f"no answer to {arguments} within {LONGEST_S} s: {self.errors}")
        self.answers += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        return row

    def key(self):
        self.serial += 1
        return f"{self.name} {self.serial}"


class Adjuster(Client):
    promised = {}  # request_key → (variant, delta)

    def turn(self):
        key, variant = self.key(), self.chance.choice(VARIANTS)
        delta = self.chance.choice((-3, -1, 1, 2))
        row = self.insist("SELECT movement_id FROM inventory_lock.adjust_stock_locked("
                          "%s, %s, request_key => %s, wait_timeout => '5 s')", (variant, delta, key))
        if row[0] not in REFUSALS:
            self.promised[key] = variant, delta


class Buyer(Client):
    placed = {}     # idempotency key → (order id, lines)
    cancelled = {}  # order id → restored
    refused = {}

    def turn(self):
        key = self.key()
        lines = [{"variant_id": variant, "quantity": self.chance.randint(1, 3), "unit_price": 1}
                 for variant in self.chance.sample(VARIANTS, self.chance.randint(1, 3))]
        row = self.insist("SELECT order_id FROM inventory_lock.place_order_locked("
                          "%s, %s, %s, options => '{\"wait_timeout\": \"5 s\"}')",
                          (self.name, key, json.dumps(lines)))
        if row[0] in REFUSALS:
            self.refused[key] = self.name
            return
        self.placed[key] = row[0], lines
        if self.chance.random() < 0.4:
            self.insist("SELECT status FROM inventory_lock.cancel_order_locked("
                        "%s, request_key => %s)", (row[0], key))
            self.cancelled[row[0]] = True


class Counter(Client):
    """Reads and writes a number in two steps under acquire_lock; what it sees is recorded."""

    def __init__(self, world, number):
        super().__init__(world, number)
        self.recorder = Recorder(world.folder / f"counter{number}.jsonl", self.name, "a")

    def turn(self):
        name, hold = self.chance.choice(LOCKS), None
        asked = None
        read = committing = None
        try:
            if self.connection is None:
                self.connection = self.connect()
            cursor = self.connection.cursor()
            cursor.execute("SET LOCAL statement_timeout = '20 s'")
            asked = now()
            cursor.execute("SELECT inventory_lock.acquire_lock(%s, '5 s')", (name,))
            answered = now()
            fence = cursor.fetchone()[0]
            cursor.execute("SELECT bool_and(protection = 'redis') FROM inventory_lock.active_locks "
                           "WHERE pid = pg_backend_pid()")
            protection = "redis" if cursor.fetchone()[0] else "database"
            hold = self.recorder.grant("lock:" + name, asked, answered, fence, protection)
            cursor.execute("SELECT n FROM counter WHERE name = %s", (name,))
            read = cursor.fetchone()[0]
            cursor.execute("UPDATE counter SET n = %s WHERE name = %s", (read + 1, name))
            committing = now()
            self.connection.commit()
            self.recorder.end(hold, committing, "done", "a", read, read + 1)
            self.answers += 1
            self.slowest_s = max(self.slowest_s, (answered - asked) / 1e9)
        except psycopg2.Error as error:
            code = error.pgcode or "connection"
            self.errors[code] = self.errors.get(code, 0) + 1
            if code.startswith(("22", "42", "P0", "XX")):
                raise
            if hold is not None:
                self.ended_badly(hold, code, committing, read)
            if self.connection is None or self.connection.closed or code == "connection":
                self.forget_connection()
                self.world.stopping.wait(0.05)
            else:
                self.connection.rollback()

    def ended_badly(self, hold, code, committing, read):
        """Told by SQLSTATE: rolled back for certain. Connection gone: who knows, once COMMIT was
        sent; and before, when it was rolled back."""
        if committing is None or code not in ("connection", "57P01", "57P02", "57P03"):
            self.recorder.lost(hold, now())
        else:
            self.recorder.end(hold, committing, "unknown", "a", read, read + 1)


class Foreigner(Client):
    """redis-py on the same keys, straight to Redis: makes us wait, and vanishes at times."""

    def turn(self):
        key = self.chance.choice(["lock:" + self.chance.choice(LOCKS),
                                  "inventory_lock:" + self.chance.choice(VARIANTS)])
        try:
            client = redis_py.Redis(port=self.world.redis_port, socket_timeout=1)
            lock = client.lock(key, timeout=2, sleep=0.01)
            if lock.acquire(blocking_timeout=2):
                self.world.stopping.wait(self.chance.uniform(0, 0.02))
                if self.chance.random() > 0.05:  # else it died
                    lock.release()
                self.answers += 1
        except redis_py.exceptions.RedisError as error:
            name = type(error).__name__
            self.errors[name] = self.errors.get(name, 0) + 1
        self.world.stopping.wait(self.chance.uniform(0.02, 0.2))


def forget_promises():
    """Before another run, on another cluster."""
    for promises in (Adjuster.promised, Buyer.placed, Buyer.refused, Buyer.cancelled):
        promises.clear()
