"""What must be true after the property test: every answer that somebody got is in the database, and
stock, orders and holds agree with each other. Each check yields (what, findings): an empty list of
findings is a pass.
"""

import collections

import invariants
from shopper import INITIAL, READERS, THRESHOLD, Shopper

ENDS = {"confirm": "confirmed", "release": "released"}


def all_of(shop, rows_of):
    """rows_of(sql) runs a query in the cluster."""
    def rows(sql):
        return rows_of(shop.sql(sql))

    yield from invariants.ledger(rows, INITIAL)
    yield from order_lines(rows)
    if not shop.tables:  # the other has neither counted holds nor events
        yield from counted_holds(rows)
        yield from events(rows)
    promised = collections.defaultdict(list)
    for promise in shop.promises:
        promised[promise.kind].append(promise)
    movements = {movement["movement_id"]: movement for movement in records(
        rows, "SELECT movement_id::text, kind, variant_id, location_id, delta, on_hand_after, "
              "reference_type, reference_id, request_key FROM shop.stock_movement")}
    yield from changes_of_stock(promised, movements)
    yield from orders(promised, rows, movements)
    yield from holds(promised, rows, movements)


def records(rows, query):
    """The rows of a query as dicts."""
    return [row[0] for row in rows(f"SELECT to_jsonb(q) FROM ({query}) q")]


def acknowledged(kind, promises, wrong):
    """One test: the promises for which wrong(promise) says something."""
    found = [(promise, why) for promise in promises if (why := wrong(promise))]
    return f"every acknowledged {kind} is there ({len(promises)})", found


def counted_holds(rows):
    yield "no hold is negative", rows("SELECT variant_id, held FROM shop.stock_level WHERE held < 0")
    yield "what levels hold is what reservations hold", rows(
        "SELECT * FROM (SELECT variant_id, location_id, held, coalesce((SELECT sum(quantity) FROM "
        "shop.reservation r WHERE r.state = 'held' AND (r.variant_id, r.location_id) = "
        "(l.variant_id, l.location_id)), 0) AS reserved FROM shop.stock_level l) q WHERE held <> reserved")


def order_lines(rows):
    yield "no order is there twice", rows(
        "SELECT user_id, idempotency_key, count(*) FROM shop.orders GROUP BY 1, 2 HAVING count(*) > 1")
    yield "no order line is cancelled and fulfilled beyond its quantity", rows(
        "SELECT * FROM shop.order_line WHERE cancelled + fulfilled > quantity "
        "OR cancelled < 0 OR fulfilled < 0")
    yield "no order line has more returned than fulfilled", rows(
        "SELECT * FROM shop.order_line WHERE returned > fulfilled OR returned < 0")
    came_back = "coalesce(sum(substring(request_key from '/([0-9]+)$')::bigint), 0)"
    yield "what came back by the lines is what came back by the ledger", rows(
        "SELECT * FROM (SELECT order_id, variant_id, location_id, sum(returned) AS lines, "
        f"(SELECT {came_back} FROM shop.stock_movement m WHERE kind = 'return' "
        "AND m.reference_id = l.order_id::text AND (m.variant_id, m.location_id) = "
        "(l.variant_id, l.location_id)) AS ledger FROM shop.order_line l GROUP BY 1, 2, 3) q "
        "WHERE lines <> ledger")
    yield "what came back went into stock whole or not at all", rows(
        "SELECT * FROM shop.stock_movement WHERE kind = 'return' "
        "AND delta NOT IN (0, substring(request_key from '/([0-9]+)$')::bigint)")
    moved = ("(SELECT coalesce(sum(delta), 0) FROM shop.stock_movement m WHERE reference_type = 'order' "
             "AND m.reference_id = l.order_id::text AND (m.variant_id, m.location_id) = "
             "(l.variant_id, l.location_id) AND kind <> 'return' AND {})")
    yield "no order has more restored than it sold less what is fulfilled", rows(
        "SELECT * FROM (SELECT order_id, variant_id, location_id, "
        "sum(quantity - fulfilled) AS restorable, " + moved.format("delta > 0") + " AS restored "
        "FROM shop.order_line l GROUP BY 1, 2, 3) q WHERE restored > restorable")
    yield "every order moved its stock exactly once, cancellations included", rows(
        "SELECT * FROM (SELECT order_id, variant_id, location_id, "
        "sum(cancelled - quantity) AS due, " + moved.format("true") + " AS moved "
        "FROM shop.order_line l GROUP BY 1, 2, 3) q WHERE due <> moved")


