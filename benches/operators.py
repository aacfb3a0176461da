"""What do operators cost a proxy with many open streams, and how long do they wait?

    python3 benches/operators.py BINARY [--streams 9500] [--seconds 10] [--browser]

Starts the binary in front of an upstream of its own and opens STREAMS event streams, 500 of which
have an event each second, as many as a dashboard is told of. Then, for each page: how long an answer
takes, how large it is, and how much CPU time it costs, also as a share of a core at a scrape every
15 seconds. Then the CPU time that one watcher of /api/live costs, beyond what the streams cost. With
--browser, how long the dashboard takes in Chromium to show what was clicked (tests/peers/install
brings it). The result would change how many streams a watcher is told of, or how pages are made.
Needs a limit of open files above two times STREAMS. Everything is on loopback.
"""
import argparse
import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

EVENT = b"data: " + b"x" * 290 + b"\n\n"
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n")
PACED = 500
PAGES = [
    "/api/streams?limit=100", "/api/streams?limit=10000", "/api/streams?sort=-events_out&limit=300",
    "/api/streams?q=nobody", "/api/streams/ended", "/metrics", "/metrics/streams",
]
PACE = Path(__file__).parent.parent / "tests/peers/dashboard/pace.mjs"


class Upstream:
    """Answers every request with a stream; the first ones have an event each second."""

    def __init__(self):
        self.paced = []

    async def connection(self, reader, writer):
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD + CHUNK)
            if len(self.paced) < PACED:
                self.paced.append(writer)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def tick(self):
        while True:
            for writer in self.paced:
                writer.write(CHUNK)
            await asyncio.sleep(1)


def config(port):
    return f"""
[server]
max_connections = 20000
[listeners.web]
bind = ["127.0.0.1:0"]
[upstreams.up]
endpoints = ["http://127.0.0.1:{port}"]
[routes.all]
upstream = "up"
sse.heartbeat = "10m"
[admin]
bind = "127.0.0.1:0"
[metrics]
per_connection = {{ enabled = true }}
[log]
format = "json"
access.enabled = false
"""


async def start(binary, port):
    with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
        file.write(config(port))
    process = await asyncio.create_subprocess_exec(
        binary, "run", "-c", file.name, stdout=asyncio.subprocess.PIPE)
    found = {}
    while len(found) < 2:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
        if line["message"] in ("listening", "admin"):
            found[line["message"]] = int(line["address"].rsplit(":", 1)[1])
    os.unlink(file.name)
    return process, found["listening"], found["admin"]


def cpu_seconds(pid):
    """CPU time of all its threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def open_stream(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
    await reader.readuntil(EVENT)

    async def drain():
        while await reader.read(65536):
            pass

    return writer, asyncio.ensure_future(drain())


async def get(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    return len(answer)


async def rest(pid, seconds):
    """CPU time a second while nobody looks."""
    before, began = cpu_seconds(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


async def page(pid, port, path, idle):
    times, size, before, began = [], 0, cpu_seconds(pid), time.monotonic()
    for _ in range(20):
        asked = time.monotonic()
        size = await get(port, path)
        times.append(time.monotonic() - asked)
    spent = cpu_seconds(pid) - before - idle * (time.monotonic() - began)
    each = max(0, spent / 20)
    print(f"| `{path}` | {size / 1024:.0f} | {statistics.median(times) * 1e3:.1f} "
          f"| {each * 1e3:.1f} | {each / 15 * 100:.2f} |")


async def watcher(pid, port, seconds, idle):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    size = 0

    async def read():
        nonlocal size
        while more := await reader.read(65536):
            size += len(more)

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(2)
    size, began = 0, time.monotonic()
    busy = await rest(pid, seconds)
    print(f"\nA watcher: {(busy - idle) * 1e3:.1f} ms of CPU a second, "
          f"{size / 1024 / (time.monotonic() - began):.0f} KiB a second; "
          f"without one the process takes {idle * 1e3:.1f} ms a second.")
    writer.close()
    await reading


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--streams", type=int, default=9500)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--browser", action="store_true")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 2 * args.streams + 100:
        sys.exit(f"{most} files may be open: try --streams {(most - 100) // 2}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    upstream = Upstream()
    server = await asyncio.start_server(upstream.connection, "127.0.0.1", 0, backlog=4096)
    process, port, admin = await start(args.binary, server.sockets[0].getsockname()[1])
    try:
        kept = []
        for _ in range(0, args.streams, 50):
            kept += await asyncio.gather(*(open_stream(port) for _ in range(50)))
        ticking = asyncio.ensure_future(upstream.tick())
        idle = await rest(process.pid, args.seconds)
        print(f"{len(kept)} streams are open.\n")
        print("| page | KiB | ms | CPU ms | % of a core at 15 s |")
        print("|---|---|---|---|---|")
        for path in PAGES:
            await page(process.pid, admin, path, idle)
        await watcher(process.pid, admin, args.seconds, idle)
        if args.browser:
            url = f"http://127.0.0.1:{admin}/"
            browser = await asyncio.create_subprocess_exec("node", PACE, url)
            await browser.wait()
        ticking.cancel()
    finally:
        process.kill()
        await process.wait()
        server.close()


asyncio.run(main())
