"""Clients of the crash test, and the book they keep of what they were told.

Each behaves as a careful application: what has no answer is sent again with the same key until it has
one. Every answer goes into the book; run compares the book with the tables after each crash.
"""

import collections
import json
import os
import random
import signal
import threading
import time

import psycopg2
import redis as redis_py

VARIANTS = [f"v{n}" for n in range(4)]
INITIAL = 300
SHORT = ("IL001",)
GONE = ("IL001", "IL031", "IL033")  # the reservation has ended meanwhile
BROKEN = ("22", "42", "P0", "XX", "23")  # classes of errors that no crash explains
LONGEST_S = 90

ORDER = "SELECT order_id FROM inventory_lock.place_order_locked(%s, %s, %s, options => %s)"
ADJUST = ("SELECT movement_id FROM inventory_lock.adjust_stock_locked(%s, %s, request_key => %s, "
          "wait_timeout => '20 s')")
CANCEL = "SELECT restored FROM inventory_lock.cancel_order_locked(%s, request_key => %s)"
TRY = "SELECT inventory_lock.try_acquire_lock(%s)"
RESERVE = "SELECT reservation_id FROM inventory_lock.reserve_stock_locked(%s, %s, '30 s')"
RELEASE = "SELECT state FROM inventory_lock.release_reservation(%s)"


class Book:
    """What was acknowledged: levels since the beginning, the rest also since the last look."""

    def __init__(self):
        self.lock = threading.Lock()
        self.levels = collections.Counter({variant: INITIAL for variant in VARIANTS})
        self.answers, self.contradictions = 0, []
        self.first = {}  # (kind, key) → the first answer
        self.everything, self.recent = [], []  # (kind, key, answer)

    def note(self, kind, key, answer, deltas=()):
        with self.lock:
            self.answers += 1
            self.recent.append((kind, key, answer))
            self.everything.append((kind, key, answer))
            if (kind, key) not in self.first:
                self.first[kind, key] = answer
                for variant, delta in deltas:
                    self.levels[variant] += delta
            elif self.first[kind, key] != answer:
                self.contradictions.append(f"{kind} {key}: {self.first[kind, key]}, and then {answer}")

    def take_recent(self):
        with self.lock:
            recent, self.recent = self.recent, []
        return recent


class World:
    def __init__(self, postgres, redis):
        self.postgres, self.redis = postgres, redis
        self.book = Book()
        self.go, self.stopping = threading.Event(), threading.Event()
        self.die_after_answer = threading.Event()  # the next client to be answered kills its backend
        self.offered = collections.deque(maxlen=3)  # requests under way, for others to send as well
        self.pause_redis_ms = 0  # for the next holder of the slow lock


class Client(threading.Thread):
    def __init__(self, world, number):
        super().__init__(name=f"{type(self).__name__} {number}", daemon=True)
        self.world, self.book = world, world.book
        self.number, self.chance = number, random.Random(number)
        self.connection, self.trouble = None, None
        self.idle = threading.Event()
        self.serial = 0
        self.orders = collections.deque(maxlen=20)

    def run(self):
        while not self.world.stopping.is_set():
            if not self.world.go.is_set():
                self.idle.set()
                self.world.go.wait(0.1)
                continue
            self.idle.clear()
            try:
                self.turn()
            except Exception as error:  # reported by the driver as a finding
                self.trouble = f"{self.name}: {type(error).__name__}: {error}"
                self.forget()
        self.idle.set()
        self.forget()

    def forget(self):
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def connect(self):
        self.connection = psycopg2.connect(self.world.postgres.dsn(), connect_timeout=5)
        self.connection.autocommit = True
        if self.number % 2:  # half of the clients lock every row before they write it
            self.connection.cursor().execute("SET inventory_lock.row_lock = 'update'")

    def attempt(self, work):
        """(answer, None), or (None, SQLSTATE) when it failed or nobody answered."""
        try:
            if self.connection is None:
                self.connect()
            answer = work(self.connection.cursor())
        except psycopg2.Error as error:
            code = error.pgcode or "connection"
            if code.startswith(BROKEN):
                raise
            try:
                self.connection.cursor().execute("ROLLBACK")
            except (psycopg2.Error, AttributeError):
                self.forget()
            return None, code
        if self.world.die_after_answer.is_set():
            self.world.die_after_answer.clear()
            os.kill(self.connection.info.backend_pid, signal.SIGKILL)
        return answer, None

    def insist(self, work, refused=SHORT):
        """The answer, however often it takes; None when it was refused."""
        began = time.monotonic()
        while True:
            answer, code = self.attempt(work)
            if code is None:
                return answer
            if code in refused:
                return None
            if time.monotonic() - began > LONGEST_S:
                raise TimeoutError(f"no answer within {LONGEST_S} s, at last {code}")
            self.world.stopping.wait(0.02)

    def key(self):
        self.serial += 1
        return f"{self.name} {self.serial}"

    def one(self, statement, *arguments):
        def work(cursor):
            cursor.execute(statement, arguments)
            return cursor.fetchone()[0]
        return work


