"""The goals in numbers: each with what others do, what is aimed at and what is measured here. sync is on
where nothing else is said.

Part of `make bench`, after the tables of bench/run; also alone: `make bench GOALS="S1 S5"`. Variants
take turns, figures are medians over rounds. "Row lock" is the function sfu of sfu.sql.
"""

import json
import threading
import time
from concurrent import futures

import psycopg2

import slow_disk
from generator import Generator
from peers import s17_services
from servers import poll
from stage import (LOCKED, MAX_CONNECTIONS, QUICK, ROUNDS, SKUS, SLICE_MS, TRIES, Bench, in_turns, middle,
                   quantile, timed_ms)

WORKER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'inventory_lock worker'"


def s1_hot(bench):
    ratios, rates = [], {}
    for clients in (8, 64, 256):
        rates[clients] = bench.rates(["sfu", "locked", "early"], clients, 1)
        ratios.append([rates[clients][name] / rates[clients]["sfu"] for name in ("early", "locked")])
    keeps = rates[256]["early"] / rates[8]["early"]
    return [("S1", "hot SKU, 8 / 64 / 256 clients, × row lock", "1.3 / 2.0 / 3.5 (advisory lock first)",
             "≥ 3 / 5 / 8", " / ".join(f"{early:.1f}" for early, _ in ratios) + " (early_release), "
             + " / ".join(f"{plain:.1f}" for _, plain in ratios) + " (off); row lock "
             + " / ".join(f"{rates[clients]['sfu']:,.0f}" for clients in rates) + " a second"),
            ("S1", "the same, rate at 256 clients ÷ at 8", "0.06 to 0.14 (row lock)", "≥ 0.7", f"{keeps:.2f}")]


def s1_slow_disk(_):
    return slow_disk.rows()


def s3_single(bench):
    bench.sync("off")
    cold = bench.compare(["direct", "locked"], 1, 0)
    bench.linger("1s")
    warm = bench.compare(["direct", "locked"], 1, 0)
    bench.linger("0")
    bench.sync("on")
    ratio = [middle(s.p50_ms for s in of["locked"]) / middle(s.p50_ms for s in of["direct"])
             for of in (cold, warm)]
    return [("S3", "one client, sync off, p50 ÷ with a Redis connection of the backend's own", "1.43",
             "≤ 1.2 cold, ≤ 0.5 warm", f"{ratio[0]:.2f} cold, {ratio[1]:.2f} warm (lease_linger = 1s)")]


def s4_many(bench):
    bench.sync("off")
    rates = bench.rates(["direct", "locked"], 64, 0)
    bench.sync("on")
    return [("S4", "the same at 64 clients, calls/s, ×", "1.7 to 1.9", "≥ 1.8",
             f"{rates['locked'] / rates['direct']:.2f}")]


def s5_spread(bench):
    ratios, commands = [], []
    for clients in (1, 8, 64):
        before = bench.commands()
        slices = bench.compare(["sfu", "locked"], clients, SKUS)
        calls = sum(s.calls for s in slices["locked"])
        commands.append((bench.commands() - before) / calls * ROUNDS / (ROUNDS + 0.4))
        ratios.append(middle(s.per_second for s in slices["locked"])
                      / middle(s.per_second for s in slices["sfu"]))
    before = bench.commands()
    hot = bench.slice("locked", 64, 1)
    per_hot = (bench.commands() - before) / hot.calls
    return [("S5", "10,000 SKUs, 1 / 8 / 64 clients, × row lock", "0.57 / 0.72 / 0.75", "≥ 0.75 / 0.85 / 0.95",
             " / ".join(f"{ratio:.2f}" for ratio in ratios)),
            ("S7", "Redis commands per call, alone / on a hot SKU", "2 to 3 / 500 to 3,000",
             "≤ 2.1 / ≤ 0.05", f"{max(commands):.2f} / {per_hot:.3f}")]


def lines_of(count):
    return [{"variant_id": f"bench-{n * 7 % SKUS}", "quantity": 1, "unit_price": 1.5} for n in range(count)]


