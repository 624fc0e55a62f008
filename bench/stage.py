"""What the goals are measured on: servers, load generators, and how variants take turns."""

import os
import statistics
import time

import psycopg2
import redis as redis_py

from generator import Generator, scripts_run
from servers import AREA, Postgres, Redis, poll

QUICK = bool(os.environ.get("QUICK"))
ROUNDS = 3 if QUICK else 5
SLICE_MS = 400 if QUICK else 1500
TRIES = 60 if QUICK else 300
SKUS = 10000
CLIENTS = 256
MAX_CONNECTIONS = 1300  # the clients of the generator, a thousand more to measure memory, and some
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "1h",
            "max_connections": MAX_CONNECTIONS, "inventory_lock.max_leases": 16384}
LOCKED = "SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase($1, 1)"


def base_sql():
    """The extension, its tables with stock in them, and the functions that it is compared with."""
    here = os.path.dirname(__file__)
    functions = "".join(open(os.path.join(here, name), encoding="utf-8").read() for name in ("sfu.sql", "peers.sql"))
    return ("SET client_min_messages = error; CREATE EXTENSION inventory_lock;"
            "SELECT inventory_lock.create_tables();"
            "INSERT INTO shop.stock_level (variant_id, on_hand) "
            f"SELECT 'bench-' || n, 1000000000 FROM generate_series(0, {SKUS - 1}) n;"
            "INSERT INTO shop.stock_level (variant_id, on_hand) VALUES ('empty', 0);"
            "ANALYZE;" + functions)


def middle(values):
    return statistics.median(values)


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def timed_ms(action):
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def in_turns(ways, rounds):
    """name → what its way returned in each round, the ways taking turns in changing order."""
    took = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 else reversed(list(ways)):
            took[name].append(ways[name]())
    return took


class Bench:
    """Two servers on one Redis, one more that has none, and a load generator for each that needs one."""

    def __init__(self):
        self.redis = Redis("goals_redis")
        self.one = Postgres("goals_one", redis=self.redis, settings=SETTINGS)
        self.two = Postgres("goals_two", redis=self.redis, settings=SETTINGS)
        self.direct = Postgres("goals_direct", settings=SETTINGS)

    def __enter__(self):
        for server in (self.redis, self.one, self.two, self.direct):
            server.start()
        for server in (self.one, self.two, self.direct):
            server.psql(base_sql())
        for server in (self.one, self.two):
            server.wait_for_redis("postgres")
        for server in (self.one, self.direct):
            for name, keys in (("direct_lock", "text"), ("direct_locks", "text[]")):
                server.psql(f"CREATE FUNCTION {name}({keys}, integer) RETURNS void LANGUAGE c AS "
                            f"'{AREA}/tmp/direct.so'")
        self.cache = redis_py.Redis(port=self.redis.port)
        self.generator = Generator(self.one.dsn(), CLIENTS, {
            "sfu": "SELECT sfu($1, 1)", "locked": LOCKED, "early": LOCKED,
            "advisory": "SELECT advisory_sfu($1, 1)",
            "sold_out": "SELECT inventory_lock.decrement_stock_on_purchase('empty' || left($1, 0), 1)",
            "look": "SELECT on_hand FROM shop.stock_level WHERE variant_id = 'empty' || left($1, 0)"})
        self.by_direct = Generator(self.direct.dsn(), 64, {
            "direct": f"SELECT direct_lock('inventory_lock:' || $1, {self.redis.port}), ({LOCKED})"})
        self.by_direct.ask("sql SET client_min_messages = error")
        self.by_direct.early_release(False)
        return self

    def __exit__(self, *_):
        self.generator.close()
        self.by_direct.close()
        for server in (self.direct, self.two, self.one, self.redis):
            server.stop()

    def slice(self, name, clients, keys, milliseconds=SLICE_MS):
        if name == "direct":
            return self.by_direct.slice(name, clients, keys, milliseconds)
        self.generator.early_release(name == "early")
        return self.generator.slice(name, clients, keys, milliseconds, refused=name == "sold_out")

    def compare(self, names, clients, keys):
        """name → slices, in turns; the first turn warms up and is thrown away."""
        slices = {name: [] for name in names}
        for number in range(ROUNDS + 1):
            for name in names if number % 2 else reversed(names):
                slices[name].append(self.slice(name, clients, keys, SLICE_MS if number else 200))
        return {name: of[1:] for name, of in slices.items()}

    def rates(self, names, clients, keys):
        return {name: middle(s.per_second for s in of)
                for name, of in self.compare(names, clients, keys).items()}

    def sync(self, value):
        for generator in (self.generator, self.by_direct):
            generator.ask(f"sql SET synchronous_commit = {value}")

    def linger(self, value):
        self.one.reload(inventory_lock__lease_linger=value)
        poll(lambda: self.one.psql("SHOW inventory_lock.lease_linger") == value, "the setting is there")

    def commands(self):
        return scripts_run(self.cache)

    def commands_of_all(self):
        return self.cache.info("stats")["total_commands_processed"]

    def require_protection(self):
        """Every locked call had it from Redis; those by hand name their actor."""
        for server in (self.one, self.two):
            degraded = server.psql("SELECT count(*) FROM shop.stock_movement"
                                   " WHERE protection = 'database' AND actor IS DISTINCT FROM 'bench'")
            if degraded != "0":
                raise RuntimeError(f"{degraded} locked calls were not protected by Redis")

    def verify(self):
        for server in (self.one, self.two):
            drift = server.psql("SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0")
            if drift != "0" or server.crash_signs():
                raise RuntimeError(f"{drift} levels disagree with their ledger; {server.crash_signs()}")

    def connect(self, server=None):
        connection = psycopg2.connect((server or self.one).dsn())
        connection.autocommit = True
        return connection
