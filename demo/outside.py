#!/usr/bin/env python3
"""The outside service of the demo: an application that knows nothing of inventory_lock and locks
the same keys in Redis by itself, the usual way: SET key uuid NX EX, wait 100 ms and try again, release
by script. It sells single units over the counter and writes its own movement.

    outside.py REDIS_PORT DSN VARIANT[,VARIANT…]

Sells until a variant has nothing left, then goes on with the others; ends on SIGTERM or when all are
sold out. While it holds a key nobody may change that variant under the protection of Redis: it looks
at the ledger when it gets the key and again before it lets go, and counts intrusions. Of what it finds
while a Redis that lost its memory has been back for less than RECONNECT_S it says "forgotten": until
then the database server may not know yet that its keys are gone. Its last line of output is its
account, as JSON.
"""

import json
import random
import signal
import sys
import time
import uuid

import psycopg2
import redis as redis_py

RELEASE = ("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) "
           "else return 0 end")
LAST_PROTECTED = ("SELECT coalesce(max(movement_id), 0) FROM shop.stock_movement "
                  "WHERE variant_id = %s AND protection = 'redis' AND actor IS DISTINCT FROM 'outside service'")
RETRY_S, COUNTER_WORK_S, RECONNECT_S = 0.1, 0.005, 3

stopping = False


def stop(*_):
    global stopping
    stopping = True


def sell(connection, variant):
    """One unit, if there is one: row lock, level, movement, as the service has always done it."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT on_hand, fence FROM shop.stock_level WHERE variant_id = %s "
                       "AND location_id = 'main' FOR UPDATE", (variant,))
        on_hand, fence = cursor.fetchone()
        if on_hand < 1:
            return False
        cursor.execute("UPDATE shop.stock_level SET on_hand = on_hand - 1, version = version + 1 "
                       "WHERE variant_id = %s AND location_id = 'main'", (variant,))
        cursor.execute("INSERT INTO shop.stock_movement (variant_id, location_id, kind, delta, "
                       "on_hand_after, reason, actor, fence, protection) "
                       "VALUES (%s, 'main', 'sale', -1, %s, 'counter', 'outside service', %s, 'redis')",
                       (variant, on_hand - 1, fence))
        return True


def last_protected(connection, variant):
    with connection, connection.cursor() as cursor:
        cursor.execute(LAST_PROTECTED, (variant,))
        return cursor.fetchone()[0]


def main():
    port, dsn, variants = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
    signal.signal(signal.SIGTERM, stop)
    account = {"sold": {}, "holds": 0, "waits": 0, "intrusions": 0, "forgotten": 0, "lost": 0, "outages": 0}
    client = redis_py.Redis(port=port, socket_timeout=1)
    connection = psycopg2.connect(dsn)
    away, back_since = False, -RECONNECT_S
    while variants and not stopping:
        variant = random.choice(variants)
        key, token = f"inventory_lock:{variant}", str(uuid.uuid4())
        try:
            got = client.set(key, token, nx=True, ex=30)
            if away:
                away, back_since = False, time.monotonic()
            if not got:
                account["waits"] += 1
                time.sleep(RETRY_S)
                continue
            account["holds"] += 1
            before = last_protected(connection, variant)
            sold = sell(connection, variant)
            time.sleep(COUNTER_WORK_S)
            after = last_protected(connection, variant)
            if sold:
                account["sold"][variant] = account["sold"].get(variant, 0) + 1
            else:
                variants.remove(variant)
            if client.eval(RELEASE, 1, key, token) != 1:
                account["lost"] += 1
            elif after != before:
                account["forgotten" if time.monotonic() - back_since < RECONNECT_S else "intrusions"] += 1
        except redis_py.exceptions.RedisError:
            account["outages"] += 1
            away = True
            time.sleep(RETRY_S)
    print(json.dumps(account), flush=True)


if __name__ == "__main__":
    main()
