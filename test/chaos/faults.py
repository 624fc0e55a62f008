"""What goes wrong in the chaos run, in an order and with parameters that the seed alone decides.

Two schedules run side by side, each with a generator of its own: one for PostgreSQL's processes,
one for Redis and the way there, or for servers that Redis Sentinel watches. A fault is a method: it does its harm, waits as long as the harm is
to last, and heals it. Victims are chosen among those there are at that moment.
"""

import os
import random
import signal
import threading

import psycopg2
import redis as redis_py

POSTGRES = {  # fault: weight
    "cancel": 8, "terminate": 5, "freeze_backend": 4, "freeze_worker": 3, "stop_worker": 3,
    "kill_backend": 1, "kill_worker": 1, "stop_immediately": 1, "kill_postmaster": 1, "reload": 1,
}
REDIS = {
    "slow": 4, "cut": 4, "black_hole": 3, "refuse": 2, "garble": 3, "halve": 3, "drop": 3, "double": 3,
    "freeze_redis": 3, "kill_redis": 2, "flush": 3, "delete_keys": 3, "clients_killed": 2,
    "forget_scripts": 1,
}


SENTINEL = {"fail_over": 4, "kill_primary": 3, "freeze_primary": 3, "freeze_sentinel": 2, "kill_sentinel": 1}


class Schedule(threading.Thread):
    def __init__(self, world, name, weights):
        super().__init__(name=name, daemon=True)
        self.world, self.weights = world, weights
        self.chance = random.Random(f"{world.seed} {name}")
        self.counts = dict.fromkeys(weights, 0)
        self.trouble = None

    def run(self):
        try:
            while not self.world.quiet.wait(self.chance.uniform(0.2, 1.5)):
                fault = self.chance.choices(list(self.weights), list(self.weights.values()))[0]
                # Parameters are drawn before anything happens: timing does not change the sequence.
                seconds, pick = self.chance.uniform(0.2, 3), self.chance.random()
                self.world.note(f"{self.name}: {fault} ({seconds:.2f} s, {pick:.3f})")
                self.counts[fault] += 1
                getattr(self, fault)(seconds, pick)
        except Exception as error:  # reported by the driver as a failed test
            self.trouble = f"{self.name}: {type(error).__name__}: {error}"


class PostgresFaults(Schedule):
    def __init__(self, world):
        super().__init__(world, "postgres", POSTGRES)

    def pids(self, condition):
        try:
            connection = psycopg2.connect(self.world.dsn(), connect_timeout=5)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
                               + condition + " ORDER BY backend_start, pid")
                found = [row[0] for row in cursor.fetchall()]
            connection.close()
            return found
        except psycopg2.Error:
            return []

    def backend(self, pick):
        found = self.pids("backend_type = 'client backend'")
        return found[int(pick * len(found))] if found else None

    def worker(self):
        found = self.pids("backend_type LIKE 'inventory_lock%'")
        return found[0] if found else None

    def send(self, pid, number):
        if pid is None:
            return False
        try:
            os.kill(pid, number)
            return True
        except ProcessLookupError:
            return False

    def freeze(self, pid, seconds):
        if self.send(pid, signal.SIGSTOP):
            self.world.quiet.wait(seconds)
            self.send(pid, signal.SIGCONT)

    def cancel(self, _, pick):
        for pid in self.pids("backend_type = 'client backend' AND state <> 'idle'"):
            if self.chance_of(pid, pick):
                self.send(pid, signal.SIGINT)

    @staticmethod
    def chance_of(pid, pick):
        return random.Random(f"{pid} {pick}").random() < 0.5

    def terminate(self, _, pick):
        self.send(self.backend(pick), signal.SIGTERM)

    def freeze_backend(self, seconds, pick):
        self.freeze(self.backend(pick), seconds * 2)

    def freeze_worker(self, seconds, pick):
        self.freeze(self.worker(), seconds * (3 if pick < 0.3 else 1))

    def stop_worker(self, *_):
        self.send(self.worker(), signal.SIGTERM)

    def kill_backend(self, _, pick):
        self.world.crashes += self.send(self.backend(pick), signal.SIGKILL)

    def kill_worker(self, *_):
        self.world.crashes += self.send(self.worker(), signal.SIGKILL)

    def stop_immediately(self, *_):
        self.world.crashes += 1
        self.world.postgres.stop("immediate")
        self.world.start_postgres()

    def kill_postmaster(self, *_):
        self.world.crashes += 1
        self.world.postgres.end(signal.SIGKILL)
        self.world.start_postgres()

    def reload(self, *_):
        self.world.postgres.process.send_signal(signal.SIGHUP)


