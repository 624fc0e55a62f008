"""Who holds, who waits, and taking locks away."""

import json

from bench import attempt
from reconcile import ADJUST
from servers import poll


def check_active_locks_say_who(bench):
    holder = bench.session("the_holder")
    attempt(holder, ADJUST % "a")
    waiters = [bench.session(f"waiter{number}") for number in range(3)]
    backgrounds = []
    for waiter in waiters:
        backgrounds.append(bench.in_background(waiter, ADJUST % "a"))
        bench.wait_until_waiting(waiter)
    row = bench.row("inventory_lock.active_locks WHERE key = 'inventory_lock:a'")
    bench.equal((row["pid"], row["application"], row["kind"], row["state"], row["protection"]),
                (holder.info.backend_pid, "the_holder", "inventory", "held", "redis"),
                "the holder and how it is protected")
    bench.equal((row["waiters"], row["waiting"]),
                (3, [waiter.info.backend_pid for waiter in waiters]),
                "the waiters in the order of their turn")
    bench.ok(row["query_start"] is not None and 0 < row["ttl_ms"] <= 30000 and row["fence"] > 0
             and row["owner"].startswith("pg:") and not row["foreign"], "the rest of the row", row)
    page = bench.sql("SELECT * FROM inventory_lock.top")
    bench.ok(all(len(line) <= 118 for line in page.splitlines()), "top fits 120 columns", page)
    bench.ok("the_holder" in page and "inventory_lock:a" in page and "mode redis" in page,
             "top shows the holder", page)
    stats = json.loads(bench.sql("SELECT inventory_lock.get_lock_stats()"))
    bench.equal((set(stats), stats["total_active_locks"], stats["inventory_locks"],
                 stats["custom_locks"], stats["locks"][0]["key"]),
                ({"total_active_locks", "inventory_locks", "custom_locks", "locks", "timestamp"},
                 1, 1, 0, "inventory_lock:a"), "get_lock_stats")
    holder.commit()
    for waiter, background in zip(waiters, backgrounds):
        background.result()
        waiter.commit()


def check_top_loses_no_column(bench):
    holder = bench.session("a" * 63)
    attempt(holder, f"SELECT inventory_lock.acquire_lock('{'k' * 250}')")
    bench.redis_cli("SET", "inventory_lock:b", "somebody-else", "PX", "60000")
    waiter = bench.session("waiter")
    background = bench.in_background(waiter, ADJUST % "b")
    bench.wait_until_waiting(waiter)
    page = bench.sql("SELECT * FROM inventory_lock.top").splitlines()
    bench.ok(all(len(line) <= 118 for line in page), "top fits 120 columns with long names", "\n".join(page))
    held = [line.split() for line in page if "kkkk" in line]
    bench.equal([(line[1], line[-1]) for line in held[:1]], [(str(holder.info.backend_pid), "redis")],
                "and shows the whole row of a long key")
    bench.ok(any("inventory_lock:b" in line and line.rstrip().endswith("foreign") for line in page),
             "top says who is foreign", "\n".join(page))
    holder.commit()
    bench.redis_cli("DEL", "inventory_lock:b")
    background.result()
    waiter.commit()


def check_foreign_holders_are_seen(bench):
    bench.redis_cli("SET", "inventory_lock:a", "somebody-else", "PX", "60000")
    waiter = bench.session("waiter")
    background = bench.in_background(waiter, ADJUST % "a")
    poll(lambda: bench.sql("SELECT \"foreign\" FROM inventory_lock.active_locks"
                           " WHERE key = 'inventory_lock:a'") == "t", "the foreign holder is seen")
    row = bench.row("inventory_lock.active_locks WHERE key = 'inventory_lock:a'")
    bench.equal((row["owner"], row["pid"], row["waiters"]), ("somebody-else", None, 1),
                "a foreign holder by its token, and who waits for it")
    bench.ok(0 < row["ttl_ms"] <= 60000, "and for how long at most", row)
    bench.equal(bench.sql("SELECT inventory_lock.lock_token('inventory_lock:a')"), "somebody-else",
                "lock_token() asks Redis")
    text = bench.sql("SELECT inventory_lock.metrics()")
    bench.ok("\ninventory_lock_keys_held_elsewhere 1\n" in text, "metrics count it")
    bench.redis_cli("DEL", "inventory_lock:a")
    background.result()
    waiter.commit()


def check_test_functions_refuse_everything_else(bench):
    session = bench.session()
    for statement in ("SELECT * FROM inventory_lock.test_decrement('a', 1)",
                      "SELECT * FROM inventory_lock.test_concurrent_access('a', '0 s')",
                      "SELECT * FROM inventory_lock.test_concurrent_access('test_1', '-1 s')"):
        bench.equal(attempt(session, statement)[1], "22023", f"refused: {statement}")
    rows, _ = attempt(session, "SELECT quantity_before - quantity_after, protection"
                               " FROM inventory_lock.test_decrement('test_1', 3)")
    bench.equal(rows, [(3, "redis")], "test_decrement")
    session.commit()
    rows, _ = attempt(session, "SELECT variant_id, protection, held_ms >= 50"
                               " FROM inventory_lock.test_concurrent_access('test_1', '50 ms')")
    bench.equal(rows, [("test_1", "redis", True)], "test_concurrent_access")
    bench.equal(attempt(session, ADJUST % "test_1")[1], "", "its lock lasts for the transaction")
    session.commit()


