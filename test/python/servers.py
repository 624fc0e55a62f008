"""Private servers for tests, the demo and the bench: PostgreSQL, Redis, Redis Sentinel, PgBouncer, and the
proxy before Redis.

Each runs on a free loopback port and in a folder of its own below the run's area (the environment
variable INVENTORY_LOCK_AREA, made by scripts/in_private_root), and is a context manager that stops
what it started. Working directories lie in the area too, so that whatever a crashed driver leaves
is found and ended by scripts/in_private_root.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

AREA = pathlib.Path(os.environ["INVENTORY_LOCK_AREA"])
DEADLINE_S = 60
# Server settings for a whole run, `name=value name=value`; what a test sets itself goes before them.
FEATURES = dict(word.split("=", 1) for word in os.environ.get("FEATURES", "").split())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def poll(condition, what, deadline_s=DEADLINE_S, interval_s=0.02):
    """Waits until condition() is true and returns its value; raises when it never is."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline_s} s")
        time.sleep(interval_s)


def accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Process:
    """A child process with its folder, its log file, and a stop that always ends it."""

    def __init__(self, name, folder=None):
        self.name = name
        self.folder = pathlib.Path(folder or AREA / "tmp" / name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log_path = self.folder / f"{name}.log"
        self.process = None

    def spawn(self, command, **options):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True, **options)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def end(self, signal_number, deadline_s=30):
        if not self.running():
            return
        self.process.send_signal(signal_number)
        try:
            self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"{self.name} did not stop within {deadline_s} s") from None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()


class Redis(Process):
    def __init__(self, name="redis", options=None):
        super().__init__(name)
        self.options = options or {}

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        settings = {"bind": "127.0.0.1", "port": self.port, "dir": self.folder, "save": "",
                    "appendonly": "no", "maxclients": 4000, **self.options}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.spawn(["redis-server", *words])
        poll(self.answers, f"{self.name} answers")

    def answers(self):
        if not self.running():
            raise RuntimeError(f"{self.name} ended at start:\n{self.log()}")
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(64)[:1] in (b"+", b"-")
        except OSError:
            return False

    def stop(self):
        self.end(signal.SIGTERM)

    def kill(self):
        """What a crash does: no farewell to anybody, memory gone."""
        self.end(signal.SIGKILL)


class Sentinel(Redis):
    """Watches the primary `redis`, alone, and looks at everything more often than one that is not being tested."""

    def __init__(self, redis, name="sentinel"):
        super().__init__(name)
        self.watched = redis.port

    @property
    def url(self):
        return f"redis+sentinel://127.0.0.1:{self.port}/{self.name}/0"

    def start(self):
        config = self.folder / "sentinel.conf"
        if not config.exists():  # it keeps there what it learns
            config.write_text(f"bind 127.0.0.1\nport {self.port}\ndir {self.folder}\n"
                              f"sentinel monitor {self.name} 127.0.0.1 {self.watched} 1\n"
                              f"sentinel down-after-milliseconds {self.name} 500\n"
                              f"sentinel failover-timeout {self.name} 3000\n")
        self.spawn(["redis-server", config, "--sentinel"])
        poll(self.answers, f"{self.name} answers")
        self.command("SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "200")

    def command(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True,
                              check=False, timeout=DEADLINE_S).stdout

    def primary(self):
        """The port of the primary."""
        return int(self.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name).split()[-1])


class Proxy(Process):
    """test/proxy/resp_proxy.py before the Redis on port `upstream`; what it can be told stands there."""

    def __init__(self, upstream, seed, name="proxy"):
        super().__init__(name)
        self.upstream = upstream
        self.seed = seed
        self.control = self.folder / "control"

    def start(self):
        self.control.unlink(missing_ok=True)
        self.spawn([sys.executable, pathlib.Path(__file__).parents[1] / "proxy/resp_proxy.py",
                    "--listen", f"127.0.0.1:{self.port}", "--upstream", f"127.0.0.1:{self.upstream}",
                    "--control", self.control, "--seed", self.seed])
        poll(self.control.exists, f"{self.name} listens")

    def stop(self):
        self.end(signal.SIGTERM)

    def tell(self, line):
        """The proxy's answer to a command, one line: "ok …" or "error …"."""
        with socket.socket(socket.AF_UNIX) as end:
            end.settimeout(10)
            end.connect(str(self.control))
            end.sendall(line.encode() + b"\n")
            return end.makefile().readline().strip()

    def __call__(self, line):
        answer = self.tell(line)
        if not answer.startswith("ok"):
            raise RuntimeError(f"{self.name}: {line}: {answer}")
        return answer


