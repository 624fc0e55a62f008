"""What stands in the log: one line each, key=value behind a colon."""

import re

from bench import attempt
from reconcile import ADJUST
from servers import poll


def check_summary_line(bench):
    bench.postgres.reload(inventory_lock__log_stats_interval="100ms")
    poll(lambda: bench.postgres.log().count("inventory locks: ") >= 2, "two lines are there")
    for _ in range(5):
        bench.sql(ADJUST % "a")
    poll(lambda: sum(int(number) for number in re.findall(
        r"inventory locks: seconds=\S+ got=(\d+)", bench.postgres.log())) >= 5, "all are logged")
    bench.postgres.reload(inventory_lock__log_stats_interval="0")
    line = [line for line in bench.postgres.log().splitlines() if "inventory locks: " in line][-1]
    fields = dict(word.split("=") for word in line.split("inventory locks: ")[1].split())
    bench.equal(sorted(fields), sorted(
        ["seconds", "got", "handed_over", "degraded", "timed_out", "cancelled", "refused", "lost",
         "redis_commands", "redis_errors", "gate_p99_ms", "lease_p99_ms", "leases", "breaker"]),
        "the summary line's fields")
    total = sum(int(number) for number in re.findall(
        r"inventory locks: seconds=\S+ got=(\d+)", bench.postgres.log()))
    bench.equal(total, 5, "the lines add up to what was done")


def check_grants_at_debug1(bench):
    session = bench.session(client_min_messages="debug1")
    attempt(session, ADJUST % "a")
    lines = [notice for notice in session.notices if "lock acquired: " in notice]
    bench.ok(len(lines) == 1 and re.fullmatch(
        r"DEBUG:  lock acquired: key=inventory_lock:a fence=\d+ protection=redis waited_ms=[\d.]+\n",
        lines[0]), "one line for each lock got", session.notices)
    session.commit()
    quiet = bench.session()
    attempt(quiet, ADJUST % "a")
    quiet.commit()
    bench.equal([notice for notice in quiet.notices if "acquired" in notice], [],
                "and none for who does not ask")


def check_slow_locks(bench):
    holder, waiter = bench.session("holder"), bench.session("waiter")
    attempt(waiter, "SET inventory_lock.log_min_wait = '20ms'")
    waiter.commit()
    attempt(holder, ADJUST % "a")
    background = bench.in_background(waiter, ADJUST % "a")
    bench.wait_until_waiting(waiter)
    poll(lambda: bench.sql("SELECT clock_timestamp() > query_start + '50 ms' FROM pg_stat_activity"
                           f" WHERE pid = {waiter.info.backend_pid}") == "t", "50 ms have passed")
    holder.commit()
    background.result()
    waiter.commit()
    lines = re.findall(rf"slow lock: key=inventory_lock:a holder=pid:{holder.info.backend_pid} keys=1"
                       r" protection=redis waited_ms=([\d.]+)"
                       r" gate_ms=([\d.]+) lease_ms=([\d.]+)", bench.postgres.log())
    bench.ok(len(lines) == 1 and float(lines[0][0]) >= 20
             and abs(float(lines[0][0]) - float(lines[0][1]) - float(lines[0][2])) < 0.3,
             "a slow lock is logged with where the time went", lines)

    # Somebody elsewhere had it.
    bench.redis_cli("SET", "inventory_lock:b", "some other-service", "PX", "60000")
    background = bench.in_background(waiter, ADJUST % "b")
    bench.wait_until_waiting(waiter)
    poll(lambda: bench.sql("SELECT clock_timestamp() > query_start + '50 ms' FROM pg_stat_activity"
                           f" WHERE pid = {waiter.info.backend_pid}") == "t", "50 ms have passed")
    bench.redis_cli("DEL", "inventory_lock:b")
    background.result()
    waiter.commit()
    lines = re.findall(r"slow lock: key=inventory_lock:b holder=some\?other-service keys=1 protection=redis"
                       r" waited_ms=([\d.]+) gate_ms=([\d.]+) lease_ms=([\d.]+)", bench.postgres.log())
    bench.ok(len(lines) == 1 and float(lines[0][2]) >= 20, "so is one that somebody elsewhere had", lines)