def place(cursor, lines):
    cursor.execute("SELECT order_id FROM inventory_lock.place_order_locked('ann', gen_random_uuid()::text, "
                   "%s)", (json.dumps(lines),))


def shown(ratios):
    return " / ".join(f"{ratio:.2f}" for ratio in ratios)


def verify_direct_locks(bench, connection):
    """What ours is compared with has its keys in Redis until the transaction ends, and not longer."""
    lines, changes = json.dumps(lines_of(10)), json.dumps([{"variant_id": "bench-1", "delta": 1}])
    cursor = connection.cursor()
    for keys, call in ((11, f"order_with_direct_locks('ann', %s, false, {bench.redis.port})"),
                       (11, f"order_with_direct_locks('ann', %s, true, {bench.redis.port})"),
                       (1, f"bulk_with_direct_locks(%s, {bench.redis.port})")):
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT {call}", (changes if keys == 1 else lines,))
        inside = len(bench.cache.keys("direct:*"))
        cursor.execute("COMMIT")
        after = len(bench.cache.keys("direct:*"))
        if (inside, after) != (keys, 0):
            raise RuntimeError(f"{call}: {inside} keys inside of the transaction and {after} behind it")


def order_ratios(bench, count):
    """p50 of our order ÷ by hand, ÷ with direct locks one by one, ÷ in one pipeline; slices in turns."""
    lines = json.dumps(lines_of(count))
    buyer = "'ann' || left($1, 0)"
    direct = f"SELECT order_with_direct_locks({buyer}, '{lines}', %s, {bench.redis.port})"
    ways = {"ours": "SELECT order_id FROM inventory_lock.place_order_locked("
                    f"{buyer}, gen_random_uuid()::text, '{lines}')",
            "hand": f"SELECT order_by_hand({buyer}, '{lines}')",
            "each": direct % "false", "at_once": direct % "true"}
    with Generator(bench.one.dsn(), 1, ways) as generator:
        for name in ways:
            generator.slice(name, 1, 1, 200)
        took = in_turns({name: lambda name=name: generator.slice(name, 1, 1, SLICE_MS // 3).p50_ms
                         for name in ways}, 2 * ROUNDS)
    return [middle(took["ours"]) / middle(took[name]) for name in ("hand", "each", "at_once")]


def lone_order_ratio(cursor):
    """The same for one line, where each call follows one of the other way: caches and processes are cold."""
    lines = json.dumps(lines_of(1))
    took = in_turns({
        "ours": lambda: timed_ms(lambda: place(cursor, lines_of(1))),
        "hand": lambda: timed_ms(lambda: cursor.execute("SELECT order_by_hand('ann', %s)", (lines,)))}, TRIES)
    return middle(took["ours"]) / middle(took["hand"])


def s6_orders(bench):
    connection = bench.connect()
    cursor = connection.cursor()

    def one_by_one():
        cursor.execute("BEGIN")
        for line in lines_of(5):
            cursor.execute("SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(%s, 1)",
                           (line["variant_id"],))
        cursor.execute("COMMIT")
    times = {"order": [], "calls": []}
    for _ in range(TRIES):
        times["order"].append(timed_ms(lambda: place(cursor, lines_of(5))))
        times["calls"].append(timed_ms(one_by_one))
    rows = [("S6", "order of 5 lines, × faster than 5 single calls in one transaction", "2.5 to 3", "≥ 3",
             f"{middle(times['calls']) / middle(times['order']):.1f}")]
    port = bench.redis.port
    verify_direct_locks(bench, connection)
    cursor.execute("ANALYZE")  # the tables of orders have grown from nothing
    ratios, each, at_once = zip(*(order_ratios(bench, count) for count in (1, 10, 100)))
    rows.append(("", "order of 1 / 10 / 100 lines, time ÷ the same writes by hand", "", "≤ 1.3", shown(ratios)))
    rows.append(("", "the same, ÷ by hand with the same locks over a Redis connection of the backend's own", "", "",
                 f"{shown(each)}, taken one by one; {shown(at_once)}, in one pipeline"))
    rows.append(("", "order of one line among other work, one call of each way after the other, ÷ by hand", "", "",
                 f"{lone_order_ratio(cursor):.2f}"))
    changes = json.dumps([{"variant_id": f"bench-{n}", "delta": 1} for n in range(SKUS)])
    cursor.execute("SET inventory_lock.max_keys_per_transaction = 10000")
    took = in_turns({
        "ours": lambda: timed_ms(lambda: cursor.execute(
            "SELECT count(*) FROM inventory_lock.adjust_stock_bulk_locked(%s)", (changes,))),
        "hand": lambda: timed_ms(lambda: cursor.execute("SELECT bulk_by_hand(%s)", (changes,))),
        "direct": lambda: timed_ms(lambda: cursor.execute(
            "SELECT bulk_with_direct_locks(%s, %s)", (changes, port)))}, 3 * ROUNDS)
    rows.append(("", "bulk change of 10,000 rows, time ÷ the same writes by hand", "", "≤ 1.3",
                 f"{middle(took['ours']) / middle(took['hand']):.2f}"))
    rows.append(("", "the same, ÷ by hand with the same locks in one pipeline over a connection of the backend's own",
                 "", "", f"{middle(took['ours']) / middle(took['direct']):.2f}"))
    connection.close()
    return rows


def after_release(bench, server, let_go, take="SELECT inventory_lock.acquire_lock('bench', '10 s')"):
    """ms from the return of let_go() to the waiter's answer, as often as TRIES says."""
    waiter, watcher = bench.connect(server), bench.connect(server)
    cursor, watch, times = waiter.cursor(), watcher.cursor(), []
    for _ in range(TRIES):
        free = let_go()
        answered = []

        def wait():
            cursor.execute(take)
            answered.append(time.perf_counter())
        thread = threading.Thread(target=wait)
        thread.start()
        poll(lambda: watch.execute("SELECT wait_event IS NOT NULL AND state = 'active' FROM pg_stat_activity "
                                   f"WHERE pid = {waiter.info.backend_pid}") or watch.fetchone()[0],
             "the waiter waits", interval_s=0.001)
        time.sleep(0.003)
        free()
        freed = time.perf_counter()
        thread.join()
        times.append((answered[0] - freed) * 1000)
    waiter.close()
    watcher.close()
    return times


def s8_handover(bench):
    holder = psycopg2.connect(bench.one.dsn())
    cursor = holder.cursor()

    def hold():
        cursor.execute("SELECT inventory_lock.acquire_lock('bench')")
        return holder.commit
    times = after_release(bench, bench.one, hold)
    holder.close()
    return [("S8", "hand-over between backends, p50 after the commit's answer", "50 to 106 ms", "< 0.3 ms",
             f"{middle(times):.2f} ms")]


def s9_foreign(bench):
    def hold():
        poll(lambda: bench.cache.set("lock:bench", "foreign", px=30000, nx=True), "the key is free",
             interval_s=0.0005)
        return lambda: bench.cache.delete("lock:bench")
    times = after_release(bench, bench.one, hold)
    return [("S9", "a foreign client's release to our grant, p50 / p99", "50 to 250 ms", "< 2 / < 10 ms",
             f"{middle(times):.2f} / {quantile(times, 0.99):.2f} ms")]


def handovers_between(bench):
    """ms between the last commit in one cluster and the first grant in the other, three threads in each."""
    stop, events = time.monotonic() + (3 if QUICK else 10), []

    def work(name, server):
        connection = psycopg2.connect(server.dsn())
        cursor = connection.cursor()
        while time.monotonic() < stop:
            cursor.execute("SELECT inventory_lock.acquire_lock('between', '10 s')")
            granted = time.perf_counter()
            connection.commit()
            events.append((granted, time.perf_counter(), name))
        connection.close()
    threads = [threading.Thread(target=work, args=(name, server))
               for name, server in (("one", bench.one), ("two", bench.two)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events.sort()
    return [(b[0] - a[1]) * 1000 for a, b in zip(events, events[1:]) if a[2] != b[2]]


def share_of_one(bench):
    """Part of all sales of one SKU that the first of two clusters made. Eight clients in each, and commits
    that are waited for, so that in both somebody wants the key at every moment: who does not gives it up
    at once, and the share would be one of gaps. Turns last max_tenure, 1 s: long slices, each cluster
    once the first to begin."""
    calls = {"one": 0, "two": 0}
    with Generator(bench.two.dsn(), 8, {"locked": LOCKED}) as other, futures.ThreadPoolExecutor() as threads:
        generators = {"one": bench.generator, "two": other}
        for generator in generators.values():
            generator.early_release(False)

        def sell(name):
            return name, generators[name].slice("locked", 8, 1, 5000 if QUICK else 15000).calls
        for order in (("one", "two"), ("two", "one")):
            for name, sold in threads.map(sell, order):
                calls[name] += sold
    return calls["one"] / sum(calls.values())


def s10_clusters(bench):
    gaps, share = handovers_between(bench), share_of_one(bench)
    return [("S10", "hand-over between two busy clusters, p50; share of the one", "2.6 ms (Redisson)",
             "< 1 ms; 40 to 60 %", f"{middle(gaps):.2f} ms; {share:.0%}")]


def s11_fairness(bench):
    slices = bench.compare(["locked", "early"], 64, 1)
    now = {name: middle(s.p99_ms / s.p50_ms for s in of) for name, of in slices.items()}
    return [("S11", "64 waiters, p99 ÷ p50 of the call", "195 (polling)", "≤ 3",
             f"{now['locked']:.1f}, {now['early']:.1f} with early_release")]


def s12_sold_out(bench):
    rates = bench.rates(["look", "sold_out"], 64, 0)
    return [("S12", "sold-out SKU, 64 clients, refusals/s ÷ plain SELECTs/s", "", "≥ 0.6",
             f"{rates['sold_out'] / rates['look']:.2f}")]


def s14_memory(bench):
    count = 200 if QUICK else 1000
    connections = [bench.connect() for _ in range(count)]

    def rss_kb(pid):
        with open(f"/proc/{pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    cursors = [connection.cursor() for connection in connections]
    for number, cursor in enumerate(cursors[: count // 2]):
        cursor.execute("SELECT sfu(%s, 1)", (f"bench-{number}",))
    for number, cursor in enumerate(cursors[count // 2:]):
        cursor.execute(LOCKED.replace("$1", "%s"), (f"bench-{number}",))
    backends = [middle(rss_kb(connection.info.backend_pid) for connection in half)
                for half in (connections[: count // 2], connections[count // 2:])]
    worker = rss_kb(int(bench.one.psql(WORKER)))
    bench.slice("direct", 64, 0, 100)  # each has its connection now
    # Of two servers; without our own and those of the direct locks.
    clients = len(bench.cache.client_list()) - 1 - 64
    shared = bench.one.psql("SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name LIKE 'inventory_lock%'")
    for connection in connections:
        connection.close()
    return [("S14", f"Redis connections at {count} backends; worker; a backend more than with the row lock",
             "one for each client", "≤ 4; < 32 MB; ≤ 1 MB",
             f"{clients / 2:g}; {worker / 1024:.1f} MB; {(backends[1] - backends[0]) / 1024:.2f} MB"),
            ("", f"shared memory at max_leases = 16384, {MAX_CONNECTIONS:,} connections", "", "",
             f"{int(shared or 0) / 2**20:.1f} MB")]


def s15_growth(bench):
    per_sku = [bench.slice("locked", 8, keys).per_second for keys in (100, 1000, SKUS)]
    connection = bench.connect()
    cursor = connection.cursor()
    per_line = []
    for count in (1, 10, 50, 200):
        times = [timed_ms(lambda: place(cursor, lines_of(count))) for _ in range(20)]
        per_line.append(middle(times) / count)
    connection.close()
    return [("S15", "calls/s over 10² / 10³ / 10⁴ SKUs, 8 clients", "", "flat",
             " / ".join(f"{rate:,.0f}" for rate in per_sku)),
            ("S15", "ms per line of an order of 1 / 10 / 50 / 200", "", "linear or better",
             " / ".join(f"{ms:.2f}" for ms in per_line))]


def s16_burst(bench):
    bench.slice("locked", 50, 1, 200)
    rows = {}
    for name in ("sfu", "locked", "early"):
        bench.generator.early_release(name == "early")
        seconds, commands = [], []
        for _ in range(ROUNDS):
            before = bench.commands()
            burst = bench.generator.burst(name, 50, 1000)
            seconds.append(burst.seconds)
            commands.append((bench.commands() - before) / 1000)
        rows[name] = middle(seconds), middle(commands)
    return [("S16", "1,000 buyers of one SKU over 50 connections, until the last is answered; Redis commands a sale",
             "5 to 30 s; 147 (redis-py)", "≤ 1.5 s; ≤ 0.1",
             f"{rows['early'][0]:.2f} s early_release, {rows['locked'][0]:.2f} s off (row lock alone "
             f"{rows['sfu'][0]:.2f} s); {rows['locked'][1]:.3f}")]


def s18_linger(bench):
    """What a lease that lingers gives us, and what it takes from a poller."""
    mine, theirs = [], []
    for linger in ("0", "100ms", "1s"):
        bench.linger(linger)
        bench.sync("off")
        mine.append(middle(s.p50_ms for s in bench.compare(["locked"], 1, 1)["locked"]))
        bench.sync("on")
        connection, waits = bench.connect(), []
        cursor = connection.cursor()
        for _ in range(10):
            cursor.execute(LOCKED.replace("$1", "'bench-2'"))
            waits.append(timed_ms(lambda: poll(
                lambda: bench.cache.set("inventory_lock:bench-2", "foreign", px=30000, nx=True),
                "the poller gets the key", interval_s=0.002)))
            bench.cache.delete("inventory_lock:bench-2")
        connection.close()
        theirs.append(middle(waits))
    bench.linger("0")
    return [("", "lease_linger 0 / 100 ms / 1 s: p50 of a call, sync off; a poller's wait behind a call", "", "",
             " / ".join(f"{ms:.2f}" for ms in mine) + " ms; " + " / ".join(f"{ms:.0f}" for ms in theirs) + " ms")]


def s13_redis_down(bench):
    """Last: Redis is gone after it."""
    bench.redis.kill()
    bench.generator.ask("sql SET client_min_messages = error")
    poll(lambda: bench.one.psql("SELECT inventory_lock.status()->>'breaker'") == "open" or
         bench.slice("locked", 8, 0, 200) and False, "the breaker opens")
    ratios = [of["locked"] / of["sfu"] for of in (bench.rates(["sfu", "locked"], c, 0) for c in (1, 8))]
    return [("S13", "Redis down, 1 / 8 clients, × row lock", "blocks for time-outs", "≥ 0.9",
             " / ".join(f"{ratio:.2f}" for ratio in ratios))]


PARTS = [s1_hot, s1_slow_disk, s3_single, s4_many, s5_spread, s6_orders, s8_handover, s9_foreign, s10_clusters,
         s11_fairness, s12_sold_out, s14_memory, s15_growth, s16_burst, s17_services, s18_linger, s13_redis_down]


def table(rows):
    lines = ["| # | what | others | goal | now |", "|---|---|---|---|---|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def main(wanted=()):
    """Prints the table while it grows; the rows as Markdown."""
    rows = []
    with Bench() as bench:
        for part in PARTS:
            if wanted and not any(part.__name__.startswith(f"{name.lower()}_") for name in wanted):
                continue
            if part is s1_slow_disk and QUICK and not wanted:  # servers of their own take their time
                continue
            if part is s13_redis_down:
                bench.require_protection()
            new = part(bench)
            rows += new
            for row in new:
                print("  ".join(row), flush=True)
        if bench.redis.running():
            bench.require_protection()
        bench.verify()
    return table(rows)
