"""Talks to the load generator (generator.cpp)."""

import subprocess
from dataclasses import dataclass

from servers import AREA


@dataclass
class Slice:
    calls: float
    errors: float
    seconds: float
    latencies_ms: dict  # share of the calls → what none of them took longer than

    @property
    def per_second(self):
        return (self.calls + self.errors) / self.seconds

    @property
    def p50_ms(self):
        return self.latencies_ms[0.5]

    @property
    def p99_ms(self):
        return self.latencies_ms[0.99]


def scripts_run(cache):
    """How many scripts this Redis has run: an acquisition is one, a release another."""
    stats = cache.info("commandstats")
    return sum(stats.get(name, {}).get("calls", 0) for name in ("cmdstat_evalsha", "cmdstat_eval"))


class Generator:
    """`clients` connections with every statement prepared; see generator.cpp for the commands."""

    def __init__(self, dsn, clients, statements):
        words = [f"{name}={statement}" for name, statement in statements.items()]
        self.process = subprocess.Popen(
            [str(AREA / "tmp/generator"), dsn, str(clients), *words], text=True, bufsize=1,
            cwd=AREA, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the generator ended")
        return line.strip()

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        return self.answer()

    def slice(self, name, clients, keys, milliseconds, refused=False):
        """Raises when a call fails, unless all are to be refused."""
        return self.sliced(f"slice {name} {clients} {keys} {milliseconds}", refused)

    def burst(self, name, clients, calls):
        return self.sliced(f"burst {name} {clients} {calls}", False)

    def sliced(self, command, refused):
        calls, errors, seconds, *latencies = self.ask(command).split()
        calls, errors = float(calls), float(errors)
        if (calls if refused else errors) > 0:
            raise RuntimeError(f"{command}: {calls:.0f} calls succeeded, {errors:.0f} failed")
        return Slice(calls, errors, float(seconds), {
            float(share): float(us) / 1000 for share, us in (pair.split(":") for pair in latencies)})

    def early_release(self, on):
        self.ask(f"sql SET inventory_lock.early_release = {'on' if on else 'off'}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