def events(rows):
    """Each level begins with more than the threshold; its events are in the order of its changes."""
    wrong, out, last = [], collections.defaultdict(bool), {}
    for event, kind, variant, location, before, after in rows(
            "SELECT event_id, kind, variant_id, location_id, available_before, available "
            "FROM shop.outbox ORDER BY event_id"):
        level = variant, location
        crossed = {"out_of_stock": not out[level] and before > 0 >= after,
                   "back_in_stock": out[level] and before <= 0 < after,
                   "low_stock": not out[level] and before > THRESHOLD >= after > 0}[kind]
        if not crossed:
            wrong.append((event, kind, level, before, after))
        out[level] = kind == "out_of_stock"
        last[level] = kind, after
    yield "every event tells of a crossing", wrong
    missing = []
    for variant, location, available in rows(
            "SELECT variant_id, location_id, on_hand - held - safety_stock FROM shop.stock_level"):
        level = variant, location
        kind, after = last.get(level, ("back_in_stock", THRESHOLD + 1))
        known_low = kind == "low_stock" or after <= THRESHOLD
        if (available <= 0) != out[level] or (0 < available <= THRESHOLD and not known_low):
            missing.append((level, available, kind, after))
    yield "every level is where its last event left it", missing
    written = {event for event, in rows("SELECT event_id FROM shop.outbox")}
    unread = []
    for reader in READERS:
        rest = {event for event, in rows(
            f"SELECT event_id FROM inventory_lock.outbox_fetch('{reader}', 10000)")}
        unread += [(reader, event) for event in written - Shopper.read[reader] - rest]
    yield "every reader gets every event", unread


def changes_of_stock(promised, movements):
    of_key = collections.defaultdict(list)
    of_bulk = collections.defaultdict(list)
    for movement in movements.values():
        if movement["request_key"]:
            of_key[movement["request_key"]].append(movement)
        if movement["reference_type"] == "bulk":
            of_bulk[movement["reference_id"]].append(movement)

    def written_as(row):
        movement = movements.get(row["movement_id"])
        return movement and all(movement[name] == row[name] for name in (
            "variant_id", "location_id", "delta")) and movement["on_hand_after"] == row["quantity_after"]

    def changed(promise):
        if not all(written_as(row) for row in promise.answer):
            return [movements.get(row["movement_id"]) for row in promise.answer]
        return None

    def once(promise):
        return changed(promise) or (len(of_key[promise.request]) != 1 and of_key[promise.request])

    def both_halves(promise):
        return changed(promise) or (sum(row["delta"] for row in promise.answer) and promise.answer)

    def in_bulk(promise):
        """One movement for all items of a level."""
        wanted = {}
        for row in promise.answer:
            if row["sqlstate"] is None:
                level = row["variant_id"], row["location_id"]
                before = wanted.get(level, (0, 0))[0]
                wanted[level] = before + row["delta"], row["quantity_after"]
        there = of_bulk[promise.request]
        same = len(there) == len(wanted) and wanted == {
            (row["variant_id"], row["location_id"]): (row["delta"], row["on_hand_after"]) for row in there}
        return not same and (there or "not there")

    yield acknowledged("adjust", promised["adjust"], once)
    yield acknowledged("count", promised["count"], once)
    yield acknowledged("transfer", promised["transfer"], both_halves)
    yield acknowledged("bulk", promised["bulk"], in_bulk)
    yield acknowledged("give_back", promised["give_back"], changed)


