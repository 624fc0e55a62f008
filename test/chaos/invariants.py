"""What must be true after the chaos, whatever happened. Each check yields (what, findings): an empty
list of findings is a pass."""

import time

import redis as redis_py

from load import LOCKS, VARIANTS, Adjuster, Buyer

POLL_S = 0.02

GATES = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 18764"


def in_sql(rows, initial):
    """rows(sql) runs a query in the cluster."""
    yield "no order is there twice", rows(
        "SELECT user_id, idempotency_key, count(*) FROM shop.orders GROUP BY 1, 2 HAVING count(*) > 1")

    stored = {key: order for key, order in rows(
        "SELECT idempotency_key, order_id::text FROM shop.orders")}
    yield f"every acknowledged order is there ({len(Buyer.placed)})", [
        (key, order) for key, (order, _) in Buyer.placed.items() if stored.get(key) != order]
    yield f"every refused order is not there ({len(Buyer.refused)})", [
        key for key in Buyer.refused if key in stored]
    yield "no order is there that nobody asked for", sorted(
        set(stored) - set(Buyer.placed) - set(Buyer.refused))

    lines = {}
    for order, variant, quantity in rows(
            "SELECT order_id::text, variant_id, sum(quantity) FROM shop.order_line GROUP BY 1, 2"):
        lines.setdefault(order, {})[variant] = int(quantity)
    yield "every order has the lines it was placed with", [
        order for order, wanted in Buyer.placed.values()
        if lines.get(order) != {line["variant_id"]: line["quantity"] for line in wanted}]
    yield "every order moved its stock exactly once, cancellations included", rows(
        "SELECT l.order_id, l.variant_id, l.due, m.moved FROM "
        "(SELECT order_id::text, variant_id, sum(quantity - cancelled) AS due FROM shop.order_line "
        " GROUP BY 1, 2) l LEFT JOIN "
        "(SELECT reference_id, variant_id, -sum(delta) AS moved FROM shop.stock_movement "
        " WHERE reference_type = 'order' GROUP BY 1, 2) m "
        "ON (m.reference_id, m.variant_id) = (l.order_id, l.variant_id) "
        "WHERE l.due IS DISTINCT FROM m.moved")
    cancelled = {row[0] for row in rows(
        "SELECT order_id::text FROM shop.orders WHERE status = 'cancelled'")}
    yield f"every acknowledged cancellation is there ({len(Buyer.cancelled)})", sorted(
        set(Buyer.cancelled) - cancelled)

    adjusted = {key: (variant, int(delta)) for key, variant, delta in rows(
        "SELECT request_key, variant_id, delta FROM shop.stock_movement WHERE kind = 'adjust'")}
    yield f"every acknowledged adjustment is there, once ({len(Adjuster.promised)})", [
        key for key, promised in Adjuster.promised.items() if adjusted.get(key) != promised]

    yield from ledger(rows, initial)


def ledger(rows, initial):
    """What holds of levels and movements, whoever made them. initial: variant → level at each place."""
    yield "nothing is oversold", rows("SELECT variant_id, on_hand FROM shop.stock_level WHERE on_hand < 0")
    yield "nothing was oversold at any time", rows(
        "SELECT movement_id, variant_id, on_hand_after FROM shop.stock_movement WHERE on_hand_after < 0")
    yield "level equals ledger", rows("SELECT * FROM inventory_lock.verify_stock() WHERE drift <> 0")
    yield "levels are what the movements add up to", [
        row for row in rows(
            "SELECT variant_id, on_hand - coalesce((SELECT sum(delta) FROM shop.stock_movement m "
            "WHERE (m.variant_id, m.location_id) = (l.variant_id, l.location_id)), 0) "
            "FROM shop.stock_level l") if int(row[1]) != initial[row[0]]]
    yield "every movement continues from the one before it", rows(
        "SELECT * FROM (SELECT movement_id, on_hand_after - delta AS began, "
        "lag(on_hand_after) OVER (PARTITION BY variant_id, location_id ORDER BY movement_id) AS left_at "
        "FROM shop.stock_movement) m WHERE left_at IS NOT NULL AND began <> left_at")
    yield "fences never go back", rows(
        "SELECT * FROM (SELECT movement_id, variant_id, fence, "
        "lag(fence) OVER (PARTITION BY variant_id, location_id ORDER BY movement_id) AS before "
        "FROM shop.stock_movement) m WHERE fence < before")


def at_rest(rows, port, ttl_s):
    """Call when the load has ended and everything is healed: keys, leases and gates must go."""
    redis = redis_py.Redis(port=port)

    def keys():
        return [key.decode() for key in redis.keys("*") if not key.startswith(b"il:")]

    end = time.monotonic() + ttl_s + 3
    while keys() and time.monotonic() < end:
        time.sleep(POLL_S)
    yield "no key outlives its owner by more than its TTL", [
        (key, redis.get(key), redis.pttl(key)) for key in keys()]
    for _ in range(200):
        if not rows("SELECT FROM inventory_lock.active_locks"):
            break
        time.sleep(POLL_S)
    yield "no lease is left in shared memory", rows(
        "SELECT key, state, waiters FROM inventory_lock.active_locks")
    yield "no gate is left", [row for row in rows(GATES) if row[0] != 0]

    slow = []
    for lock in LOCKS:
        slow += answer(rows, f"SELECT inventory_lock.acquire_lock('{lock}', '2 s') IS NULL", lock)
    for variant in VARIANTS:
        slow += answer(rows, "SELECT protection <> 'redis' FROM inventory_lock.adjust_stock_locked("
                             f"'{variant}', 1, wait_timeout => '2 s')", variant)
    yield "the next caller of every key gets through, with a lease, within a second", slow
    after = keys()
    end = time.monotonic() + 1
    while after and time.monotonic() < end:
        time.sleep(POLL_S)
        after = keys()
    yield "and leaves its key free at once", after


def answer(rows, sql, name):
    began = time.monotonic()
    wrong = rows(sql)[0][0]
    seconds = time.monotonic() - began
    return [(name, f"{seconds:.3f} s", "no lease" if wrong else "")] if wrong or seconds > 1 else []
