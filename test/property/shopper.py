"""The clients of the property test: each does whatever a shop can do to stock and orders, at random,
and mostly to what others are working on at that moment.

Half of them are customers of a shop over the default tables, half of one whose stock table has nothing
but a quantity, with all else in tables beside it. Both sell the same variants, under the same keys.

They behave as careful applications do (load.py): a request that can be repeated is repeated until
it is answered, any other is sent once and may have happened or not. Every answer is kept as a
promise, which promises.py compares with what is in the database.
"""

import collections
import json

import psycopg2.extensions

from load import Client

VARIANTS = [f"v{n}" for n in range(6)]
LOCATIONS = ["main", "east"]
INITIAL = {variant: 25 for variant in VARIANTS}  # at each location
THRESHOLD = 10  # of every level, for low stock
READERS = [f"reader {n}" for n in range(3)]  # of events
NEWEST = 24  # how many orders and holds everybody picks from: few enough to meet
PATIENCE = 8  # conflicts in a row
LEVELS = (psycopg2.extensions.ISOLATION_LEVEL_READ_COMMITTED,
          psycopg2.extensions.ISOLATION_LEVEL_REPEATABLE_READ,
          psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE)

WORK = {  # what: weight
    "adjust": 20, "count": 8, "transfer": 8, "bulk": 4, "order": 20, "cancel": 14, "give_back": 4,
    "fulfil": 9, "return_goods": 9, "linger": 8, "read_events": 14,
    "reserve": 14, "confirm": 8, "release": 4, "extend": 4, "order_hold": 6,
}

Promise = collections.namedtuple("Promise", "kind request answer")


class Shop:
    """A binding, what its customers have been promised, and what they work on."""

    def __init__(self, binding, tables):
        self.binding, self.tables = binding, tables  # tables: what stands for those of schema shop
        self.promises = []
        self.orders = collections.deque(maxlen=NEWEST)  # (order id, lines of the answer)
        self.holds = collections.deque(maxlen=NEWEST)   # reservation ids
        self.refused = collections.Counter()            # (what, SQLSTATE)

    def sql(self, text):
        """A query about the default tables, for this shop's."""
        for name, other in self.tables.items():
            text = text.replace(name, other)
        return text


SHOPS = [Shop("default", {}), Shop("beside", {
    "shop.stock_level": "beside.stock", "shop.stock_movement": "beside.stock_movement",
    "shop.orders": "beside.stock_orders", "shop.order_line": "beside.stock_order_line",
    "shop.reservation": "beside.stock_reservation", "verify_stock()": "verify_stock(binding => 'beside')"})]