class Buyer(Client):
    """Places, cancels and holds orders, and changes stock, alone and in transaction blocks."""

    WORK = {"order": 30, "adjust": 25, "cancel": 14, "block": 10, "rolled_back": 6, "reserve": 10,
            "again": 4, "twin": 20, "try_lock": 4, "leave": 2}

    def turn(self):
        getattr(self, self.chance.choices(list(self.WORK), list(self.WORK.values()))[0])()

    def lines(self):
        chosen = self.chance.sample(VARIANTS, self.chance.randint(1, 3))
        return {variant: self.chance.randint(1, 2) for variant in chosen}

    def order_call(self, key, lines, **options):
        text = json.dumps([{"variant_id": variant, "quantity": quantity, "unit_price": 1}
                           for variant, quantity in lines.items()])
        options.setdefault("wait_timeout", "20 s")
        return ORDER, self.name, key, text, json.dumps(options)

    def placed(self, key, lines, order_id):
        self.book.note("order", key, (order_id, lines), [(v, -q) for v, q in lines.items()])
        self.orders.append((order_id, lines))

    def order(self):
        key, lines = self.key(), self.lines()
        call = self.order_call(key, lines, on_conflict=self.chance.choice(("wait", "error")))
        note = ("order", key, lines, [(v, -q) for v, q in lines.items()])
        order_id = self.offer(call, note)
        if order_id is not None:
            self.orders.append((order_id, lines))

    def adjust(self):
        key, variant, delta = self.key(), self.chance.choice(VARIANTS), self.chance.choice((-3, -1, 1, 2, 3))
        self.offer((ADJUST, variant, delta, key), ("change", key, (variant, delta), [(variant, delta)]))

    def offer(self, call, note):
        """Sends a request; half of the time others may send it, too, as an application's own retry does."""
        offered = self.chance.random() < 0.5
        if offered:
            self.world.offered.append((call, note))
        answer = self.insist(self.one(*call))
        if answer is not None:
            self.write_down(note, answer)
        elif not offered:  # another's attempt may have found more stock
            self.book.note("absent", note[1], None)
        return answer

    def write_down(self, note, answer):
        kind, key, content, deltas = note
        self.book.note(kind, key, (answer, content) if kind == "order" else content, deltas)

    def twin(self):
        """What somebody else has under way: the answer must be the same one, and as safe."""
        if not self.world.offered:
            return
        call, note = self.chance.choice(list(self.world.offered))
        answer = self.insist(self.one(*call))
        if answer is not None:
            self.write_down(note, answer)

    def cancel(self):
        if not self.orders:
            return
        order_id, lines = self.orders.popleft()
        restored = self.insist(self.one(CANCEL, order_id, self.key()))
        self.book.note("cancel", order_id, restored, lines.items())

    def again(self):
        """An order that was answered gets the same answer."""
        if not self.orders:
            return
        key, lines = self.key(), self.lines()
        call = self.order_call(key, lines)
        first = self.insist(self.one(*call))
        if first is None:
            return
        self.placed(key, lines, first)
        second = self.insist(self.one(*call))
        if second != first:
            raise AssertionError(f"{key}: order {first}, and then order {second}")

    def block(self):
        """A change and an order in one transaction, behind something that a savepoint takes back."""
        change, undone, order, lines = self.key(), self.key(), self.key(), self.lines()
        variant, delta = self.chance.choice(VARIANTS), self.chance.choice((-1, 1, 4))

        def work(cursor):
            cursor.execute("BEGIN")
            cursor.execute("SAVEPOINT s")
            cursor.execute(ADJUST, (self.chance.choice(VARIANTS), 1, undone))
            cursor.execute("ROLLBACK TO s")
            cursor.execute(ADJUST, (variant, delta, change))
            statement, *arguments = self.order_call(order, lines)
            cursor.execute(statement, arguments)
            order_id = cursor.fetchone()[0]
            cursor.execute("COMMIT")
            return order_id
        order_id = self.insist(work)
        self.book.note("absent", undone, None)
        if order_id is None:
            self.book.note("absent", change, None)
        else:
            self.book.note("change", change, (variant, delta), [(variant, delta)])
            self.placed(order, lines, order_id)

    def try_lock(self):
        """Of a key that a foreign service has half of the time."""
        self.insist(self.one(TRY, "polled"))

    def rolled_back(self):
        key = self.key()

        def work(cursor):
            cursor.execute("BEGIN")
            cursor.execute(ADJUST, (self.chance.choice(VARIANTS), 5, key))
            cursor.execute("ROLLBACK")
            return True
        self.insist(work)
        self.book.note("absent", key, None)

    def reserve(self):
        """Reserving has no key: one attempt, and nothing is known of it when there is no answer."""
        lines = self.lines()
        text = json.dumps([{"variant_id": v, "quantity": q} for v, q in lines.items()])
        reservation, code = self.attempt(self.one(RESERVE, self.name, text))
        if code is not None:
            return
        if self.chance.random() < 0.5:
            self.attempt(self.one(RELEASE, reservation))
            return
        key = self.key()
        order_id = self.insist(self.one(*self.order_call(key, lines, reservation_id=reservation)),
                               refused=GONE)
        if order_id is None:
            self.book.note("absent", key, None)
        else:
            self.placed(key, lines, order_id)

    def leave(self):
        """A backend that ends in a transaction, with its locks."""
        key = self.key()

        def work(cursor):
            cursor.execute("BEGIN")
            cursor.execute(ADJUST, (self.chance.choice(VARIANTS), 5, key))
        self.attempt(work)
        self.forget()
        self.book.note("absent", key, None)


class Slow(Client):
    """Holds a lock for longer than a third of its time to live, so that it is renewed."""

    def turn(self):
        def work(cursor):
            cursor.execute("BEGIN")
            cursor.execute("SELECT inventory_lock.acquire_lock('slow', ttl => '1 s')")
            if self.world.pause_redis_ms:
                redis_py.Redis(port=self.world.redis.port).client_pause(self.world.pause_redis_ms)
            self.world.stopping.wait(0.6)
            cursor.execute("COMMIT")
            return True
        self.attempt(work)


class Foreign(Client):
    """A service that polls for a key with SET NX, as most do."""

    GIVE_BACK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end"

    def __init__(self, world, key, hold_s):
        super().__init__(world, key)
        self.polled, self.hold_s = key, hold_s
        self.redis = redis_py.Redis(port=world.redis.port)

    def turn(self):
        token = self.key()
        if self.redis.set(self.polled, token, nx=True, px=5000):
            self.world.stopping.wait(self.hold_s)
            self.redis.eval(self.GIVE_BACK, 1, self.polled, token)
        self.world.stopping.wait(self.chance.uniform(0.01, 0.03))
