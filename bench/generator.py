"""Talks to the load generator (generator.cpp)."""

import subprocess
from dataclasses import dataclass

from servers import AREA


@dataclass
class Slice:
    calls: float
    errors: float
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def per_second(self):
        return (self.calls + self.errors) / self.seconds


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

    def slice(self, name, clients, keys, milliseconds):
        return self.sliced(f"slice {name} {clients} {keys} {milliseconds}")

    def burst(self, name, clients, calls):
        return self.sliced(f"burst {name} {clients} {calls}")

    def sliced(self, command):
        calls, errors, seconds, p50, p99, longest = map(float, self.ask(command).split())
        return Slice(calls, errors, seconds, p50 / 1000, p99 / 1000, longest / 1000)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
