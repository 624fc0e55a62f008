"""The checker of lock histories: is what the clients saw the history of a lock?

    history.py FILE...     prints a line for each violation; exit status 1 when there is one

A history is JSON, one event a line, in any order. Times are CLOCK_MONOTONIC in ns, of one machine.

    {"kind": "grant", "id": 7, "client": "ours 1", "key": "lock:x", "begin": …, "end": …,
     "fence": 12 | null, "protection": "redis" | "database", "cluster": "a" | null}
    {"kind": "end",   "id": 7, "begin": …, "end": …, "outcome": "done" | "undone" | "unknown",
     "store": "a", "read": 3, "wrote": 4 | null}
    {"kind": "lost",  "id": 7, "begin": …, "end": …}

id names the hold; begin and end are taken before the call is sent and after its answer arrived. A
hold is certain from grant.end to end.begin. A lost hold (the client was told, or its own release
found another's token) is certain at no time, and whatever it wrote must not be found by anybody.
A hold without a last event (its client died) is certain at grant.end only and its write unknown.

What is checked, for each key
  exclusion   certain holds do not overlap. A hold with protection "database" excludes its own
              cluster only.
  fences      a hold granted for certain after another (grant.begin behind the other's grant.end)
              has the higher fence, and no two holds have the same; among holds that exclude each
              other.
  values      in each store every holder reads what the last one before it wrote. "undone" leaves
              the value, after "unknown" either is right. With taken_back (early_release = on) a
              crash may take back what others have read already: only "done" says for certain
              that it stays, and all that was read for it.

Pure Python: knows neither PostgreSQL nor Redis.
"""

import collections
import json
import sys

KINDS = ("grant", "end", "lost")
OUTCOMES = ("done", "undone", "unknown")


class Hold:
    """One grant with what became of it."""

    def __init__(self, grant, last):
        self.name = f"{grant['client']} (hold {grant['id']})"
        self.asked, self.granted = grant["begin"], grant["end"]
        self.fence = grant.get("fence")
        self.cluster = grant.get("cluster")
        self.wide = grant.get("protection", "redis") == "redis"
        self.lost = last is not None and last["kind"] == "lost"
        ended = last is not None and last["kind"] == "end"
        self.until = last["begin"] if ended else self.granted
        self.finished = last["end"] if last is not None else None
        self.outcome = last["outcome"] if ended else "undone" if self.lost else "unknown"
        self.store = last.get("store") if ended else None
        self.read = last.get("read") if ended else None
        self.wrote = last.get("wrote") if ended else None


def excludes(one, other):
    return (one.wide and other.wide) or (one.cluster is not None and one.cluster == other.cluster)


def check(events, initial=None, taken_back=False):
    """Sentences, one for each violation. initial: value of a store before the first hold, by
    (key, store); where it is missing the first read is believed."""
    violations, grants, lasts = [], {}, {}
    for event in events:
        kind, hold = event["kind"], event["id"]
        if kind not in KINDS or (kind == "end" and event["outcome"] not in OUTCOMES):
            violations.append(f"hold {hold}: event of no known kind or outcome")
        elif event["end"] < event["begin"]:
            violations.append(f"hold {hold}: {kind} ends before it begins")
        elif hold in (grants if kind == "grant" else lasts):
            violations.append(f"hold {hold}: second {kind}")
        else:
            (grants if kind == "grant" else lasts)[hold] = event
    violations += [f"hold {hold}: {lasts[hold]['kind']} without a grant"
                   for hold in lasts if hold not in grants]

    by_key = collections.defaultdict(list)
    for hold, grant in grants.items():
        by_key[grant["key"]].append(Hold(grant, lasts.get(hold)))
    for key, holds in by_key.items():
        holds.sort(key=lambda hold: hold.granted)
        violations += [f"{key}: {text}" for text in
                       [*exclusion(holds), *fences(holds), *values(key, holds, initial or {}, taken_back)]]
    return violations


def groups(holds):
    """Sets of holds within which all exclude each other: the wide ones, and each cluster's."""
    yield [hold for hold in holds if hold.wide]
    for cluster in sorted({hold.cluster for hold in holds if hold.cluster is not None}):
        if any(not hold.wide for hold in holds if hold.cluster == cluster):
            yield [hold for hold in holds if hold.cluster == cluster]


def exclusion(holds):
    found = set()
    for group in groups(holds):
        latest = None  # of all before, the one that is certain for longest
        for hold in group:
            if hold.lost:
                continue
            if hold.until < hold.granted:
                found.add(f"{hold.name} let go before it was granted")
            if latest is not None and hold.granted < latest.until:
                found.add(f"{hold.name} was let in {latest.until - hold.granted} ns before "
                          f"{latest.name} let go")
            if latest is None or hold.until > latest.until:
                latest = hold
    return sorted(found)


def fences(holds):
    found = set()
    for group in groups(holds):
        fenced = [hold for hold in group if hold.fence is not None]
        seen = {}
        for hold in fenced:
            if hold.fence in seen:
                found.add(f"{hold.name} and {seen[hold.fence].name} have the same fence {hold.fence}")
            seen[hold.fence] = hold
        # Sorted by when they were granted: the highest fence granted before this one was asked for.
        highest, at = None, 0
        for hold in sorted(fenced, key=lambda hold: hold.asked):
            while at < len(fenced) and fenced[at].granted < hold.asked:
                if highest is None or fenced[at].fence > highest.fence:
                    highest = fenced[at]
                at += 1
            if highest is not None and hold.fence < highest.fence:
                found.add(f"{hold.name} got fence {hold.fence} after {highest.name} had got "
                          f"{highest.fence}")
        # Holds that were certain one after the other, whenever they were asked for.
        before = None
        for hold in fenced:
            if hold.lost:
                continue
            if before is not None and before.until <= hold.granted and hold.fence < before.fence:
                found.add(f"{hold.name} got fence {hold.fence}, {before.name} before it "
                          f"{before.fence}")
            before = hold
    return sorted(found)


def values(key, holds, initial, taken_back):
    found = []
    stores = collections.defaultdict(list)
    for hold in holds:
        if hold.store is not None:
            stores[hold.store].append(hold)
    for store, users in stores.items():
        possible = {initial[key, store]} if (key, store) in initial else None
        writer = "the start"
        for hold in users:
            if hold.read is not None:
                if possible is not None and hold.read not in possible:
                    found.append(f"{hold.name} read {hold.read}, but {writer} had left "
                                 f"{' or '.join(map(str, sorted(possible)))}")
                if possible is None or not taken_back or hold.outcome == "done":
                    possible = {hold.read}
            if hold.wrote is not None and hold.outcome != "undone":
                keep = possible if hold.outcome == "unknown" and possible is not None else set()
                possible, writer = keep | {hold.wrote}, hold.name
    return found


def load(paths):
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())


def main():
    violations = check(load(sys.argv[1:]))
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
