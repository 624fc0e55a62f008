"""The shop's front end in the demo: 1,000 client connections in one process.

A Client sends one order after the other over its own connection to PgBouncer and remembers what it
was told; a Crowd drives all clients by readiness of their sockets. Everything is counted from what
clients were *told*: what the database holds is compared with it afterwards.
"""

import collections
import heapq
import json
import random
import selectors
import time

import psycopg2
import psycopg2.extensions as ext

# One answer to one attempt. at: seconds since the demo's start. sqlstate '' = an order came back.
Answer = collections.namedtuple(
    "Answer", "at phase latency_ms waited_ms sqlstate order_id replayed protection key user")

PLACE = ("SELECT order_id, replayed, protection, waited_ms "
         "FROM inventory_lock.place_order_locked(%s, %s, %s::jsonb)")
RETRY = {"IL010", "IL011", "IL020", "40P01", "40001", "55P03"}
MAX_TRIES = 6


class Client:
    """One connection, and the requests its user wants to make, one after the other."""

    def __init__(self, number, dsn):
        self.number = number
        self.connection = psycopg2.connect(dsn, async_=True)
        self.cursor = None
        self.request = None  # (key, lines) under way
        self.sent_at = None
        self.tries = 0

    def fileno(self):
        return self.connection.fileno()

    def send(self, key, lines):
        if self.cursor is None:
            self.cursor = self.connection.cursor()
        self.request = key, lines
        self.tries += 1
        self.sent_at = time.monotonic()
        self.cursor.execute(PLACE, (str(self.number), key, json.dumps(lines)))


class Crowd:
    """All clients and one loop. `plan(client)` gives the next (delay_s, key, lines), or None."""

    def __init__(self, dsn, size, started, on_answer):
        self.started = started
        self.on_answer = on_answer
        self.selector = selectors.EpollSelector()
        self.clients = []
        self.timers = []
        self.phase = ""
        self.plan = None
        self.busy = 0
        for number in range(size):
            self.clients.append(Client(number, dsn))
        self.connect()

    def connect(self):
        """Completes every handshake before any client may send: the barrier."""
        for client in self.clients:
            self.watch(client, client.connection.poll())
        waiting = set(self.clients)
        while waiting:
            for key, _ in self.selector.select(30):
                client = key.data
                state = client.connection.poll()
                self.watch(client, state)
                if state == ext.POLL_OK:
                    waiting.discard(client)

    def watch(self, client, state):
        events = selectors.EVENT_WRITE if state == ext.POLL_WRITE else selectors.EVENT_READ
        known = self.selector.get_map().get(client.fileno())
        if known is None:
            self.selector.register(client.fileno(), events, client)
        elif known.events != events:
            self.selector.modify(client.fileno(), events, client)

    def release(self, phase, plan):
        """Lets every client begin its plan, all in one go."""
        self.phase, self.plan = phase, plan
        for client in self.clients:
            self.next(client)

    def next(self, client):
        step = self.plan(client)
        if step is None:
            client.request = None
            return
        delay, key, lines = step
        client.tries = 0
        self.later(delay, client, key, lines)

    def later(self, delay, client, key, lines):
        self.busy += 1
        if delay <= 0:
            self.dispatch(client, key, lines)
        else:
            heapq.heappush(self.timers, (time.monotonic() + delay, client.number, key, lines))

    def dispatch(self, client, key, lines):
        client.send(key, lines)
        self.advance(client)

    def advance(self, client):
        """Takes a connection as far as its socket allows; hands on the answer when it is there."""
        try:
            state = client.connection.poll()
        except psycopg2.Error as error:
            self.answered(client, error)
            return
        self.watch(client, state)
        if state == ext.POLL_OK and client.request is not None:
            self.answered(client, None)

    def turn(self, limit_s=0.05):
        """One turn of the loop: answers that arrived, requests whose time has come."""
        now = time.monotonic()
        while self.timers and self.timers[0][0] <= now:
            _, number, key, lines = heapq.heappop(self.timers)
            self.dispatch(self.clients[number], key, lines)
        if self.timers:
            limit_s = min(limit_s, max(0.0, self.timers[0][0] - now))
        for ready, _ in self.selector.select(limit_s):
            self.advance(ready.data)

    def answered(self, client, error):
        now = time.monotonic()
        key, lines = client.request
        if client.connection.closed:
            raise RuntimeError(f"client {client.number} was disconnected: {error}")
        order_id = replayed = protection = None
        waited_ms = 0.0
        sqlstate = ""
        if error is None:
            order_id, replayed, protection, waited_ms = client.cursor.fetchone()
        else:
            sqlstate = error.pgcode or "?????"
            self.watch(client, ext.POLL_READ)
            client.cursor = None
        self.busy -= 1
        self.on_answer(Answer(now - self.started, self.phase, (now - client.sent_at) * 1e3,
                              float(waited_ms or 0), sqlstate, str(order_id), replayed, protection,
                              key, client.number), error)
        if sqlstate in RETRY and client.tries < MAX_TRIES:
            # As any shop does: the same request again, under the same key.
            self.later(random.uniform(0.01, 0.1), client, key, lines)
        else:
            client.request = None
            self.next(client)

    def forget_plans(self):
        """Requests that wait for their time are dropped, but not those that are asked again."""
        again = [timer for timer in self.timers if self.clients[timer[1]].tries > 0]
        self.busy -= len(self.timers) - len(again)
        self.timers = again
        heapq.heapify(self.timers)

    def close(self):
        for client in self.clients:
            client.connection.close()
        self.selector.close()
