"""Counters and histograms against a load whose every outcome is known."""

import re
import threading

from bench import attempt
from servers import poll

GOT = ("acquired", "handed_over", "warm", "degraded")
ENDED_BADLY = ("timed_out", "cancelled", "busy", "refused", "unavailable", "lost")
ADJUST = "SELECT quantity_after FROM inventory_lock.adjust_stock_locked('%s', -1)"


def got(stat, kind):
    return sum(stat[f"{kind}_{name}"] for name in GOT)


def badly(stat, kind):
    return {name: stat[f"{kind}_{name}"] for name in ENDED_BADLY if stat[f"{kind}_{name}"]}


def histogram(bench, kind, wait, outcome):
    return int(bench.sql(
        f"SELECT coalesce(sum(count), 0) FROM inventory_lock.stat_wait WHERE kind = '{kind}'"
        f" AND wait = '{wait}' AND outcome = '{outcome}'"))


def check_a_mixed_load_reconciles(bench):
    clients, rounds = 8, 40
    failures = []

    def client(number):
        connection = bench.session(f"client{number}")
        for turn in range(rounds):
            for statement in (
                    ADJUST % "abc"[turn % 3],
                    f"SELECT status FROM inventory_lock.place_order_locked('u{number}', 'k{turn}',"
                    """ '[{"variant_id": "a", "quantity": 1, "unit_price": 1},"""
                    """   {"variant_id": "b", "quantity": 2, "unit_price": 1}]')""",
                    f"SELECT inventory_lock.acquire_lock('name{turn % 2}')"):
                _, state = attempt(connection, statement)
                if state:
                    failures.append(f"{statement}: {state}")
                connection.commit()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.equal(failures, [], "the load itself succeeds")
    bench.settle()
    stat = bench.row("inventory_lock.stat")
    calls = clients * rounds
    bench.equal(got(stat, "inventory"), 3 * calls, "stock: every lock got is counted once")
    bench.equal(got(stat, "order"), calls, "orders: the same")
    bench.equal(got(stat, "custom"), calls, "custom: the same")
    bench.equal({k: badly(stat, k) for k in ("inventory", "order", "custom")},
                {"inventory": {}, "order": {}, "custom": {}}, "nothing is counted as failed")
    for kind, locks in (("inventory", 3 * calls), ("order", calls), ("custom", calls)):
        bench.equal(histogram(bench, kind, "hold", "got"), locks, f"{kind}: one hold time a lock")
        bench.equal(histogram(bench, kind, "gate", "got"), locks, f"{kind}: one gate wait a lock")
    bench.equal(histogram(bench, "inventory", "row", "got"), 2 * calls,
                "one row-lock time for every adjustment and every order")
    bench.equal(stat["inventory_acquired"] + stat["order_acquired"] + stat["custom_acquired"],
                stat["releases"], "every key that Redis granted was given back to Redis")
    bench.ok(stat["inventory_handed_over"] > 0, "some were handed over without Redis")
    waits = int(bench.sql("SELECT sum(waits) FROM inventory_lock.stat_key"))
    waited = int(bench.sql("SELECT sum(count) FROM inventory_lock.stat_wait"
                           " WHERE wait = 'gate' AND (below_us > 1 OR below_us IS NULL)"))
    at_once = int(bench.sql("SELECT sum(count) FROM inventory_lock.stat_wait WHERE wait = 'gate' AND below_us <= 1"))
    # Who queues, and finds the gate free after all, may have waited for less than a microsecond.
    bench.ok(waited <= waits <= waited + at_once, "stat_key counts the gate waits of the histograms",
             f"{waits} of {waited}, and {at_once} at once")
    bench.ok(bench.sql("SELECT key FROM inventory_lock.stat_key LIMIT 1").startswith(
        ("inventory_lock:", "lock:name")), "the key waited for most is one of the hot ones")


def cancelled(bench, statement):
    """SQLSTATE of a statement that is cancelled while it waits."""
    session = bench.session("cancelled")
    background = bench.in_background(session, statement)
    bench.wait_until_waiting(session)
    bench.sql(f"SELECT pg_cancel_backend({session.info.backend_pid})")
    return background.result()[1]


