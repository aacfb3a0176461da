"""What does an event stream cost the proxy: memory while it is silent, CPU for each event?

    python3 benches/streams.py BINARY [BINARY...] [--idle 2000] [--streams 100] [--rate 20] [--rounds 3]

For each binary, in turn and in several rounds: starts it in front of an upstream of its own, opens
IDLE silent streams and divides the growth of its resident memory by them; then lets STREAMS streams
send RATE events of about 300 bytes a second for five seconds and divides its CPU time by the events.
The result would change the choice of an allocator, of buffer sizes, of the runtime. CPU times on a
noisy machine compare only within one run. Everything is on loopback.
"""
import argparse
import asyncio
import json
import os
import re
import statistics
import tempfile

EVENT = b"data: " + b"x" * 290 + b"\n\n"
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n")


class Upstream:
    """Answers every request with a stream; `/paced` streams send what `tick` says."""

    def __init__(self):
        self.paced = []

    async def connection(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD + CHUNK)
            if b" /paced " in head:
                self.paced.append(writer)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def config(port):
    return f"""
[server]
workers = 1
[listeners.web]
bind = ["127.0.0.1:0"]
[routes.all]
upstream = "http://127.0.0.1:{port}"
sse.heartbeat = "10m"
[admin]
bind = "off"
[log]
format = "json"
access.enabled = false
"""


async def start(binary, port):
    with tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False) as file:
        file.write(config(port))
    process = await asyncio.create_subprocess_exec(
        binary, "run", "-c", file.name, stdout=asyncio.subprocess.PIPE)
    while True:
        line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
        if line["message"] == "listening":
            os.unlink(file.name)
            return process, int(line["address"].rsplit(":", 1)[1])


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"RssAnon:\s+(\d+)", status.read())[1])


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def open_stream(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %s HTTP/1.1\r\nHost: bench\r\n\r\n" % path)
    await reader.readuntil(EVENT)
    return reader, writer


async def measure(binary, idle, streams, rate):
    upstream = Upstream()
    server = await asyncio.start_server(upstream.connection, "127.0.0.1", 0, backlog=4096)
    process, port = await start(binary, server.sockets[0].getsockname()[1])
    try:
        clients = [await open_stream(port, b"/warm") for _ in range(20)]
        before = resident_kib(process.pid)
        for _ in range(idle):
            clients.append(await open_stream(port, b"/idle"))
        each = (resident_kib(process.pid) - before) / idle

        async def drain(reader):
            while await reader.read(65536):
                pass

        for _ in range(streams):
            reader, writer = await open_stream(port, b"/paced")
            clients.append((reader, writer))
            asyncio.ensure_future(drain(reader))
        ticks = 5 * rate
        began = cpu_seconds(process.pid)
        loop = asyncio.get_running_loop()
        next_tick = loop.time()
        for _ in range(ticks):
            for writer in upstream.paced:
                writer.write(CHUNK)
            next_tick += 1 / rate
            await asyncio.sleep(max(0, next_tick - loop.time()))
        await asyncio.sleep(0.2)
        cpu = (cpu_seconds(process.pid) - began) / (ticks * streams) * 1e6
        return each, cpu
    finally:
        process.kill()
        await process.wait()
        server.close()


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binaries", nargs="+")
    parser.add_argument("--idle", type=int, default=2000)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found = {binary: [] for binary in args.binaries}
    for _ in range(args.rounds):
        for binary in args.binaries:
            found[binary].append(await measure(binary, args.idle, args.streams, args.rate))
    print("| binary | KiB per idle stream | CPU µs per event |")
    print("|---|---|---|")
    for binary, rows in found.items():
        cells = []
        for values in zip(*rows):
            cells.append(f"{statistics.median(values):.1f} ({min(values):.1f}–{max(values):.1f})")
        print(f"| {binary} | {' | '.join(cells)} |")


asyncio.run(main())
