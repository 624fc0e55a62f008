"""One private PostgreSQL with a Redis of its own, sessions on it, and the count of results."""

import subprocess
import threading

import psycopg2

from servers import Postgres, Redis, poll

SETTINGS = {
    "inventory_lock.redis_connect_timeout": "200ms",
    "inventory_lock.redis_command_timeout": "500ms",
    "inventory_lock.breaker_failures": "1",
    "inventory_lock.breaker_cooldown": "100ms",
    "log_min_messages": "log",
}


class Bench:
    def __init__(self):
        self.redis = Redis("monitoring_redis")
        self.postgres = Postgres("monitoring", redis=self.redis, settings=SETTINGS)
        self.passed = self.failed = 0
        self.sessions = []

    def __enter__(self):
        self.redis.start()
        self.postgres.start()
        self.sql("CREATE EXTENSION inventory_lock; SELECT inventory_lock.create_tables();"
                 "INSERT INTO shop.stock_level (variant_id, on_hand)"
                 " SELECT v, 1000000 FROM unnest(ARRAY['probe', 'a', 'b', 'c', 'test_1']) v")
        return self

    def __exit__(self, *_):
        self.close_sessions()
        self.postgres.stop()
        self.redis.stop()

    def prepare(self):
        """Redis in use, no lock left, counters at zero."""
        self.close_sessions()
        if not self.redis.running():
            self.redis.start()
        poll(lambda: self.sql("SELECT protection FROM"
                              " inventory_lock.adjust_stock_locked('probe', -1)") == "redis",
             "locks are taken in Redis")
        self.settle()
        self.sql("SELECT inventory_lock.stat_reset()")

    def settle(self):
        poll(lambda: self.sql("SELECT count(*) FROM inventory_lock.get_locks()") == "0",
             "no lock is left")

    def sql(self, statement):
        return self.postgres.psql(statement)

    def session(self, name="check", **settings):
        connection = psycopg2.connect(self.postgres.dsn() + f" application_name={name}")
        self.sessions.append(connection)
        with connection.cursor() as cursor:
            for setting, value in settings.items():
                cursor.execute(f"SET {setting.replace('__', '.')} = %s", (value,))
        connection.commit()
        return connection

    def close_sessions(self):
        for connection in self.sessions:
            connection.close()
        self.sessions.clear()

    def row(self, view):
        """The only row of a view, by column."""
        with self.session() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {view}")
            values = cursor.fetchone()
            return dict(zip([column.name for column in cursor.description], values))

    def in_background(self, connection, statement):
        """Runs it in a thread. Call result() for (rows, SQLSTATE)."""
        return Background(connection, statement)

    def wait_until_waiting(self, connection):
        pid = connection.info.backend_pid
        poll(lambda: self.sql(f"SELECT wait_event_type IN ('Lock', 'Extension', 'InventoryLock')"
                              f" FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'")
             == "t", f"process {pid} waits")

    def redis_cli(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.redis.port), *words], text=True,
                              capture_output=True, check=True).stdout.strip()

    def ok(self, good, what, detail=""):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'' if good else '# FAILED: '}{what}", flush=True)
        if not good and detail:
            print("\n".join(f"#   {line}" for line in str(detail).splitlines()), flush=True)

    def equal(self, got, wanted, what):
        self.ok(got == wanted, what, f"got    {got!r}\nwanted {wanted!r}")


class Background:
    def __init__(self, connection, statement):
        self.connection, self.statement = connection, statement
        self.rows = self.state = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        self.rows, self.state = attempt(self.connection, self.statement)

    def result(self):
        self.thread.join(60)
        if self.thread.is_alive():
            raise TimeoutError(self.statement)
        return self.rows, self.state


def attempt(connection, statement):
    """Rows and '' or None and the SQLSTATE; leaves the transaction open after success."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return (cursor.fetchall() if cursor.description else []), ""
    except psycopg2.Error as error:
        connection.rollback()
        return None, error.pgcode
