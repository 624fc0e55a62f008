"""What must hold after every crash, compared with the book of what the clients were told.

Runs: in the driver, while every client is idle. Each check yields findings, text for people; none is
a pass.
"""

import collections

import psycopg2

from clients import INITIAL
from servers import poll

KEYS_GONE_S = 4  # the times to live are a minute: a key that nobody frees is found here

ORDERS = """
SELECT o.idempotency_key, o.order_id::text, count(*) OVER (PARTITION BY o.idempotency_key),
       (SELECT jsonb_object_agg(m.variant_id, m.moved) FROM (
            SELECT variant_id, json_build_array(count(*), sum(delta)) AS moved FROM shop.stock_movement
            WHERE reference_type = 'order' AND reference_id = o.order_id::text AND kind = 'sale'
            GROUP BY variant_id) m)
FROM shop.orders o WHERE o.idempotency_key = ANY (%s)"""
CHANGES = """
SELECT request_key, variant_id, delta FROM shop.stock_movement WHERE request_key = ANY (%s)"""
CANCELLED = """
SELECT reference_id, sum(delta)::bigint FROM shop.stock_movement
WHERE kind = 'cancel' AND reference_id = ANY (%s) GROUP BY reference_id"""
LEVELS = """
SELECT s.variant_id, s.on_hand, s.held,
       %s + COALESCE((SELECT sum(delta) FROM shop.stock_movement m WHERE m.variant_id = s.variant_id), 0)::bigint,
       COALESCE((SELECT sum(quantity) FROM shop.reservation r
                 WHERE r.variant_id = s.variant_id AND r.state = 'held'), 0)::bigint
FROM shop.stock_level s"""
CHAIN = """
SELECT movement_id, variant_id, before, delta, on_hand_after FROM (
    SELECT *, lag(on_hand_after) OVER (PARTITION BY variant_id ORDER BY movement_id) AS before
    FROM shop.stock_movement) m WHERE before + delta <> on_hand_after"""


def by_kind(entries):
    kinds = collections.defaultdict(dict)
    for kind, key, answer in entries:
        kinds[kind][key] = answer
    return kinds


def of_answers(cursor, entries):
    """Every acknowledged order, change and cancellation is there once, and nothing that was refused."""
    kinds = by_kind(entries)
    orders = collections.defaultdict(list)
    cursor.execute(ORDERS, (list(kinds["order"]),))
    for key, *row in cursor.fetchall():
        orders[key].append(row)
    for key, (order_id, lines) in kinds["order"].items():
        wanted = [order_id, 1, {variant: [1, -quantity] for variant, quantity in lines.items()}]
        if orders[key] != [wanted]:
            yield f"order \"{key}\": acknowledged {wanted}, found {orders[key]}"
    changes = collections.defaultdict(list)
    cursor.execute(CHANGES, (list(kinds["change"]),))
    for key, *row in cursor.fetchall():
        changes[key].append(tuple(row))
    for key, change in kinds["change"].items():
        if changes[key] != [change]:
            yield f"change \"{key}\": acknowledged {change}, found {changes[key]}"
    cursor.execute(CANCELLED, (list(kinds["cancel"]),))
    cancelled = dict(cursor.fetchall())
    for order_id, restored in kinds["cancel"].items():
        wanted = [order for order in kinds["order"].values() if order[0] == order_id]
        units = sum(wanted[0][1].values()) if wanted else cancelled.get(order_id)
        if cancelled.get(order_id) is None or units != cancelled[order_id]:
            yield f"cancellation of {order_id}: {restored} acknowledged, {cancelled.get(order_id)} of {units} there"
    absent = list(kinds["absent"])
    cursor.execute("SELECT idempotency_key FROM shop.orders WHERE idempotency_key = ANY (%s) UNION ALL "
                   "SELECT request_key FROM shop.stock_movement WHERE request_key = ANY (%s)", (absent, absent))
    for (key,) in cursor.fetchall():
        yield f"\"{key}\" was refused or rolled back, and is there"


def of_levels(cursor, book):
    """Level, ledger and book agree, nothing is negative, and no change overlooked the one before it."""
    cursor.execute(LEVELS, (INITIAL,))
    for variant, on_hand, held, ledger, reserved in cursor.fetchall():
        if on_hand != ledger:
            yield f"{variant}: level {on_hand}, ledger {ledger}"
        if on_hand != book.levels[variant]:
            yield f"{variant}: level {on_hand}, by the answers {book.levels[variant]}"
            book.levels[variant] = on_hand  # told once
        if on_hand < 0 or held < 0:
            yield f"{variant}: {on_hand} on hand, {held} held"
        if held != reserved:
            yield f"{variant}: {held} held, {reserved} in reservations"
    cursor.execute(CHAIN)
    for row in cursor.fetchall()[:3]:
        yield "movement %s of %s: %s before it and %s make %s" % row


def of_locks(cursor, redis):
    """No key and no gate is left by those who are gone."""
    def keys():
        return [key.decode() for key in redis.keys("*") if not key.startswith(b"il:")]
    try:
        poll(lambda: not keys(), "keys", KEYS_GONE_S)
    except TimeoutError:
        for key in keys():
            yield f"key {key} of {redis.get(key)} is still there, for {redis.pttl(key)} ms"
            redis.delete(key)
    cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764")
    if gates := cursor.fetchone()[0]:
        yield f"{gates} gates are left"


def all_of(world, redis, entries):
    connection = psycopg2.connect(world.postgres.dsn())
    try:
        with connection, connection.cursor() as cursor:
            return [*of_locks(cursor, redis), *of_answers(cursor, entries), *of_levels(cursor, world.book)]
    finally:
        connection.close()