class Postgres(Process):
    """One cluster. `settings` are lines of postgresql.conf; redis (a Redis or a URL) is preloaded for."""

    def __init__(self, name="postgres", settings=None, redis=None, preload=True, within=()):
        super().__init__(name)
        self.within = within  # words of a command that runs the server, valgrind for example
        self.data = self.folder / "data"
        self.settings = {
            "listen_addresses": "127.0.0.1", "port": self.port,
            "unix_socket_directories": self.folder, "fsync": "on", "max_connections": 100,
            "shared_buffers": "128MB", "log_line_prefix": "%m [%p] %q%a ",
            "log_min_messages": "warning", "max_prepared_transactions": 2,
        }
        if preload:
            self.settings["shared_preload_libraries"] = "inventory_lock"
            self.settings.update(FEATURES)
        if redis is not None:
            self.settings["inventory_lock.redis_url"] = getattr(redis, "url", redis)
        self.settings.update(settings or {})

    def start(self):
        if not self.data.exists():
            subprocess.run(
                ["initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8",
                 "--locale=C.UTF-8", "-D", str(self.data)],
                check=True, cwd=self.folder, stdout=subprocess.DEVNULL)
        self.write_settings()
        self.spawn([*self.within, "postgres", "-D", self.data])
        poll(self.answers, f"{self.name} answers")

    def write_settings(self):
        lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
        (self.data / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")

    def answers(self):
        if not self.running():
            raise RuntimeError(f"{self.name} ended at start:\n{self.log()}")
        return subprocess.run(["pg_isready", "-q", "-h", self.folder, "-p", str(self.port)],
                              check=False).returncode == 0

    def reload(self, **settings):
        self.settings.update({name.replace("__", "."): value for name, value in settings.items()})
        self.write_settings()
        self.process.send_signal(signal.SIGHUP)

    def stop(self, mode="fast"):
        self.end({"smart": signal.SIGTERM, "fast": signal.SIGINT,
                  "immediate": signal.SIGQUIT}[mode])

    def environment(self):
        return {**os.environ, "PGHOST": str(self.folder), "PGPORT": str(self.port),
                "PGUSER": "postgres", "PGDATABASE": "postgres"}

    def dsn(self, database="postgres"):
        return f"host={self.folder} port={self.port} user=postgres dbname={database}"

    def psql(self, sql, database="postgres"):
        """Runs SQL, returns unaligned output; raises with psql's message on an error."""
        done = subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database], input=sql, text=True,
            env=self.environment(), capture_output=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout.strip()

    def wait_for_redis(self, database):
        """Waits until every lane to Redis is ready, in a database that has the extension."""
        poll(lambda: self.psql("SELECT bool_and(state = 'ready') FROM inventory_lock.redis_status",
                               database) == "t", "the worker is connected to Redis")

    def crash_signs(self):
        """Lines of the log that no test that kills nothing may leave."""
        signs = ("terminated by signal", "stuck spinlock", "PANIC")
        return [line for line in self.log().splitlines() if any(sign in line for sign in signs)]


class PgBouncer(Process):
    def __init__(self, postgres, name="pgbouncer", pool_size=50, max_clients=1200):
        super().__init__(name)
        self.postgres = postgres
        self.pool_size = pool_size
        self.max_clients = max_clients

    def start(self):
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            "[databases]\n"
            f"* = host={self.postgres.folder} port={self.postgres.port} user=postgres\n"
            "[pgbouncer]\n"
            "listen_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\n"
            f"unix_socket_dir = {self.folder}\n"
            "auth_type = any\n"
            "pool_mode = transaction\n"
            f"default_pool_size = {self.pool_size}\n"
            f"max_client_conn = {self.max_clients}\n"
            "log_connections = 0\n"
            "log_disconnections = 0\n")
        self.spawn(["pgbouncer", config])
        poll(lambda: accepts(self.port), f"{self.name} answers")

    def stop(self):
        self.end(signal.SIGINT)