def check_each_way_to_fail_has_its_counter(bench):
    holder = bench.session("holder")
    attempt(holder, ADJUST % "a")
    limited = bench.session(inventory_lock__wait_timeout="400ms")
    bench.equal(attempt(limited, ADJUST % "a")[1], "IL010", "our limit at the gate")
    none = bench.session(inventory_lock__wait_timeout="0")
    bench.equal(attempt(none, ADJUST % "a")[1], "IL010", "no wait at the gate")
    theirs = bench.session(lock_timeout="400ms")
    bench.equal(attempt(theirs, ADJUST % "a")[1], "55P03", "lock_timeout at the gate")
    bench.equal(cancelled(bench, ADJUST % "a"), "57014", "cancel at the gate")
    few = bench.session(inventory_lock__max_waiters="1")
    waiter = bench.session("waiter")
    background = bench.in_background(waiter, ADJUST % "a")
    bench.wait_until_waiting(waiter)
    bench.equal(attempt(few, ADJUST % "a")[1], "IL013", "too many waiters")
    holder.commit()
    background.result()
    waiter.commit()

    bench.redis_cli("SET", "inventory_lock:b", "foreign", "PX", "60000")
    bench.equal(attempt(limited, ADJUST % "b")[1], "IL010", "our limit at the lease")
    bench.equal(attempt(theirs, ADJUST % "b")[1], "55P03", "lock_timeout at the lease")
    bench.equal(cancelled(bench, ADJUST % "b"), "57014", "cancel at the lease")
    bench.redis_cli("DEL", "inventory_lock:b")

    rows = bench.session("rows")
    attempt(rows, "SELECT 1 FROM shop.stock_level WHERE variant_id = 'c' FOR UPDATE")
    bench.equal(attempt(limited, ADJUST % "c")[1], "IL010", "our limit at the row")
    bench.equal(attempt(theirs, ADJUST % "c")[1], "55P03", "lock_timeout at the row")
    bench.equal(cancelled(bench, ADJUST % "c"), "57014", "cancel at the row")
    rows.rollback()

    attempt(holder, "SELECT inventory_lock.acquire_lock('x')")
    tries = bench.session()
    bench.equal(attempt(tries, "SELECT inventory_lock.try_acquire_lock('x')")[0], [(None,)],
                "a try that finds the lock taken")
    tries.commit()
    bench.redis_cli("DEL", "lock:x")
    holder.rollback()

    doomed = bench.session("doomed", inventory_lock__commit_margin="0")
    attempt(doomed, ADJUST % "a")
    bench.redis_cli("DEL", "inventory_lock:a")
    poll(lambda: bench.sql("SELECT state FROM inventory_lock.active_locks"
                           " WHERE key = 'inventory_lock:a'") == "lost", "the loss is noticed")
    bench.equal(attempt(doomed, "COMMIT")[1], "IL011", "a lost lease")

    bench.settle()
    stat = bench.row("inventory_lock.stat")
    bench.equal(badly(stat, "inventory"),
                {"timed_out": 7, "cancelled": 3, "refused": 1, "lost": 1},
                "stock: each failure is counted once, as what it was")
    bench.equal(badly(stat, "custom"), {"busy": 1}, "custom: one busy try")
    bench.equal((histogram(bench, "inventory", "gate", "timed_out"),
                 histogram(bench, "inventory", "gate", "cancelled")), (2, 1),
                "gate histogram: two limits, one cancel (no wait is no wait)")
    bench.equal((histogram(bench, "inventory", "lease", "timed_out"),
                 histogram(bench, "inventory", "lease", "cancelled")), (2, 1), "lease histogram")
    bench.equal((histogram(bench, "inventory", "row", "timed_out"),
                 histogram(bench, "inventory", "row", "cancelled")), (2, 1), "row histogram")
    bench.equal(bench.sql("SELECT waits, timed_out, cancelled FROM inventory_lock.stat_key"
                          " WHERE key = 'inventory_lock:b'"), "3|2|1", "stat_key has the same")


def check_rows_of_orders_and_reservations(bench):
    """Somebody else has the lines of an order, or a reservation, locked in SQL of his own."""
    order = bench.sql("SELECT order_id FROM inventory_lock.place_order_locked('rows', 'k',"
                      """ '[{"variant_id": "a", "quantity": 5, "unit_price": 1}]')""")
    held = bench.sql("SELECT reservation_id FROM inventory_lock.reserve_stock_locked('holder',"
                     """ '[{"variant_id": "b", "quantity": 1}]', '1 h')""")
    bench.settle()
    bench.sql("SELECT inventory_lock.stat_reset()")
    cancel = f"""SELECT status FROM inventory_lock.cancel_order_locked('{order}', '[{{"line_no": 1, "quantity": 1}}]')"""
    extend = f"SELECT FROM inventory_lock.extend_reservation('{held}', '2 h')"
    limited = bench.session(inventory_lock__wait_timeout="400ms")
    theirs = bench.session(lock_timeout="400ms")
    for kind, locked, statement in (("order", f"shop.order_line WHERE order_id::text = '{order}'", cancel),
                                    ("inventory", f"shop.reservation WHERE reservation_id::text = '{held}'", extend)):
        rows = bench.session("rows")
        attempt(rows, f"SELECT FROM {locked} FOR UPDATE")
        bench.equal(attempt(limited, statement)[1], "IL010", f"{kind}: our limit at the row")
        bench.equal(attempt(theirs, statement)[1], "55P03", f"{kind}: lock_timeout at the row")
        bench.equal(cancelled(bench, statement), "57014", f"{kind}: cancel at the row")
        rows.rollback()
        bench.settle()
        bench.equal(badly(bench.row("inventory_lock.stat"), kind), {"timed_out": 2, "cancelled": 1},
                    f"{kind}: each failure is counted once")
        bench.equal((histogram(bench, kind, "row", "timed_out"), histogram(bench, kind, "row", "cancelled")),
                    (2, 1), f"{kind}: and its wait stands in the histogram of rows")
        before = histogram(bench, kind, "row", "got")
        bench.equal(attempt(limited, statement)[1], "", f"{kind}: the row is free again")
        limited.commit()
        bench.ok(histogram(bench, kind, "row", "got") > before, f"{kind}: a row that was got is counted too")


