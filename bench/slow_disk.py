"""S1 and S5 on a disk on which a flush takes longer: a row lock that is held over the flush waits for it, one
that is let go before it does not. The disk of the machine that runs this may be faster than any that sells.
"""

from generator import Generator
from servers import AREA, Postgres, Redis
from stage import LOCKED, ROUNDS, SETTINGS, SKUS, SLICE_MS, base_sql, in_turns, middle

EXTRA_US = (200, 1000)
CLIENTS = (8, 64, 256)


def ratios(generator, keys, clients):
    """Medians of calls a second: ours and the row lock alone, in turns."""
    def slice_of(name):
        generator.early_release(name == "locked")
        return generator.slice(name, clients, keys, SLICE_MS).per_second
    for name in ("sfu", "locked"):
        generator.slice(name, clients, keys, 200)
    took = in_turns({name: lambda name=name: slice_of(name) for name in ("sfu", "locked")}, ROUNDS)
    return middle(took["locked"]), middle(took["sfu"])


def server_with(extra_us, redis):
    """A server whose flushes take longer; the time that they took is in pg_stat_wal."""
    slow = ("env", f"LD_PRELOAD={AREA}/tmp/slow_flush.so", f"SLOW_FLUSH_US={extra_us}")
    return Postgres(f"slow_{extra_us}", redis=redis, settings={**SETTINGS, "track_wal_io_timing": "on"}, within=slow)


def measure(extra_us):
    """ms that a flush took, and (ours, row lock) by clients: on one SKU, on many."""
    with Redis("slow_redis") as redis, server_with(extra_us, redis) as server:
        server.psql(base_sql())
        server.wait_for_redis("postgres")
        with Generator(server.dsn(), max(CLIENTS), {"sfu": "SELECT sfu($1, 1)", "locked": LOCKED}) as generator:
            hot = {clients: ratios(generator, 1, clients) for clients in CLIENTS}
            spread = {clients: ratios(generator, SKUS, clients) for clients in (1, 8, 64)}
        flush_ms = float(server.psql("SELECT wal_sync_time / wal_sync FROM pg_stat_wal"))
        drift = server.psql("SELECT count(*) FROM inventory_lock.verify_stock() WHERE drift <> 0")
        degraded = server.psql("SELECT count(*) FROM shop.stock_movement"
                               " WHERE protection = 'database' AND actor IS DISTINCT FROM 'bench'")
        if drift != "0" or degraded != "0" or server.crash_signs():
            raise RuntimeError(f"{drift} levels disagree with their ledger, {degraded} locked calls were not protected "
                               f"by Redis; {server.crash_signs()}")
    return flush_ms, hot, spread


def rows():
    lines = []
    for extra_us in EXTRA_US:
        flush_ms, hot, spread = measure(extra_us)
        lines += [("S1", f"hot SKU, 8 / 64 / 256 clients, where a flush takes {flush_ms:.1f} ms, × row lock", "",
                   "≥ 3 / 5 / 8", " / ".join(f"{ours / row_lock:.1f}" for ours, row_lock in hot.values())
                   + "; row lock " + " / ".join(f"{row_lock:,.0f}" for _, row_lock in hot.values()) + " a second"),
                  ("S1", "the same, rate at 256 clients ÷ at 8", "", "≥ 0.7", f"{hot[256][0] / hot[8][0]:.2f}"),
                  ("S5", "10,000 SKUs there, 1 / 8 / 64 clients, × row lock", "", "≥ 0.75 / 0.85 / 0.95",
                   " / ".join(f"{ours / row_lock:.2f}" for ours, row_lock in spread.values()))]
    return lines
