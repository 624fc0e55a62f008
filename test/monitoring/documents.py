"""Documents, alerts and dashboards against a running server; the install script against its rules."""

import json
import pathlib
import re
import shutil
import subprocess

from bench import attempt
from reconcile import ADJUST

TOP = pathlib.Path(__file__).resolve().parents[2]
MONITORING = TOP / "docs/monitoring"
UNITS = {"ms": 1, "s": 1000, "min": 60000, "h": 3600000, "d": 86400000}


def plain(text):
    """A setting as written for people, as pg_settings has it: '5 s' is '5000', `off` is 'off'."""
    text = text.strip().strip("`").strip("'")
    number = re.fullmatch(r"(-?\d+) (ms|s|min|h|d)", text)
    return str(int(number[1]) * UNITS[number[2]]) if number else text


def check_configuration(bench):
    documented = {}
    for line in (TOP / "docs/configuration.md").read_text().splitlines():
        row = re.fullmatch(r"\| `(\w+)` \| (.*?) \| (.*?) \| (\w+) \|", line)
        if row:
            values = ([plain(word) for word in row[3].split(" to ")] if " to " in row[3] else
                      [] if row[3] == "any text" else [plain(word) for word in row[3].split(", ")])
            documented[row[1]] = (plain(row[2]), values, row[4])
    contexts = {"user": "user", "superuser": "superuser", "sighup": "reload",
                "postmaster": "restart"}
    real = {}
    for line in bench.sql("SELECT name, vartype, boot_val, min_val, max_val, context,"
                          " array_to_string(enumvals, ',') FROM pg_settings"
                          " WHERE name LIKE 'inventory\\_lock.%'").splitlines():
        name, kind, boot, low, high, context, values = line.split("|")
        span = {"integer": [low, high], "enum": values.split(","), "bool": ["on", "off"],
                "string": []}[kind]
        real[name.split(".")[1]] = (boot, span, contexts[context])
    bench.ok(len(real) > 20, "there are settings")
    bench.equal(documented, real, "docs/configuration.md is what the server says")


def check_the_documented_rights_are_the_tested_ones(bench):
    """Those that test/tap/010_redis_auth.pl runs with, and sees Redis deny nothing."""
    def rights(text):
        return sorted(re.findall(r"(?<=\s)[+~&][\w|:*]+", text))
    documented = (TOP / "docs/operations.md").read_text().split("ACL SETUSER")[1].split("```")[0]
    tested = re.search(r"@rights = qw\(([^)]*)\)",
                       (TOP / "test/tap/010_redis_auth.pl").read_text())[1]
    bench.equal(rights(documented), rights(" " + tested), "docs/operations.md names the rights needed")


def metrics_of(bench):
    bench.sql(ADJUST % "a")
    bench.settle()
    return bench.sql("SELECT inventory_lock.metrics()")


def used_in(text):
    return {re.sub(r"_(bucket|sum|count)$", "", name)
            for name in re.findall(r"\binventory_lock_\w+", text)}


def check_documents_name_what_exists(bench):
    text = metrics_of(bench)
    real = {match[1]: match[2] for match in re.finditer(r"^# TYPE (\w+) (\w+)$", text, re.M)}
    table = dict(re.findall(r"^\| `(inventory_lock_\w+)` \| (\w+) \|", (MONITORING / "README.md").read_text(),
                            re.M))
    bench.equal(table, real, "the table of metrics is complete and right")
    for name in ("alerts.yml", "alerts_test.yml", "sql_exporter.yaml", "prometheus_sql_exporter.yaml"):
        bench.equal(sorted(used_in((MONITORING / name).read_text()) - set(real)), [],
                    f"{name} names metrics that exist")
    board = json.loads((MONITORING / "dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries.append(board["templating"]["list"][1]["query"])
    bench.equal(sorted(used_in(" ".join(queries)) - set(real)), [],
                "the dashboard names metrics that exist")
    labels = {}
    for name, pairs in re.findall(r"^(\w+)\{([^}]*)\} ", text, re.M):
        for label, value in re.findall(r'(\w+)="([^"]*)"', pairs):
            labels.setdefault(re.sub(r"_bucket$", "", name), {}).setdefault(label, set()).add(value)
    wrong = []
    for query in queries + re.findall(r"expr: (.*)", (MONITORING / "alerts.yml").read_text()):
        for name, pairs in re.findall(r"(inventory_lock_\w+)\{([^}]*)\}", query):
            for label, operator, value in re.findall(r'(\w+)(=~?)"([^"]*)"', pairs):
                known = labels.get(re.sub(r"_bucket$", "", name), {}).get(label, set())
                if label == "instance":
                    continue
                values = value.split("|") if operator == "=~" else [value]
                wrong += [f"{name}{{{label}={one}}}" for one in values
                          if not any(re.fullmatch(one, it) for it in known | {"row", "lease"})]
    bench.equal(wrong, [], "dashboard and alerts name labels and values that exist")


def check_checklist_points_at_what_exists(bench):
    text = (MONITORING / "README.md").read_text().split("## Deployment checklist")[1]
    alerts = set(re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text()))
    named = set(re.findall(r"\bInventoryLock\w+", text))
    bench.equal(sorted(named - alerts), [], "the checklist's alerts exist")
    bench.equal(sorted(alerts - named), [], "and every alert stands there")
    paths = re.findall(r"`((?:test|docs)/[\w./]+)`", text)
    bench.equal([path for path in paths if not (TOP / path).exists()], [], "its tests exist")


def check_alerts_by_promtool(bench):
    if not shutil.which("promtool"):
        print("# promtool is not installed; the alerts are not tried")
        return
    for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run(["promtool", *words], cwd=MONITORING, text=True, capture_output=True,
                              check=False)
        bench.ok(done.returncode == 0, f"promtool {' '.join(words)}", done.stdout + done.stderr)
    tests = (MONITORING / "alerts_test.yml").read_text()
    for alert in re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text()):
        bench.ok(f"{alert} fires" in tests and f"{alert} stays quiet" in tests,
                 f"{alert} is tried both ways")
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics_of(bench) + "\n", text=True,
                          capture_output=True, check=False)
    bench.ok(done.returncode == 0, "promtool accepts metrics()", done.stdout + done.stderr)


