"""What the chaos run and the property test share: the world the clients live in, the run itself, and
TAP lines.

Runs: in the driver of one run, which makes one World. Clients are those of load.py or derived from
them, faults are schedules of faults.py.
"""

import collections
import re
import threading
import time

import psycopg2

from servers import AREA, poll

ENDED_BY_US = "terminated by signal 9: Killed"
counts = collections.Counter()


def ok(good, what, detail=()):
    counts["passed" if good else "failed"] += 1
    print(f"{'ok' if good else 'not ok'} {sum(counts.values())} - {what}", flush=True)
    for line in () if good else list(detail)[:10]:
        print(f"# {line}", flush=True)


def check_all(findings):
    """Each (what, findings) is a test; no finding is a pass."""
    for what, found in findings:
        ok(not found, what, found)


def total():
    """Prints the closing line; the exit status."""
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return counts["failed"] > 0


class World:
    """Everything that runs, and what the parts tell each other."""

    def __init__(self, name, seed, redis, postgres, proxy=None):
        self.seed, self.redis, self.proxy, self.postgres = seed, redis, proxy, postgres
        self.redis_port = redis.port
        self.folder = AREA / "tmp" / f"{name}_histories"
        self.folder.mkdir(exist_ok=True)
        self.quiet, self.stopping = threading.Event(), threading.Event()
        self.crashes = 0  # ours; each must show in the log, and no other
        self.began = time.monotonic()
        self.events = open(AREA / "out" / f"{name}_faults.log", "w", buffering=1, encoding="utf-8")

    def note(self, text):
        self.events.write(f"{time.monotonic() - self.began:8.3f} {text}\n")

    def dsn(self):
        return self.postgres.dsn()

    def start_postgres(self):
        """A crashed postmaster's children may live for a moment, and its port be taken."""
        def started():
            try:
                self.postgres.start()
                return True
            except RuntimeError:
                return False
        poll(started, "PostgreSQL starts again", interval_s=0.2)

    def rows(self, sql):
        """Runs SQL on a connection of its own, committed; there must be no trouble any more."""
        connection = psycopg2.connect(self.dsn())
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()

    def run(self, clients, schedules, seconds):
        """Clients and faults for so long; then all is healed, and the clients get their last answers."""
        for thread in clients + schedules:
            thread.start()
        self.quiet.wait(seconds)
        self.quiet.set()
        for schedule in schedules:
            schedule.join(120)
            ok(not schedule.is_alive() and schedule.trouble is None,
               f"the faults of {schedule.name} ran to their end ({sum(schedule.counts.values())})",
               [schedule.trouble])
        if self.proxy:
            self.proxy("clear")
        self.stopping.set()
        for client in clients:
            client.join(120)
        ok(not any(client.is_alive() for client in clients), "every client got its last answer",
           [client.name for client in clients if client.is_alive()])
        troubles = [client.trouble for client in clients if client.trouble]
        ok(not troubles, "no client met an error that is none of a fault's", troubles)
        ok(all(client.answers for client in clients), "every client got something done",
           [client.name for client in clients if not client.answers])
        self.postgres.wait_for_redis("postgres")
        for schedule in schedules:
            print(f"# {schedule.name}: " + ", ".join(
                f"{count} {fault}" for fault, count in schedule.counts.items() if count))
        errors = collections.Counter()
        for client in clients:
            errors.update(client.errors)
        print("# errors on the way: "
              + ", ".join(f"{count} {code}" for code, count in errors.most_common()))

    def check_crashes(self):
        lines = crash_lines(self.postgres.log())
        ours = [line for line in lines if ENDED_BY_US in line]
        strange = [line for line in lines if line not in ours]
        ok(not strange, "no process ended by itself: no signal but ours, no PANIC, no stuck spinlock",
           strange)
        ok(len(ours) <= self.crashes, f"{len(ours)} deaths by SIGKILL, {self.crashes} were ours")

    def notices_damage(self, damage, findings):
        """Each damage is done by hand to what is there (statement, tests that must fail then);
        findings() yields (what, findings) anew."""
        for statement, wanted in damage:
            self.postgres.psql("SET session_replication_role = replica; " + statement)
            noticed = {what.split(" (")[0] for what, found in findings() if found}
            ok(wanted <= noticed, "noticed: damage to what \"" + "\" and \"".join(sorted(wanted)) + "\"",
               [f"not noticed by: {what}" for what in wanted - noticed])


def crash_lines(log):
    """Crashes in the server log: signal deaths, PANIC, stuck spinlocks, assertions."""
    return [line for line in log.splitlines() if re.search(
        r"terminated by signal|PANIC|stuck spinlock|TRAP:|Assertion", line)]


def keep_logs(*servers):
    for server in servers:
        (AREA / "out" / f"{server.name}.server.log").write_text(server.log(), encoding="utf-8")
