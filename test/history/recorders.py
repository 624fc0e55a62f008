"""Clients that take locks and write down what they saw, in history.py's format.

Each works through `turns` holds of its keys: take the lock, read a number, write it plus one, let
go. Which number: the external ones use a key of the store beside the locks, where nothing but the
lock protects it (so two clusters and foreign clients share it); stock() reads and writes the stock
level through adjust_stock_locked, in the cluster's own database.

A Recorder writes whole lines, one file for each client, so that a client that dies takes at most
its last line with it.
"""

import itertools
import json
import random
import time

import psycopg2
import redis as redis_py
from node_client import Node

LOST, GAVE_UP = "IL011", ("IL010", "55P03", "40P01", "57014")


class Recorder:
    numbers = itertools.count(1)

    def __init__(self, path, client, cluster=None):
        self.file = open(path, "a", buffering=1, encoding="utf-8")
        self.client, self.cluster = client, cluster

    def grant(self, key, begin, end, fence=None, protection="redis"):
        hold = f"{self.client}/{next(self.numbers)}"
        self.write(kind="grant", id=hold, client=self.client, key=key, begin=begin, end=end,
                   fence=fence, protection=protection, cluster=self.cluster)
        return hold

    def end(self, hold, begin, outcome, store=None, read=None, wrote=None):
        self.write(kind="end", id=hold, begin=begin, end=now(), outcome=outcome, store=store,
                   read=read, wrote=wrote)

    def lost(self, hold, begin):
        self.write(kind="lost", id=hold, begin=begin, end=now())

    def write(self, **event):
        self.file.write(json.dumps(event) + "\n")


def now():
    return time.monotonic_ns()


def value_of(store, key):
    return int(store.get("value:" + key) or 0)


def custom(recorder, dsn, store_port, names, turns, seed, wait="60 s"):
    """Ours: acquire_lock(name), the number beside it in Redis, commit."""
    chance, store = random.Random(seed), redis_py.Redis(port=store_port)
    connection = psycopg2.connect(dsn)
    cursor = connection.cursor()
    for _ in range(turns):
        name = chance.choice(names)
        key, begin = "lock:" + name, now()
        cursor.execute("SELECT inventory_lock.acquire_lock(%s, %s)", (name, wait))
        end = now()
        hold = recorder.grant(key, begin, end, cursor.fetchone()[0])
        read = value_of(store, key)
        store.set("value:" + key, read + 1)
        begin = now()
        try:
            connection.commit()
            recorder.end(hold, begin, "done", "external", read, read + 1)
        except psycopg2.Error as error:
            if error.pgcode != LOST:
                raise
            recorder.lost(hold, begin)
    connection.close()


def stock(recorder, dsn, variants, turns, seed):
    """Ours: adjust_stock_locked in a transaction; the number is the level."""
    chance = random.Random(seed)
    connection = psycopg2.connect(dsn)
    cursor = connection.cursor()
    for _ in range(turns):
        variant, begin = chance.choice(variants), now()
        cursor.execute("SELECT quantity_before, quantity_after, fence, protection FROM "
                       "inventory_lock.adjust_stock_locked(%s, 1, wait_timeout => '60 s')", (variant,))
        end = now()
        before, after, fence, protection = cursor.fetchone()
        hold = recorder.grant("inventory_lock:" + variant, begin, end, fence, protection)
        begin = now()
        connection.commit()
        recorder.end(hold, begin, "done", recorder.cluster, before, after)
    connection.close()


def foreign(recorder, port, store_port, names, turns, seed, enough=None, ttl_s=30):
    """redis-py's own lock on the same keys, so many turns or until `enough`, an event, is set."""
    chance = random.Random(seed)
    client, store = redis_py.Redis(port=port), redis_py.Redis(port=store_port)
    for _ in range(turns):
        if enough is not None and enough.is_set():
            break
        key, begin = "lock:" + chance.choice(names), now()
        lock = client.lock(key, timeout=ttl_s, sleep=0.002)
        lock.acquire()
        hold = recorder.grant(key, begin, now())
        read = value_of(store, key)
        store.set("value:" + key, read + 1)
        begin = now()
        try:
            lock.release()
            recorder.end(hold, begin, "done", "external", read, read + 1)
        except redis_py.exceptions.LockError:
            recorder.lost(hold, begin)


def node(recorder, url, store_port, names, turns, seed, enough, ttl_s=30):
    """node-redlock on the same keys. It is asked line by line, so its times are a little wide."""
    chance, store, client = random.Random(seed), redis_py.Redis(port=store_port), Node(url)
    for _ in range(turns):
        if enough.is_set():
            break
        key, begin = "lock:" + chance.choice(names), now()
        if not client.acquire(key, ttl_s * 1000, wait_s=60):
            raise TimeoutError(f"node-redlock did not get {key}")
        hold = recorder.grant(key, begin, now())
        read = value_of(store, key)
        store.set("value:" + key, read + 1)
        begin = now()
        if client.release():
            recorder.end(hold, begin, "done", "external", read, read + 1)
        else:
            recorder.lost(hold, begin)
    client.close()
