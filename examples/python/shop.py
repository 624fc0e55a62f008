"""Buying and ordering from Python, with psycopg 3.

    python3 shop.py "host=… dbname=…"

The two things every caller does: it sends the same idempotency key again after a failure, and it
repeats what may be repeated, and nothing else.
"""

import json
import random
import sys
import time

import psycopg

# Somebody else has the lock, it was lost, Redis is away and fallback is off, the same request is under
# way; and PostgreSQL's own serialization failure and deadlock.
REPEAT = {"IL010", "IL011", "IL012", "IL020", "40001", "40P01"}


class SoldOut(Exception):
    """`short` has variant_id, requested and available of every line that cannot be served."""

    def __init__(self, short):
        super().__init__(", ".join(f"{line['variant_id']}: {line['available']} left" for line in short))
        self.short = short


def call(connection, sql, arguments, attempts=5):
    """The first row as a dictionary. The transaction is this one call."""
    for attempt in range(1, attempts + 1):
        try:
            with connection.transaction(), connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                return cursor.execute(sql, arguments).fetchone()
        except psycopg.Error as error:
            if error.sqlstate == "IL001":
                raise SoldOut(json.loads(error.diag.message_detail)) from error
            if error.sqlstate not in REPEAT or attempt == attempts:
                raise
            time.sleep(random.uniform(0, 0.05 * 2 ** attempt))


def buy(connection, variant_id, quantity):
    return call(connection, "SELECT quantity_after FROM inventory_lock.decrement_stock_on_purchase(%s::text, %s)",
                (variant_id, quantity))


def order(connection, user_id, idempotency_key, lines):
    return call(connection, "SELECT order_id, total, replayed FROM inventory_lock.place_order_locked(%s::text, %s, %s)",
                (user_id, idempotency_key, json.dumps(lines)))


def main():
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        print("left:", buy(connection, "42", 2)["quantity_after"])
        lines = [{"variant_id": "42", "quantity": 1, "unit_price": 19.90}]
        first = order(connection, "user-7", "python-1", lines)
        again = order(connection, "user-7", "python-1", lines)
        print("total:", first["total"], "again the same order:", again["order_id"] == first["order_id"],
              "replayed:", again["replayed"])
        try:
            buy(connection, "42", 1000000)
        except SoldOut as error:
            print("sold out:", error.short[0]["variant_id"], error.short[0]["requested"])


if __name__ == "__main__":
    main()