def check_clear_test_locks_frees_these_and_nothing_else(bench):
    free = ["inventory_lock:test_2", "lock:test_job", "lock:order_creation_test_7_k",
            "inventory_lock:test_1@berlin"]
    keep = ["inventory_lock:a", "inventory_lock:tes", "inventory_lock:my_test_1", "lock:testing",
            "lock:order_creation_7_test_k", "test_1", "xlock:test_1", "inventory_lock:testX1",
            "il:fence:{inventory_lock:test_1}"]
    for key in free + keep:
        bench.redis_cli("SET", key, "somebody", "PX", "60000")
    holder = bench.session("holder")
    attempt(holder, ADJUST % "test_1")
    active = bench.session("active")
    background = bench.in_background(
        active, "SELECT * FROM inventory_lock.test_concurrent_access('test_9', '60 s')")
    poll(lambda: bench.redis_cli("EXISTS", "inventory_lock:test_9") == "1", "its key is there")
    bench.equal(bench.sql("SELECT inventory_lock.clear_test_locks()"), str(len(free) + 2),
                "the number of keys freed")
    bench.equal(background.result()[1], "57014", "a statement that holds a test lock is cancelled")
    left = set(bench.redis_cli("KEYS", "*").split())
    bench.equal(sorted(left & set(free) | {key for key in left if key.endswith(("test_1", "test_9"))
                                           and key.startswith("inventory_lock:t")}), [],
                "test locks are gone")
    bench.equal(sorted(set(keep) - left), [], "all others are there")
    bench.equal(attempt(holder, "COMMIT")[1], "IL011",
                "a transaction that stays idle with a test lock cannot commit")
    bench.redis_cli("DEL", *keep)
    # More keys than one step of the search looks at.
    bench.redis_cli("EVAL", "for n = 1, 1500 do redis.call('SET', 'lock:test_' .. n, '1', 'PX', 60000)"
                            " redis.call('SET', 'other:' .. n, '1', 'PX', 60000) end", "0")
    bench.equal(bench.sql("SELECT inventory_lock.clear_test_locks()"), "1500", "many keys")
    bench.equal(bench.redis_cli("EVAL", "return #redis.call('KEYS', 'other:*')", "0"), "1500",
                "and no other")
    bench.redis_cli("FLUSHALL")
    bench.redis_cli("ACL", "SETUSER", "default", "-scan")
    bench.equal(attempt(bench.session(), "SELECT inventory_lock.clear_test_locks()")[1], "IL012",
                "without the right to search it says so")
    bench.redis_cli("ACL", "SETUSER", "default", "+scan")


def check_force_release_is_polite(bench):
    holder, waiter = bench.session("holder"), bench.session("waiter")
    busy = bench.in_background(holder, "SELECT inventory_lock.acquire_lock('f'), pg_sleep_for('1 min')")
    poll(lambda: bench.redis_cli("EXISTS", "lock:f") == "1", "the lock is held")
    waiting = bench.in_background(waiter, "SELECT inventory_lock.acquire_lock('f')")
    bench.wait_until_waiting(waiter)
    admin = bench.session("admin")
    bench.equal(attempt(admin, "SELECT inventory_lock.force_release_lock('lock:f')")[0], [(True,)],
                "there was a lock")
    bench.ok(any(str(holder.info.backend_pid) in notice for notice in admin.notices),
             "a NOTICE says who is cancelled", admin.notices)
    admin.commit()
    bench.equal(busy.result()[1], "57014", "the holder is cancelled")
    bench.equal(waiting.result()[1], "", "the next in line has the lock")
    bench.equal(attempt(waiter, "COMMIT")[1], "", "and keeps it")

    attempt(holder, "SELECT inventory_lock.acquire_lock('f')")
    bench.equal(attempt(admin, "SELECT inventory_lock.force_release_lock('lock:f')")[0], [(True,)],
                "an idle holder cannot be cancelled: the key is deleted")
    bench.equal(bench.redis_cli("EXISTS", "lock:f"), "0", "the key is gone")
    bench.equal(attempt(holder, "COMMIT")[1], "IL011", "the holder cannot commit")
    bench.redis_cli("SET", "lock:f", "foreign", "PX", "60000")
    bench.equal(attempt(admin, "SELECT inventory_lock.force_release_lock('lock:f')")[0], [(True,)],
                "a foreign key is deleted")
    bench.equal(attempt(admin, "SELECT inventory_lock.force_release_lock('lock:f')")[0], [(False,)],
                "false when there is none")
    bench.ok("lock released by force: key=lock:f" in bench.postgres.log(), "the log tells of it")


def check_pg_stat_activity_tells_who_waits_for_what(bench):
    def event(session):
        return bench.sql("SELECT wait_event_type, wait_event FROM pg_stat_activity"
                         f" WHERE pid = {session.info.backend_pid} AND state = 'active'")

    def worker():
        return bench.sql("SELECT query FROM pg_stat_activity WHERE backend_type = 'inventory_lock worker'")
    ours = int(bench.sql("SHOW server_version_num")) >= 170000
    bench.redis_cli("SET", "inventory_lock:a", "foreign", "PX", "60000")
    first, second = bench.session("first"), bench.session("second")
    at_lease = bench.in_background(first, ADJUST % "a")
    wanted = "Extension|InventoryLockLease" if ours else "Extension|Extension"
    bench.equal(poll(lambda: event(first) == wanted and wanted, "a wait for Redis"), wanted,
                "who waits for Redis waits in this extension")
    at_gate = bench.in_background(second, ADJUST % "a")
    bench.equal(poll(lambda: event(second) == "Lock|advisory" and "seen", "a wait at the gate"), "seen",
                "who waits for another session of this server waits for an advisory lock")
    bench.equal(worker(), "serving locks in Redis", "the worker says what it does")
    bench.redis_cli("DEL", "inventory_lock:a")
    at_lease.result()
    first.commit()
    at_gate.result()
    second.commit()
    bench.redis.kill()
    bench.ok(poll(lambda: worker() == "waiting for Redis", "the worker sees it"), "also without Redis")