def check_without_redis(bench):
    strict = bench.session(inventory_lock__on_redis_failure="error")
    plain = bench.session()
    bench.redis.kill()
    states = []
    for _ in range(5):
        states.append(attempt(strict, ADJUST % "a")[1])
        attempt(plain, ADJUST % "a")
        plain.commit()
    stat = bench.row("inventory_lock.stat")
    bench.equal(states, ["IL012"] * 5, "refused without Redis")
    bench.equal(stat["inventory_unavailable"], 5, "refusals are counted")
    bench.equal(stat["inventory_degraded"], 5, "calls on database locks are counted")
    bench.ok(stat["breaker_opened"] >= 1, "the breaker's opening is counted")
    errors = sum(value for name, value in stat.items() if name.startswith("errors_"))
    bench.ok(errors > 0, "the errors are counted by class")
    status = bench.row("inventory_lock.get_status()")
    bench.equal((status["mode"], status["breaker"] != "closed"), ("database", True),
                "status says so")


def check_many_keys_stay_within_bounds(bench):
    """More contended keys than the sketch has places: true counts lie within what it says."""
    keys = 700
    holder, waiter = bench.session("holder"), bench.session("waiter")
    attempt(holder, "SELECT count(inventory_lock.acquire_lock('n' || n))"
                    f" FROM generate_series(1, {keys}) n")
    attempt(waiter, "SET lock_timeout = '1ms'")
    waiter.commit()
    attempt(waiter, f"""DO $$ BEGIN
        FOR n IN 1..{keys} LOOP
            FOR again IN 1..(CASE WHEN n = 7 THEN 60 ELSE 1 END) LOOP
                BEGIN
                    PERFORM inventory_lock.acquire_lock('n' || n);
                EXCEPTION WHEN lock_not_available THEN NULL;
                END;
            END LOOP;
        END LOOP; END $$""")
    waiter.commit()
    places, total = bench.sql("SELECT count(*), sum(waits) FROM inventory_lock.stat_key").split("|")
    bench.ok(int(places) <= 512, "memory is bounded", places)
    bench.equal(int(total), keys + 59, "the counts add up to all waits, also of keys forgotten")
    bench.equal(bench.sql("SELECT count(*) FROM inventory_lock.stat_key"
                          " WHERE key <> 'lock:n7' AND (waits < 1 OR waits_at_least > 1)"), "0",
                "waits_at_least <= the true 1 <= waits")
    bench.equal(bench.sql("SELECT key, waits_at_least <= 60 AND waits >= 60"
                          " FROM inventory_lock.stat_key LIMIT 1"), "lock:n7|t",
                "the key waited for most stands first")
    holder.rollback()


def check_metrics_equal_the_views(bench):
    for variant in "aab":
        bench.sql(ADJUST % variant)
    bench.settle()
    text = bench.sql("SELECT inventory_lock.metrics()")
    values = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.M))
    stat = bench.row("inventory_lock.stat")
    wrong = []
    for name, value in stat.items():
        kind = re.match(r"(inventory|order|custom)_(\w+)", name)
        error = re.match(r"errors_(\w+)", name)
        if kind:
            metric = 'inventory_lock_locks_total{kind="%s",outcome="%s"}' % kind.groups()
        elif error:
            metric = f'inventory_lock_redis_errors_total{{class="{error[1]}"}}'
        elif name == "stats_reset":
            continue
        else:
            metric = f'inventory_lock_events_total{{event="{name}"}}'
        if float(values.get(metric, "nan")) != float(value) and name != "redis_commands":
            wrong.append(f"{name}={value} {metric}={values.get(metric)}")
    bench.equal(wrong, [], "every counter of stat is a metric with the same value")
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    unknown = [line for line in text.splitlines() if not line.startswith("#")
               and re.sub(r"_(bucket|sum|count)(?=[{ ])", "", line).split("{")[0].split()[0]
               not in names]
    bench.equal(unknown, [], "every sample belongs to a declared metric")
    bucket = 'inventory_lock_wait_seconds_bucket{kind="inventory",wait="hold",outcome="got",le="+Inf"}'
    bench.equal(values.get(bucket), "3", "histograms come as cumulative buckets")


def check_reset(bench):
    bench.sql(ADJUST % "a")
    bench.settle()
    before = bench.sql("SELECT stats_reset FROM inventory_lock.stat")
    bench.sql("SELECT inventory_lock.stat_reset()")
    stat = bench.row("inventory_lock.stat")
    bench.equal([name for name, value in stat.items()
                 if name not in ("stats_reset", "redis_commands") and value != 0], [],
                "stat_reset() sets all to zero")
    bench.equal(bench.sql("SELECT (SELECT count(*) FROM inventory_lock.stat_wait)"
                          " + (SELECT count(*) FROM inventory_lock.stat_key)"), "0",
                "histograms and keys too")
    bench.ok(str(stat["stats_reset"]) != before, "and says when")