class Shopper(Client):
    refusals = {"IL001", "IL005", "IL030", "IL031", "IL032", "IL033", "IL041", "IL042"}
    read = {reader: set() for reader in READERS}  # ids of the default shop's events

    def __init__(self, world, number):
        super().__init__(world, number)
        self.shop = SHOPS[number % len(SHOPS)]
        self.conflicts = 0  # 40001 in a row
        self.orders, self.holds = self.shop.orders, self.shop.holds

    def level(self):
        """Half of the clients are at one of the higher levels, where a changed row is a 40001. Who meets
        that again and again would starve behind 31 others; it is at READ COMMITTED until it is through."""
        if self.number % 4 >= 2 or self.conflicts > PATIENCE:
            return LEVELS[0]
        return LEVELS[self.number // 4 % 3]

    def connect(self):
        connection = super().connect()
        connection.set_isolation_level(self.level())
        return connection

    def once(self, statement, arguments):
        before = self.errors.get("40001", 0)
        row = super().once(statement, arguments)
        self.conflicts = 0 if row else self.conflicts + self.errors.get("40001", 0) - before
        if self.connection is not None and self.connection.isolation_level != self.level():
            self.connection.set_isolation_level(self.level())
        return row

    def turn(self):
        getattr(self, self.chance.choices(list(WORK), list(WORK.values()))[0])()

    def call(self, kind, request, function, arguments, repeat=True):
        """The rows of the answer; None when it was refused, or when nobody answered."""
        if function != "place_order_locked":  # has it among its options
            arguments["binding"] = self.shop.binding
        places = ", ".join(f"{name} => %s" for name in arguments)
        row = (self.insist if repeat else self.once)(
            f"SELECT jsonb_agg(t) FROM inventory_lock.{function}({places}) t",
            list(arguments.values()))
        if row is None:
            return None
        if not isinstance(row[0], list):
            self.shop.refused[kind, row[0]] += 1
            return None
        self.answers += not repeat
        self.shop.promises.append(Promise(kind, request, row[0]))
        return row[0]

    def variant(self):
        return self.chance.choice(VARIANTS)

    def location(self):
        return self.chance.choice(LOCATIONS)

    def any_of(self, newest):
        """One of the newest; None when there is none yet."""
        known = list(newest)
        return self.chance.choice(known) if known else None

    def adjust(self):
        key = self.key()
        self.call("adjust", key, "adjust_stock_locked", {
            "variant_id": self.variant(), "delta": self.chance.choice((-4, -1, 1, 2, 3)),
            "location_id": self.location(), "request_key": key, "wait_timeout": "5 s"})

    def count(self):
        key = self.key()
        self.call("count", key, "set_stock_locked", {
            "variant_id": self.variant(), "counted": self.chance.randint(0, 12),
            "location_id": self.location(), "request_key": key, "wait_timeout": "5 s"})

    def transfer(self):
        key = self.key()
        places = self.chance.sample(LOCATIONS, 2)
        self.call("transfer", key, "transfer_stock_locked", {
            "variant_id": self.variant(), "quantity": self.chance.randint(1, 5),
            "from_location": places[0], "to_location": places[1], "request_key": key,
            "wait_timeout": "5 s"})

    def bulk(self):
        """Has no key of its own: once, known by its reference."""
        key = self.key()
        items = [{"variant_id": self.variant(), "location_id": self.location(),
                  "delta": self.chance.choice((-2, -1, 1, 2))} for _ in range(self.chance.randint(2, 8))]
        self.call("bulk", key, "adjust_stock_bulk_locked", {
            "items": json.dumps(items), "policy": self.chance.choice(("all_or_nothing", "best_effort")),
            "reference_type": "bulk", "reference_id": key, "wait_timeout": "5 s"}, repeat=False)

    def order(self, reservation_id=None):
        key = self.key()
        lines = [{"variant_id": self.variant(), "quantity": self.chance.randint(1, 4), "unit_price": 1}
                 for _ in range(self.chance.randint(1, 4))]
        if self.chance.random() < 0.3:
            lines[0]["location_id"] = self.location()
        options = {"binding": self.shop.binding, "wait_timeout": "5 s",
                   "on_failure": self.chance.choice(("raise", "record")),
                   "partial": self.chance.choice(("reject", "available")),
                   "location": self.chance.choice(("single", "single", "split"))}
        if reservation_id:
            options["reservation_id"] = reservation_id
        answer = self.call("order", (self.name, key), "place_order_locked", {
            "user_id": self.name, "idempotency_key": key, "lines": json.dumps(lines),
            "options": json.dumps(options)})
        if answer and answer[0]["status"] == "placed":
            self.orders.append((answer[0]["order_id"], answer[0]["lines"]))

    def order_hold(self):
        self.order(reservation_id=self.any_of(self.holds))

    def lines_of(self, order):
        """Whole, or one line of it, or a part of one."""
        line, choice = self.chance.choice(order[1]), self.chance.random()
        if choice < 0.4:
            return None
        selector = {"line_no": line["line_no"]}
        if choice < 0.8:
            selector["quantity"] = self.chance.randint(1, line["quantity"])
        return json.dumps([selector])

    def cancel(self):
        if order := self.any_of(self.orders):
            key = self.key()
            self.call("cancel", (order[0], key), "cancel_order_locked", {
                "order_id": order[0], "lines": self.lines_of(order), "request_key": key})

    def give_back(self):
        if order := self.any_of(self.orders):
            self.call("give_back", order[0], "increment_stock_on_cancellation", {
                "variant_id": self.chance.choice(order[1])["variant_id"],
                "quantity": self.chance.randint(1, 2), "order_id": order[0], "wait_timeout": "5 s"},
                repeat=False)

    def fulfil(self):
        if order := self.any_of(self.orders):
            self.call("fulfil", order[0], "fulfil_order_locked", {
                "order_id": order[0], "lines": self.lines_of(order)}, repeat=False)

    def return_goods(self):
        if order := self.any_of(self.orders):
            key = self.key()
            self.call("return", (order[0], key), "return_order_locked", {
                "order_id": order[0], "lines": self.lines_of(order),
                "restock": self.chance.random() < 0.7, "request_key": key})

    def read_events(self):
        """Several read under one name; who gets no answer has read nothing and acknowledges nothing."""
        reader = self.chance.choice(READERS)
        row = self.once("SELECT coalesce(jsonb_agg(jsonb_build_array(position, event_id)), '[]') "
                        "FROM inventory_lock.outbox_fetch(%s, %s)", [reader, self.chance.choice((2, 50))])
        if row is None or not row[0]:
            return
        self.answers += 1
        self.read[reader].update(event for _, event in row[0])
        if self.chance.random() < 0.7:
            self.once("SELECT inventory_lock.outbox_ack(%s, %s)",
                      [reader, max(position for position, _ in row[0])])

    def linger(self):
        """An event that is written some time before it is committed. Nobody remembers the answer."""
        row = self.once(
            "SELECT quantity_after FROM inventory_lock.adjust_stock_locked(variant_id => %s, delta => %s, "
            "location_id => %s, wait_timeout => '5 s', binding => %s) t, LATERAL pg_sleep(%s + 0 * t.delta)",
            [self.variant(), self.chance.choice((-15, 15)), self.location(), self.shop.binding,
             self.chance.uniform(0, 0.1)])
        self.answers += row is not None

    def reserve(self):
        """A lost answer leaves a hold that nobody knows of: it expires."""
        holder = self.key()
        lines = [{"variant_id": self.variant(), "quantity": self.chance.randint(1, 8)}
                 for _ in range(self.chance.randint(1, 3))]
        answer = self.call("reserve", holder, "reserve_stock_locked", {
            "holder": holder, "lines": json.dumps(lines), "wait_timeout": "5 s",
            "ttl": f"{self.chance.choice((0.2, 1, 5)):g} s"})
        if answer:
            self.holds.append(answer[0]["reservation_id"])

    def confirm(self):
        if hold := self.any_of(self.holds):
            lines = json.dumps([{"line_no": 1, "quantity": 1}]) if self.chance.random() < 0.5 else None
            self.call("confirm", hold, "confirm_reservation", {"reservation_id": hold, "lines": lines})

    def release(self):
        if hold := self.any_of(self.holds):
            self.call("release", hold, "release_reservation", {"reservation_id": hold})

    def extend(self):
        if hold := self.any_of(self.holds):
            self.call("extend", hold, "extend_reservation", {"reservation_id": hold, "ttl": "1 s"})
