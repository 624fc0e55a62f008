"""The checker of lock histories. Pure: it knows neither PostgreSQL nor Redis.

A Hold is one client's turn with the key: when it was granted (after the answer arrived), when it
began to let go (before commit or release was sent), which value of the shared counter it read and
which it wrote, and its fence if it has one. A client's clock reads are inside its true interval, so
two recorded intervals that overlap prove that two clients had the key at once.

check() returns sentences, one for each violation found; an empty list means that the history is
that of a lock: holds exclude each other, each holder saw what the one before wrote, fences grow.
"""

import collections

Hold = collections.namedtuple("Hold", "client granted ended read wrote fence")


def check(history, first_value, last_value):
    violations = []
    holds = sorted(history, key=lambda hold: hold.granted)
    value, fence, before = first_value, 0, None
    for hold in holds:
        if hold.ended < hold.granted:
            violations.append(f"{hold.client} let go before it was granted")
        if before is not None and hold.granted < before.ended:
            violations.append(f"{hold.client} was granted the key {before.ended - hold.granted:.6f} s "
                              f"before {before.client} let go")
        if hold.read != value:
            violations.append(f"{hold.client} read {hold.read}, but {value} had been written "
                              f"by {before.client if before else 'the start'}")
        if hold.fence is not None:
            if hold.fence <= fence:
                violations.append(f"{hold.client} got fence {hold.fence} after {fence}")
            fence = max(fence, hold.fence)
        value, before = hold.wrote, hold
    if value != last_value:
        violations.append(f"the last holder wrote {value}, but {last_value} is stored")
    return violations