# Words that look like calls and are none, and functions of SQL's own grammar.
GRAMMAR = set("""coalesce greatest nullif least filter over values table extract check operator in as on and
    or array returns select from numeric with exists function view references key include row then when
    join materialized return""".split())


def without_text(sql):
    sql = re.sub(r"--[^\n]*", "", sql)
    return re.sub(r"'(?:[^']|'')*'", "''", sql)


def check_install_script(bench):
    for path in sorted((TOP / "src/install").glob("*.sql")):
        sql = without_text(path.read_text())
        found = [word for word in ("SECURITY DEFINER", "CREATE OR REPLACE", "IF NOT EXISTS",
                                   "search_path") if word.lower() in sql.lower()]
        # What creates names or lists signatures is not a call.
        body = re.sub(r"(?is)(CREATE (TABLE|VIEW|FUNCTION|TRIGGER|AGGREGATE)|COMMENT ON \w+|GRANT|REVOKE)\b"
                      r"[^;]*?(?=\bRETURN\b|\bBEGIN ATOMIC\b|\bAS\b\s*\n?\s*(SELECT|WITH)|;)", "", sql)
        calls = {call for call in re.findall(r"(?<![.\w\"])([a-z_]\w*)\s*\(", body, re.I)
                 if call.lower() not in GRAMMAR}
        names = set(re.findall(r"\b(\w+) AS (?:MATERIALIZED )?\(", body)) | {"lines"}
        found += sorted(calls - names)
        for operator in re.findall(r"[^\w\s,;()'\".\[\]:*@$]+", re.sub(r"OPERATOR\([^)]*\)|=>|\\\w+|::", "", body)):
            found.append(operator)
        bench.equal(found, [], f"{path.name}: names and operators are qualified, nothing runs as owner")


def check_views_in_a_hostile_search_path(bench):
    """Somebody else's functions and operators stand first in the path; nothing of ours calls them."""
    bench.sql("""
        DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil;
        CREATE FUNCTION evil.trap() RETURNS text LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
        CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT evil.trap() = '' $$;
        CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
        CREATE FUNCTION evil.num(bigint, bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT length(evil.trap())::bigint $$;
        CREATE OPERATOR evil.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.num);
        CREATE OPERATOR evil.- (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.num);
        CREATE FUNCTION evil.format(text, VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT evil.trap() $$;
        CREATE FUNCTION evil.round(numeric, integer) RETURNS numeric LANGUAGE sql AS $$ SELECT length(evil.trap())::numeric $$;
        CREATE FUNCTION evil.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_json(evil.trap())::jsonb $$;
        CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT evil.trap()::timestamptz $$;
        CREATE FUNCTION evil."left"(text, integer) RETURNS text LANGUAGE sql AS $$ SELECT evil.trap() $$;
        CREATE FUNCTION evil.decrement_stock_on_purchase(text, bigint) RETURNS text LANGUAGE sql AS $$ SELECT evil.trap() $$;
        CREATE VIEW evil.pg_stat_activity AS SELECT evil.trap() AS pid;
        CREATE VIEW evil.pg_locks AS SELECT evil.trap() AS pid;
        """)
    victim = bench.session()
    attempt(victim, "SET search_path = evil, pg_catalog")
    victim.commit()
    bench.equal(attempt(victim, "SELECT 'a'::text = 'b'::text")[1], "P0001", "the trap works")
    for statement in ("SELECT * FROM inventory_lock.active_locks", "SELECT * FROM inventory_lock.stat",
                      "SELECT * FROM inventory_lock.stat_wait", "SELECT * FROM inventory_lock.stat_key",
                      "SELECT * FROM inventory_lock.top", "SELECT * FROM inventory_lock.redis_status",
                      "SELECT inventory_lock.status()", "SELECT inventory_lock.get_lock_stats()",
                      "SELECT inventory_lock.metrics()",
                      "SELECT inventory_lock.wait_quantile('gate', 0.99)",
                      "SELECT * FROM inventory_lock.test_decrement('test_1', 1)",
                      "SELECT * FROM inventory_lock.test_concurrent_access('test_1', '0 s')",
                      "SELECT inventory_lock.clear_test_locks()"):
        bench.equal(attempt(victim, statement)[1], "", f"not trapped: {statement}")
        victim.commit()
    bench.sql("DROP SCHEMA evil CASCADE")
