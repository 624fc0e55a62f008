"""What exporters show, against inventory_lock.metrics(): postgres_exporter and sql_exporter as Debian has
them, each run for real, and the queries of the collector for the other sql_exporter."""

import contextlib
import json
import pathlib
import re
import shutil
import threading
import urllib.request

from bench import attempt
from reconcile import ADJUST
from servers import Postgres, Process, poll

TOP = pathlib.Path(__file__).resolve().parents[2]
MONITORING = TOP / "docs/monitoring"


def samples(text):
    found = {}
    for name, pairs, value in re.findall(r"^(inventory_lock_\w+)(?:\{([^}]*)\})? (\S+)$", text, re.M):
        label = frozenset((key, "+Inf" if value == "+Inf" else f"{float(value):g}" if key == "le" else value)
                          for key, value in re.findall(r'(\w+)="([^"]*)"', pairs) if key != "server")
        found[name, label] = float(value)
    return found


def page_of(exporter):
    """What the exporter shows; waits until it shows something of ours."""
    def page():
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10).read().decode()
        except OSError:
            return None
        return text if "inventory_lock_" in text else None
    return poll(page, f"{exporter.name} answers")


def differences(bench, theirs, moving):
    """(lines about what differs from metrics(), number of samples compared)"""
    ours = {key: value for key, value in samples(bench.sql("SELECT inventory_lock.metrics()")).items()
            if not any(word in key[0] or word in str(sorted(key[1])) for word in moving)}
    return [f"{name} {sorted(labels)}: {theirs.get((name, labels))}, metrics() {value}"
            for (name, labels), value in ours.items()
            if abs(theirs.get((name, labels), -1e9) - value) > 1e-9 * max(1, abs(value))], len(ours)


MOVING = ("redis_commands", "rtt_seconds", "worker_started", "stats_reset")


def check_the_real_exporter(bench):
    if not shutil.which("prometheus-postgres-exporter"):
        print("# prometheus-postgres-exporter is not installed; its queries are not tried")
        return
    bench.sql("DROP ROLE IF EXISTS exporter; CREATE ROLE exporter LOGIN; GRANT pg_monitor TO exporter")
    exporter = Process("exporter")
    exporter.spawn(
        ["prometheus-postgres-exporter", f"--web.listen-address=127.0.0.1:{exporter.port}",
         f"--extend.query-path={MONITORING / 'postgres_exporter.yaml'}", "--disable-default-metrics",
         "--disable-settings-metrics"],
        env={"DATA_SOURCE_NAME": f"host={bench.postgres.folder} port={bench.postgres.port}"
                                 " user=exporter dbname=postgres sslmode=disable"})
    try:
        page_of(exporter)
        for variant in "aab":
            bench.sql(ADJUST % variant)
        bench.settle()
        theirs = samples(page_of(exporter))
        wrong, compared = differences(bench, theirs, MOVING)
        bench.equal(wrong[:10], [], "the exporter shows every sample of metrics(), with its value")
        bench.ok(compared > 80, "which are many", compared)
        ours = samples(bench.sql("SELECT inventory_lock.metrics()"))
        bench.equal(sorted({name for name, _ in theirs} - {name for name, _ in ours}), [],
                    "and none besides")
    finally:
        exporter.end(15)