def orders(promised, rows, movements):
    stored = {(order["user_id"], order["idempotency_key"]): order for order in records(
        rows, "SELECT order_id::text, user_id, idempotency_key, status, (SELECT jsonb_agg(jsonb_build_array("
              "line_no, variant_id, location_id, quantity) ORDER BY line_no) FROM shop.order_line l "
              "WHERE l.order_id = o.order_id) AS lines FROM shop.orders o")}
    lines = {(line["order_id"]): line for line in records(
        rows, "SELECT order_id::text, sum(cancelled) AS cancelled, sum(fulfilled) AS fulfilled, "
              "sum(returned) AS returned FROM shop.order_line GROUP BY 1")}
    restored = collections.Counter()
    for movement in movements.values():
        if (movement["request_key"] or "").startswith("cancel:"):
            restored[movement["request_key"].rsplit(":", 1)[0]] += movement["delta"]
        if movement["kind"] == "return":
            key, units = movement["request_key"].rsplit(":", 1)
            restored[key] += int(units.split("/")[1])

    def placed(promise):
        answer, order = promise.answer[0], stored.get(promise.request)
        if order is None or order["order_id"] != answer["order_id"]:
            return order or "not there"
        if (answer["status"] == "rejected") != (order["status"] == "rejected"):
            return order
        wanted = [] if answer["status"] == "rejected" else [
            [line["line_no"], line["variant_id"], line["location_id"], line["quantity"]]
            for line in answer["lines"]]
        return wanted != (order["lines"] or []) and order

    def cancelled(promise):
        order, key = promise.request
        return (restored[f"cancel:{order}:{key}"] != promise.answer[0]["restored"]
                and restored[f"cancel:{order}:{key}"])

    def returned(promise):
        order, key = promise.request
        return (restored[f"return:{order}:{key}"] != promise.answer[0]["received"]
                and (promise, restored[f"return:{order}:{key}"]))

    yield acknowledged("order", promised["order"], placed)
    yield acknowledged("cancellation", promised["cancel"], cancelled)
    yield acknowledged("return", promised["return"], returned)
    shipped = collections.Counter()
    for promise in promised["fulfil"]:
        shipped[promise.request] += promise.answer[0]["shipped"]
    yield f"every acknowledged fulfilment is there ({len(promised['fulfil'])})", [
        (order, units, lines[order]) for order, units in shipped.items()
        if lines[order]["fulfilled"] < units]
    given_back = collections.Counter()
    for promise in promised["cancel"]:
        given_back[promise.request[0]] += promise.answer[0]["restored"]
    for promise in promised["give_back"]:
        given_back[promise.request] += promise.answer[0]["delta"]
    yield "no order has less cancelled than was acknowledged", [
        (order, units, lines[order]) for order, units in given_back.items()
        if lines[order]["cancelled"] < units]
    came_back = collections.Counter()
    for promise in promised["return"]:
        came_back[promise.request[0]] += promise.answer[0]["received"]
    yield "no order has less returned than was acknowledged", [
        (order, units, lines[order]) for order, units in came_back.items()
        if lines[order]["returned"] < units]


def holds(promised, rows, movements):
    stored = collections.defaultdict(list)
    for line in records(rows, "SELECT * FROM shop.reservation ORDER BY line_no"):
        stored[line["reservation_id"]].append(line)
    sold = collections.Counter()
    for movement in movements.values():
        if movement["reference_type"] == "reservation" and movement["kind"] == "sale":
            sold[movement["reference_id"]] -= movement["delta"]

    def same_lines(promise, names):
        """The hold's lines when they are not those of the answer, by these names."""
        answer = promise.answer[0]
        lines = stored[answer["reservation_id"]]
        return ([[line[name] for name in names] for line in lines]
                != [[line[name] for name in names] for line in answer["lines"]]
                and (lines or "not there"))

    def ended(promise):
        hold = promise.answer[0]["reservation_id"]
        if any(line["state"] != ENDS[promise.kind] for line in stored[hold]):
            return stored[hold]
        return same_lines(promise, ("line_no", "quantity", "confirmed"))

    quantities = "line_no", "variant_id", "location_id", "quantity"
    yield acknowledged("hold", promised["reserve"], lambda promise: same_lines(promise, quantities))
    yield acknowledged("extension", promised["extend"], lambda promise: same_lines(promise, quantities))
    yield acknowledged("confirmation", promised["confirm"], ended)
    yield acknowledged("release", promised["release"], ended)
    yield "what was sold from holds is what they say was confirmed, once", [
        (hold, sold[hold], lines) for hold, lines in stored.items()
        if not lines[0]["order_id"] and sold[hold] != sum(line["confirmed"] for line in lines)]