class RedisFaults(Schedule):
    def __init__(self, world):
        super().__init__(world, "redis", REDIS)

    def proxied(self, seconds, *commands):
        for command in commands:
            self.world.proxy(command)
        self.world.quiet.wait(seconds)
        self.world.proxy("clear")

    @staticmethod
    def direction(pick):
        return "requests" if pick < 0.5 else "replies"

    def slow(self, seconds, pick):
        self.proxied(seconds, f"rule {self.direction(pick)} delay ms={int(pick * 150)}")

    def cut(self, *_):
        self.world.proxy("cut")

    def black_hole(self, seconds, pick):
        self.proxied(seconds, "blackhole " + ("both" if pick < 0.3 else self.direction(pick)))

    def refuse(self, seconds, _):
        self.proxied(seconds, "refuse on", "cut")

    def garble(self, seconds, pick):
        self.proxied(seconds, f"rule {self.direction(pick)} garble p=0.01")

    def halve(self, seconds, pick):
        self.proxied(seconds, f"rule {self.direction(pick)} halve p=0.01")

    def drop(self, seconds, pick):
        self.proxied(seconds, f"rule {self.direction(pick)} drop p=0.01")

    def double(self, seconds, pick):
        self.proxied(seconds, f"rule {self.direction(pick)} double p=0.01")

    def freeze_redis(self, seconds, _):
        process = self.world.redis.process
        process.send_signal(signal.SIGSTOP)
        self.world.quiet.wait(seconds)
        process.send_signal(signal.SIGCONT)

    def kill_redis(self, seconds, _):
        self.world.redis.kill()
        self.world.quiet.wait(seconds)
        self.world.redis.start()

    def command(self, *words):
        try:
            return redis_py.Redis(port=self.world.redis_port, socket_timeout=1).execute_command(*words)
        except redis_py.exceptions.RedisError:
            return None

    def flush(self, *_):
        self.command("FLUSHALL")

    def delete_keys(self, _, pick):
        for key in sorted(self.command("KEYS", "*lock:*") or []):
            if random.Random(f"{key} {pick}").random() < 0.5:
                self.command("DEL", key)

    def clients_killed(self, *_):
        self.command("CLIENT", "KILL", "TYPE", "normal")

    def forget_scripts(self, *_):
        self.command("SCRIPT", "FLUSH")


class SentinelFaults(Schedule):
    """`servers`: a primary and its replica, whichever is which by now."""

    def __init__(self, world, servers, sentinel):
        super().__init__(world, "sentinel", SENTINEL)
        self.servers = {server.port: server for server in servers}
        self.sentinel = sentinel

    def primary(self):
        return self.servers[self.sentinel.primary()]

    def freeze(self, server, seconds):
        process = server.process
        process.send_signal(signal.SIGSTOP)
        self.world.quiet.wait(seconds)
        process.send_signal(signal.SIGCONT)

    def restart(self, server, seconds):
        server.kill()
        self.world.quiet.wait(seconds)
        server.start()

    def fail_over(self, *_):
        self.sentinel.command("SENTINEL", "FAILOVER", self.sentinel.name)

    def kill_primary(self, seconds, _):
        self.restart(self.primary(), seconds)

    def freeze_primary(self, seconds, _):
        self.freeze(self.primary(), 2 * seconds)

    def freeze_sentinel(self, seconds, _):
        self.freeze(self.sentinel, seconds)

    def kill_sentinel(self, seconds, _):
        self.restart(self.sentinel, seconds)