def check_a_real_prometheus(bench):
    """The alerts as shipped, but quick: none under load, and the right one when Redis dies."""
    if not (shutil.which("prometheus") and shutil.which("prometheus-postgres-exporter")):
        print("# prometheus or its exporter is not installed; the alerts are not run")
        return
    bench.sql("DROP ROLE IF EXISTS scraped; CREATE ROLE scraped LOGIN; GRANT pg_monitor TO scraped")
    exporter, prometheus = Process("scraped_exporter"), Process("prometheus")
    exporter.spawn(
        ["prometheus-postgres-exporter", f"--web.listen-address=127.0.0.1:{exporter.port}",
         f"--extend.query-path={MONITORING / 'postgres_exporter.yaml'}", "--disable-default-metrics",
         "--disable-settings-metrics"],
        env={"DATA_SOURCE_NAME": f"host={bench.postgres.folder} port={bench.postgres.port}"
                                 " user=scraped dbname=postgres sslmode=disable"})
    rules = (MONITORING / "alerts.yml").read_text()
    (prometheus.folder / "alerts.yml").write_text(
        re.sub(r"\[\d+m\]", "[10s]", re.sub(r"for: \d+m", "for: 1s", rules)))
    (prometheus.folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [alerts.yml]\n"
        "scrape_configs:\n"
        f"  - {{job_name: pg, static_configs: [{{targets: ['127.0.0.1:{exporter.port}']}}]}}\n")
    prometheus.spawn(["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                      f"--web.listen-address=127.0.0.1:{prometheus.port}"])

    def ask(path):
        try:
            return json.load(urllib.request.urlopen(f"http://127.0.0.1:{prometheus.port}/api/v1/{path}", timeout=10))["data"]
        except OSError:
            return None

    def judged():
        """Every rule, once all have been evaluated over a scrape."""
        if not ask("query?query=inventory_lock_worker_up").get("result"):
            return None
        found = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        return found if all(rule["health"] == "ok" for rule in found) else None

    def firing():
        return sorted({alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"})
    stop, clients = threading.Event(), []
    try:
        poll(lambda: ask("rules") is not None, "Prometheus answers")

        def load():
            connection = bench.session("load")
            while not stop.is_set():
                attempt(connection, ADJUST % "a")
                connection.commit()
        clients += [threading.Thread(target=load) for _ in range(8)]
        for client in clients:
            client.start()
        found = poll(judged, "every rule is evaluated")
        bench.equal(len(found), len(re.findall(r"alert: ", rules)), "Prometheus evaluates every alert")
        seen = poll(lambda: float(ask("query?query=sum(inventory_lock_locks_total)")["result"][0]["value"][1]) > 1000,
                    "a thousand locks under load")
        bench.ok(seen, "it sees the load")
        bench.equal([name for name in firing() if "Slow" not in name], [], "no alert under load, but of a slow machine")
        bench.redis.kill()
        told = poll(lambda: "InventoryLockBreakerOpen" in firing() and firing(), "the alert fires")
        bench.ok({"InventoryLockBreakerOpen", "InventoryLockDegraded"} & set(told), "Redis dies: Prometheus tells", told)
        bench.redis.start()
        bench.ok(poll(lambda: "InventoryLockBreakerOpen" not in firing(), "the alert ends"), "and is quiet again")
    finally:
        stop.set()
        for client in clients:
            client.join()
        prometheus.end(15)
        exporter.end(15)


def check_the_real_sql_exporter(bench):
    if not shutil.which("prometheus-sql-exporter"):
        print("# prometheus-sql-exporter is not installed; its queries are not tried")
        return
    bench.sql("DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN; GRANT pg_monitor TO looker")
    exporter = Process("sql_exporter")
    shipped = (MONITORING / "prometheus_sql_exporter.yaml").read_text()
    config = exporter.folder / "config.yaml"
    config.write_text(re.sub(r"postgres://\S+", f"postgres://looker@127.0.0.1:{bench.postgres.port}/postgres"
                             "?sslmode=disable", shipped).replace("interval: 15s", "interval: 100ms"))
    for variant in "aab":
        bench.sql(ADJUST % variant)
    bench.settle()
    exporter.spawn(["prometheus-sql-exporter", f"--config.file={config}",
                    f"--web.listen-address=127.0.0.1:{exporter.port}"])
    try:
        def as_ours():
            """Without the prefix and the labels that this exporter adds."""
            text = re.sub(r"^sql_(?=inventory_lock_)", "", page_of(exporter), flags=re.M)
            return samples(re.sub(r'(?<=[{,])(?:col|database|driver|host|sql_job|user)="[^"]*",?', "", text)
                           .replace(",}", "}").replace("{}", ""))
        # It asks at intervals: wait for the first answers.
        with contextlib.suppress(TimeoutError):
            poll(lambda: not differences(bench, as_ours(), MOVING)[0], "all is the same", deadline_s=15)
        wrong, compared = differences(bench, as_ours(), MOVING)
        bench.equal(wrong[:10], [], "sql_exporter shows the samples of metrics(), with their values")
        bench.ok(compared > 80, "which are many", compared)
        bench.ok('"err":' not in exporter.log(), "it logs no error", exporter.log()[-2000:])
    finally:
        exporter.end(15)


def check_collector_queries(bench):
    bench.sql(ADJUST % "a")
    bench.settle()
    text = bench.sql("SELECT inventory_lock.metrics()")
    real = samples(text)
    for name, query in re.findall(r"metric_name: (\w+)\n(?:.*\n)*?    query: (.*)",
                                  (MONITORING / "sql_exporter.yaml").read_text()):
        rows = bench.sql(query).splitlines()
        total = sum(float(row.split("|")[-1]) for row in rows)
        wanted = sum(value for (sample, _), value in real.items() if sample == name)
        moves = "oldest" in name or any(word in name for word in MOVING)
        bench.ok(abs(total - wanted) < 1 if "_total" in name else total == wanted or moves,
                 f"sql_exporter: {name}", f"{total} instead of {wanted}")


EXPORTERS = ("postgres_exporter.yaml", "prometheus_sql_exporter.yaml", "sql_exporter.yaml")


def queries_of(file):
    """The queries of an exporter's file, each with the name that stands before it."""
    name, found = None, []
    for match in re.finditer(r"^(?: *- (?:metric_)?name: (\w+)|(inventory_lock\w*):)$"
                             r"|^( *)query: (?:>-\n((?:\3 +.*\n)+)|(.*)$)", (MONITORING / file).read_text(), re.M):
        name = match[1] or match[2] or name
        if match[4] or match[5]:
            found.append((name, " ".join((match[4] or match[5]).split("\n"))))
    return found


def names_of(file):
    """The metrics that an exporter's file makes."""
    text, names = (MONITORING / file).read_text(), set()
    if file == "postgres_exporter.yaml":
        for prefix, block in re.findall(r"^(inventory_lock\w*):\n((?: .*\n)+)", text, re.M):
            names |= {f"{prefix}_{column}" for column in re.findall(r"^ *- (\w+): \{usage: (?!LABEL)", block, re.M)}
    else:
        names = {name for name, _ in queries_of(file)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def check_exporters_make_the_same_names(bench):
    real = set(re.findall(r"^# TYPE (\w+) ", bench.sql("SELECT inventory_lock.metrics()"), re.M))
    for file in EXPORTERS:
        histograms = {"inventory_lock_wait_seconds"} if file == "sql_exporter.yaml" else set()
        bench.equal(names_of(file), real - histograms, f"{file} has every metric")


def check_exporters_tell_what_is_not_preloaded(bench):
    with Postgres("not_preloaded", preload=False, redis=bench.redis,
                  settings={"inventory_lock.max_leases": "1000"}) as postgres:
        postgres.psql("CREATE EXTENSION inventory_lock")
        for file in EXPORTERS:
            told = {}
            for name, query in queries_of(file):
                for row in postgres.psql(f"SELECT to_jsonb(q) FROM ({query}) q").splitlines():
                    for column, value in json.loads(row).items():
                        told[name if column == "value" else f"{name}_{column}"] = value
            bench.equal([name for name, value in told.items() if value is None], [], f"{file}: no value is missing")
            bench.equal((told["inventory_lock_preloaded"], told["inventory_lock_redis_configured"]), (0, 0),
                        f"{file} tells that the library is not preloaded")
        told = postgres.psql("SELECT inventory_lock.metrics()")
        bench.ok("\ninventory_lock_preloaded 0\n" in told, "metrics() does", told)
        bench.equal(postgres.psql("SELECT inventory_lock.get_status(); SHOW inventory_lock.max_leases").splitlines()[-1],
                    "1000", "a setting that needs the preload line can stand in the configuration")
        bench.ok("invalid configuration parameter" not in postgres.log(), "and nobody complains", postgres.log())
