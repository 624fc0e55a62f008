#!/usr/bin/python3
"""A proxy between a Redis client and Redis that misbehaves on command.

    resp_proxy.py --listen 127.0.0.1:7001 --upstream 127.0.0.1:6379 --control /tmp/p.sock [--seed 7]

It cuts both directions into RESP2 messages (a request is one command, an answer one reply, pushed
messages included) and forwards them in order, so that every fault hits whole messages and
"the next two replies" means what it says. Rules and their random numbers come from one seed; the
same seed and the same messages give the same faults.

Commands, one a line, on the control socket; each is answered by one line, "ok …" or "error …":

    rule <requests|replies> <action> [p=0.1 | n=3] [ms=200] [match=TEXT]
        delay     forward it ms later (those behind it wait, order is kept)
        halve     forward the first half, then close the connection
        drop      do not forward it (what is answered next answers the wrong question)
        double    forward it twice
        garble    forward it with one to four bytes changed (no digit into another)
        close     close the connection instead
        p         probability for each message (default 1); n: only the next n; match: only
                  messages that contain TEXT
    blackhole <requests|replies|both|off>   swallow everything, keep connections open, accept more
    refuse <on|off>                         close the listening socket (connection refused)
    cut                                     close every connection now
    clear                                   no rules, no blackhole, listening
    stats                                   counters as JSON
    quit

The first rule that fires decides. Python's standard library only; one process, one thread.
"""

import argparse
import asyncio
import json
import os
import random
import sys

DIGITS = b"0123456789"
DIRECTIONS = ("requests", "replies")
ACTIONS = ("delay", "halve", "drop", "double", "garble", "close")


def message_end(data, start=0):
    """Index behind the RESP2 message that begins at start; None while it is incomplete.
    What is no RESP at all counts as one message up to the end of its line."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, end = data[start : start + 1], line_end + 2
    if kind not in (b"$", b"*"):
        return end
    try:
        count = int(data[start + 1 : line_end])
    except ValueError:
        return end
    if kind == b"$":
        if count < 0:
            return end
        return end + count + 2 if len(data) >= end + count + 2 else None
    for _ in range(count):
        end = message_end(data, end)
        if end is None:
            return None
    return end


class Rule:
    def __init__(self, direction, action, options):
        if direction not in DIRECTIONS or action not in ACTIONS:
            raise ValueError("unknown direction or action")
        unknown = set(options) - {"p", "n", "ms", "match"}
        if unknown:
            raise ValueError("unknown option " + sorted(unknown)[0])
        self.direction, self.action = direction, action
        self.probability = float(options.get("p", 1))
        self.left = int(options["n"]) if "n" in options else None
        self.seconds = int(options.get("ms", 0)) / 1000
        self.match = options.get("match", "").encode()

    def fires(self, direction, message, chance):
        if direction != self.direction or self.left == 0 or self.match not in message:
            return False
        if self.probability < 1 and chance.random() >= self.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class Proxy:
    def __init__(self, listen, upstream, control, seed):
        self.listen, self.upstream, self.control = listen, upstream, control
        self.chance = random.Random(seed)
        self.rules, self.swallow = [], set()
        self.server = None
        self.writers = set()
        self.counters = {"connections": 0, "requests": 0, "replies": 0}
        self.counters.update({action: 0 for action in ACTIONS})
        self.done = asyncio.Event()

    async def run(self):
        await self.open()
        control = await asyncio.start_unix_server(self.serve_control, self.control)
        print("ready", flush=True)
        await self.done.wait()
        control.close()
        await self.shut()
        self.cut()
        os.unlink(self.control)

    async def open(self):
        if self.server is None:
            self.server = await asyncio.start_server(self.serve, *self.listen)

    async def shut(self):
        if self.server is not None:
            self.server.close()
            self.server = None

    def cut(self):
        for writer in list(self.writers):
            writer.transport.abort()

    async def serve(self, reader, writer):
        self.counters["connections"] += 1
        self.writers.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.upstream)
        except OSError:
            writer.transport.abort()
            self.writers.discard(writer)
            return
        self.writers.add(up_writer)
        pumps = [
            asyncio.create_task(self.pump("requests", reader, up_writer)),
            asyncio.create_task(self.pump("replies", up_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the proxy ends
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for end in (writer, up_writer):
            self.writers.discard(end)
            end.close()

    async def pump(self, direction, reader, writer):
        """Returns when the connection is to be closed."""
        data = b""
        while True:
            try:
                chunk = await reader.read(65536)
            except OSError:
                return
            if not chunk:
                return
            data += chunk
            start = 0
            while True:
                end = message_end(data, start)
                if end is None:
                    break
                message, start = data[start:end], end
                if not await self.forward(direction, message, writer):
                    return
            data = data[start:]

    async def forward(self, direction, message, writer):
        """One message; False when the connection is to be closed after it."""
        self.counters[direction] += 1
        if direction in self.swallow:
            return True
        rule = next((r for r in self.rules if r.fires(direction, message, self.chance)), None)
        alive = True
        if rule is not None:
            self.counters[rule.action] += 1
            if rule.action == "delay":
                await asyncio.sleep(rule.seconds)
                if direction in self.swallow:
                    return True
            elif rule.action == "halve":
                message, alive = message[: len(message) // 2], False
            elif rule.action == "drop":
                return True
            elif rule.action == "double":
                message *= 2
            elif rule.action == "garble":
                message = self.garbled(message)
            else:
                return False
        try:
            writer.write(message)
            await writer.drain()
        except OSError:
            return False
        return alive

    def garbled(self, message):
        """A digit never becomes another digit. A number that is changed and is one still can be noticed
        by nobody: TCP's checksum is what keeps those away, and it is not what the tests are about."""
        bytes_ = bytearray(message)
        for _ in range(self.chance.randint(1, 4)):
            at = self.chance.randrange(len(bytes_))
            others = set(range(256)) - {bytes_[at]} - (set(DIGITS) if bytes_[at] in DIGITS else set())
            bytes_[at] = self.chance.choice(sorted(others))
        return bytes(bytes_)

    async def serve_control(self, reader, writer):
        while not self.done.is_set():
            line = await reader.readline()
            if not line:
                break
            try:
                answer = "ok " + (await self.command(line.decode().split()) or "")
            except (ValueError, IndexError, OSError) as trouble:
                answer = f"error {trouble}"
            writer.write(answer.strip().encode() + b"\n")
            await writer.drain()
        writer.close()

    async def command(self, words):
        verb = words[0]
        if verb == "rule":
            options = dict(word.split("=", 1) for word in words[3:])
            self.rules.append(Rule(words[1], words[2], options))
        elif verb == "blackhole":
            self.swallow = {"both": set(DIRECTIONS), "off": set()}.get(words[1], {words[1]})
            if not self.swallow <= set(DIRECTIONS):
                self.swallow = set()
                raise ValueError("unknown direction")
        elif verb == "refuse":
            await (self.shut() if words[1] == "on" else self.open())
        elif verb == "cut":
            self.cut()
        elif verb == "clear":
            self.rules, self.swallow = [], set()
            await self.open()
        elif verb == "stats":
            return json.dumps(self.counters)
        elif verb == "quit":
            self.done.set()
        else:
            raise ValueError("unknown command")


def address(text):
    host, port = text.rsplit(":", 1)
    return host, int(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", type=address, required=True)
    parser.add_argument("--upstream", type=address, required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    async def run():
        await Proxy(options.listen, options.upstream, options.control, options.seed).run()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
