"""How many instructions does an event, a push, a request take, and how much code is that?

    python3 benches/instructions.py BINARY [BINARY...] [--units 1000] [--streams 10] [--top 20]

Runs each binary under valgrind's callgrind between an origin and a client of its own, and counts
for a time in which UNITS server-sent events of 300 bytes (then heartbeats, WebSocket frames pushed
by the server, JSON requests) pass through it, one at a time: the instructions of a unit, and the
lines of code (64 bytes, as caches have them) that run for at least half of the units. More code
than a cache holds has to be fetched again for each event, which no count of instructions shows.

The counts say nothing about time, nor about the kernel, but they hardly depend on the machine and
on what else it does: two runs of a build differ by about a percent at most, so that one run can
tell whether a change made the path shorter. Names need a build with symbols (a release build has them).
With --top, the functions with most code are listed. Everything is on loopback.
"""
import argparse
import asyncio
import base64
import collections
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile

EVENT = b"data: " + b"x" * 292 + b"\n\n"
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
SSE_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")
FRAME = b"\x82\x7e\x01\x2c" + b"y" * 300  # RFC 6455, 5.2: FIN and binary, 300 bytes
WEBSOCKET_HEAD = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                  b"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n")
WEBSOCKET_ASK = (b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BODY = b'{"text":"' + b"z" * 180 + b'"}'
JSON = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Date: Sun, 29 Nov 2026 00:00:00 GMT\r\nServer: origin\r\n\r\n%s" % (len(BODY), BODY))
WARM_UP = 20  # units of each stream that are not counted
HEARTBEATS = 100  # streams that wait for one, each second
LINE = 6  # two to this power are the bytes of a line


class Origin:
    """Streams that send what `writers` are given, and JSON."""

    def __init__(self):
        self.writers = []

    async def connection(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /json " in head:
                    writer.write(JSON)
                    continue
                if b" /ws " in head:
                    key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)[1]
                    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
                    writer.write(WEBSOCKET_HEAD % accept)
                else:
                    writer.write(SSE_HEAD + CHUNK)
                self.writers.append(writer)
                await reader.read()
                return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def config(port, heartbeat):
    return f"""
[server]
workers = 1
[listeners.web]
bind = ["127.0.0.1:0"]
[routes.all]
upstream = "http://127.0.0.1:{port}"
sse.heartbeat = "{heartbeat}"
[admin]
bind = "off"
[log]
format = "json"
access.enabled = false
"""


class Proxy:
    """A binary under callgrind, which counts from `count(True)` to `count(False)`."""

    def __init__(self, binary, folder, config):
        self.binary, self.folder, self.config = binary, folder, config

    async def __aenter__(self):
        path = os.path.join(self.folder, "longwire.toml")
        with open(path, "w") as file:
            file.write(self.config)
        out = os.path.join(self.folder, "callgrind.out")
        self.process = await asyncio.create_subprocess_exec(
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--instr-atstart=no",
            "--dump-instr=yes", self.binary, "run", "-c", path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
        while True:
            said = await asyncio.wait_for(self.process.stdout.readline(), 60)
            if not said:
                raise SystemExit(f"{self.binary} does not start under valgrind")
            line = json.loads(said)
            if line["message"] == "listening":
                self.port = int(line["address"].rsplit(":", 1)[1])
                return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def control(self, *what):
        asked = await asyncio.create_subprocess_exec(
            "callgrind_control", *what, str(self.process.pid),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        await asyncio.wait_for(asked.wait(), 60)

    async def count(self, on):
        await self.control("-i", "on" if on else "off")

    async def counted(self):
        """The file with what was counted."""
        await self.control("--dump")
        names = [name for name in os.listdir(self.folder) if name.startswith("callgrind.out.")]
        return os.path.join(self.folder, min(names))

    async def ask(self, path, fields=b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET %s HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/1\r\nAccept: */*\r\n"
                     b"%s\r\n" % (path, fields))
        return reader, writer


async def pushed(proxy, origin, streams, path, fields, first, piece):
    """A function that lets one piece pass on each of some streams."""
    ends = []
    for _ in range(streams):
        reader, writer = await proxy.ask(path, fields)
        await reader.readuntil(first)
        ends.append((reader, writer))
    while len(origin.writers) < streams:
        await asyncio.sleep(0.01)

    async def units():
        for to, (reader, _) in zip(origin.writers, ends):
            to.write(piece)
            await reader.readexactly(len(piece))
    return units


async def idle(proxy, streams):
    """A function that waits for a heartbeat on each of some streams."""
    ends = [await proxy.ask(b"/sse") for _ in range(streams)]

    async def units():
        for reader, _ in ends:
            await reader.readuntil(b": keep-alive\n\r\n")
    return units


async def requested(proxy, streams):
    """A function that makes as many requests as there are streams, on one connection."""
    reader, writer = await proxy.ask(b"/json")
    await reader.readuntil(BODY)

    async def units():
        for _ in range(streams):
            writer.write(b"GET /json HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/1\r\n"
                         b"Accept: */*\r\n\r\n")
            await reader.readuntil(BODY)
    return units


KINDS = {
    "SSE event": lambda proxy, origin, streams: pushed(
        proxy, origin, streams, b"/sse", b"", EVENT + b"\r\n", CHUNK),
    "SSE heartbeat": lambda proxy, origin, streams: idle(proxy, streams),
    "WebSocket push": lambda proxy, origin, streams: pushed(
        proxy, origin, streams, b"/ws", WEBSOCKET_ASK, b"\r\n\r\n", FRAME),
    "JSON request": lambda proxy, origin, streams: requested(proxy, streams),
}


async def measure(binary, kind, units, streams):
    origin = Origin()
    server = await asyncio.start_server(origin.connection, "127.0.0.1", 0)
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        port = server.sockets[0].getsockname()[1]
        beats = kind == "SSE heartbeat"
        streams = HEARTBEATS if beats else streams
        text = config(port, "1s" if beats else "10m")
        async with server, Proxy(binary, folder, text) as proxy:
            each = await KINDS[kind](proxy, origin, streams)
            for _ in range(1 if beats else WARM_UP):
                await each()
            rounds = max(1, units // streams)
            await proxy.count(True)
            for _ in range(rounds):
                await each()
            await proxy.count(False)
            with open(await proxy.counted(), errors="replace") as file:
                count = Count(file, rounds * streams)
            for writer in origin.writers:
                writer.close()
    return count


class Count:
    """What callgrind wrote, by function: instructions, and lines of code that ran often."""

    def __init__(self, file, units):
        self.units = units
        self.instructions = collections.Counter()
        self.lines = collections.defaultdict(set)
        names, objects = {}, {}
        function = home = None
        address, is_call = 0, False
        for line in file:
            line = line.rstrip("\n")
            key, _, value = line.partition("=")
            if key == "fn":
                function = re.sub(r"'\d+$", "", name(names, value))
            elif key == "cfn":
                name(names, value)
            elif key == "ob":
                home = name(objects, value)
            elif key == "cob":
                name(objects, value)
            elif key == "calls":
                is_call = True  # the next line is what the callee took, which is counted there
            elif line[:1] in "0+-*" and line:
                at, _, *counts = line.split()
                address = moved(address, at)
                if not is_call and counts:
                    ran = int(counts[0])
                    place = (crate(function, home), function)
                    self.instructions[place] += ran
                    if ran >= units / 2:
                        self.lines[place].add(address >> LINE)
                is_call = False

    def crates(self):
        """Instructions of a unit and lines, by crate; the sum first."""
        instructions, lines = collections.Counter(), collections.defaultdict(set)
        for (name, _), ran in self.instructions.items():
            instructions[name] += ran / self.units
        for (name, _), those in self.lines.items():
            lines[name] |= those
        sizes = {name: len(those) for name, those in lines.items()}
        total = {"all": (sum(instructions.values()), len(set().union(*lines.values())))}
        return total | {name: (ran, sizes.get(name, 0)) for name, ran in instructions.items()}


def name(known, text):
    """`(7) name` when it is first named, then `(7)`."""
    number, _, new = text.partition(" ")
    if new:
        known[number] = new
    return known[number]


def moved(address, text):
    """Absolute, or from the last one on."""
    if text == "*":
        return address
    if text[0] in "+-":
        return address + int(text[0] + str(int(text[1:], 0)))
    return int(text, 0)


CRATE = re.compile(r"\b(longwire|tokio|mio|h2|http|pingora\w*|memchr|parking_lot\w*|arc_swap|bytes"
                   r"|prometheus|futures\w*|httparse|tracing\w*|slab|std|core|alloc)::")


def crate(function, home):
    """The crate of a function; what a crate's generics do for another one is its own."""
    home = os.path.basename(home or "?")
    if home.startswith(("libc.", "libc-", "libm.", "libgcc", "ld-linux", "vdso")):
        return re.split(r"[.-]", home)[0]
    if "jemalloc" in function or "rjem" in function:
        return "jemalloc"
    named = CRATE.search(function)
    return re.split(r"_", named[1])[0] if named and named[1].startswith("pingora") else (
        named[1] if named else "other")


def table(counts, kind):
    """One column for each binary; crates with most instructions first."""
    columns = [count.crates() for count in counts.values()]
    names = sorted({name for column in columns for name in column},
                   key=lambda name: -columns[0].get(name, (0, 0))[0])
    print(f"\n{kind}:\n")
    print("| crate |" + "".join(f" {binary}: instructions | lines |" for binary in counts))
    print("|---|" + "---:|---:|" * len(counts))
    for name in names:
        cells = [column.get(name, (0, 0)) for column in columns]
        if max(cell[0] for cell in cells) >= 1:
            print(f"| {name} |" + "".join(f" {ran:,.0f} | {lines} |" for ran, lines in cells))


def top(count, binary, most):
    print(f"\n{binary}, functions with most lines:\n\n| lines | instructions | function |")
    print("|---:|---:|---|")
    largest = sorted(count.lines, key=lambda place: -len(count.lines[place]))[:most]
    for place in largest:
        ran = count.instructions[place] / count.units
        print(f"| {len(count.lines[place])} | {ran:,.0f} | `{place[1][:100]}` |")


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binaries", nargs="+")
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    parser.add_argument("--units", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--top", type=int, default=0)
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing (Debian: apt-get install valgrind)")
    for kind in args.kind or KINDS:
        counts = {}
        for binary in args.binaries:
            print(f"{kind}: {binary}", file=sys.stderr)
            counts[binary] = await measure(binary, kind, args.units, args.streams)
        table(counts, kind)
        for binary, count in counts.items() if args.top else ():
            top(count, binary, args.top)


asyncio.run(main())
