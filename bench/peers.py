"""Buyers of one SKU who come from a service, in Python or in Node: the lock in the application, around
the transaction, against the lock in the database."""

import pathlib
import subprocess
import threading
import time

import psycopg2
import redis as redis_py

from node_client import npm_ci
from servers import AREA
from stage import LOCKED, QUICK, ROUNDS, in_turns, middle

BUYERS = 100 if QUICK else 500
CONNECTIONS = 50
NODE = pathlib.Path(__file__).resolve().parent / "node"


class FromPython:
    """Threads, each with a connection to PostgreSQL and one to Redis."""

    def __init__(self, bench):
        self.caches = [redis_py.Redis(port=bench.redis.port) for _ in range(CONNECTIONS)]
        self.pool = [psycopg2.connect(bench.one.dsn()) for _ in range(CONNECTIONS)]

    def sell(self, buy):
        """Seconds until all buyers have bought; buy(connection, cache) is one of them."""
        left, bought = iter(range(BUYERS)), []

        def work(connection, cache):
            while next(left, None) is not None:
                buy(connection, cache)
                bought.append(True)
        threads = [threading.Thread(target=work, args=pair) for pair in zip(self.pool, self.caches)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - began
        if len(bought) != BUYERS:
            raise RuntimeError(f"{BUYERS - len(bought)} buyers got no answer")
        return seconds, 0

    def application(self):
        """A Redis lock around the transaction, polled every 100 ms: what such services do."""
        def buy(connection, cache):
            with cache.lock("inventory_lock:bench-1", timeout=30, sleep=0.1):
                connection.cursor().execute("SELECT sfu('bench-1', 1)")
                connection.commit()
        return self.sell(buy)

    def database(self):
        def buy(connection, _):
            connection.cursor().execute(LOCKED.replace("$1", "'bench-1'"))
            connection.commit()
        return self.sell(buy)

    def close(self):
        for connection in self.pool + self.caches:
            connection.close()


class FromNode:
    """node/buyers.js, a process of its own."""

    def __init__(self, bench):
        self.process = subprocess.Popen(
            ["node", str(NODE / "buyers.js"), str(bench.one.folder), str(bench.one.port),
             str(bench.redis.port), str(CONNECTIONS)],
            cwd=AREA, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def sell(self, how):
        self.process.stdin.write(f"{how} {BUYERS}\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("node/buyers.js ended")
        seconds, bought, gave_up = answer.split()
        if int(bought) + int(gave_up) != BUYERS:
            raise RuntimeError(f"{bought} buyers of {BUYERS} have bought, {gave_up} gave up")
        return float(seconds), int(gave_up)

    def application(self):
        return self.sell("application")

    def database(self):
        return self.sell("database")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def row(bench, service, language, library):
    def counted(sell):
        before = bench.commands_of_all()
        seconds, gave_up = sell()
        return seconds, (bench.commands_of_all() - before) / BUYERS, gave_up
    took = in_turns({"theirs": lambda: counted(service.application), "ours": lambda: counted(service.database)},
                    ROUNDS)
    service.close()
    (theirs, their_commands, gave_up), (ours, our_commands, _) = (
        [middle(figures) for figures in zip(*took[name])] for name in ("theirs", "ours"))
    return ("", f"{BUYERS} buyers of one SKU from a {language} service with {CONNECTIONS} connections, lock in "
            f"the application ({library}) / here; Redis commands a sale", "", "",
            f"{theirs:.2f} / {ours:.2f} s; {their_commands:.1f} / {our_commands:.3f}"
            + (f"; {gave_up:g} gave up" if gave_up else ""))


def s17_services(bench):
    rows = [row(bench, FromPython(bench), "Python", "redis-py")]
    if npm_ci(NODE, "redlock"):
        rows.append(row(bench, FromNode(bench), "Node", "node-redlock"))
    else:
        rows.append(("", "buyers of one SKU from a Node service (node-redlock)", "", "",
                     "not measured: Node, npm or a package is missing"))
    return rows
