"""nginx and longwire side by side in front of the same upstream.

It proves "no downgrade" and "nothing is held back" where they can be counted: at an upstream that
notes what it is asked, and at a client that notes when each event comes. nginx appears twice, with
a plain `proxy_pass` and tuned for streams by hand.

    python3 compare.py --longwire BINARY [--markdown] [--expect-nginx] [--deadline 60]
    python3 compare.py --without-longwire …

Through each proxy go the same 200 GETs on one client connection, one after the other, then one
stream of 10 events, 200 ms apart. Prints a table, then one JSON line with the same facts. Fails
unless longwire asks with HTTP/1.1, uses at most 5 upstream connections and delivers 10 events at
10 moments. --expect-nginx also asserts what the plain proxy_pass of nginx before 1.29.7 does:
HTTP/1.0, `Connection: close`, 200 connections, all events at one moment.
"""

import asyncio
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer
from peer import expect

REQUESTS = 200
EVENTS, GAP = 10, 0.2

NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
{http}}}
"""

PLAIN = """
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
"""

TUNED = """
    upstream chat {{
        server 127.0.0.1:{upstream};
        keepalive 16;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://chat;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
"""


class Upstream:
    """Answers /json and /sse, keeps connections, and notes each request in `seen`."""

    def __init__(self):
        self.seen = []
        self.connections = itertools.count(1)

    async def listen(self):
        self.server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def handle(self, reader, writer):
        number = next(self.connections)
        try:
            while head := await peer.read_head(reader):
                line, fields = head
                _, path, version = line.split(" ")
                connection = peer.field(fields, "connection")
                seen = {"path": path, "version": version, "connection": connection, "on": number}
                self.seen.append(seen)
                keep = version == "HTTP/1.1" and connection != "close"
                await (self.sse if path == "/sse" else self.json)(writer, version)
                if not keep:
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass  # the proxy left
        finally:
            writer.close()

    async def json(self, writer, _version):
        body = b'{"held_back": "nothing"}'
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        writer.write((head % len(body)).encode() + body)
        await writer.drain()

    async def sse(self, writer, version):
        # HTTP/1.0 knows no chunks: there the end of the connection ends the stream.
        chunked = version == "HTTP/1.1"
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Connection: close\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + framing + b"\r\n")
        for number in range(EVENTS):
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)
            await writer.drain()
            await asyncio.sleep(GAP)
        writer.write(b"0\r\n\r\n" if chunked else b"")
        await writer.drain()


async def measure(upstream, port):
    """Sends the requests through the proxy on `port`; returns the facts of one column."""
    del upstream.seen[:]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(REQUESTS):
        writer.write(b"GET /json HTTP/1.1\r\nHost: chat.example\r\n\r\n")
        await read_answer(reader)
    writer.close()
    asked = list(upstream.seen)
    expect(len(asked) == REQUESTS, f"the upstream saw {len(asked)} of {REQUESTS} requests")

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    start = time.monotonic()
    writer.write(b"GET /sse HTTP/1.1\r\nHost: chat.example\r\nAccept: text/event-stream\r\n\r\n")
    arrivals = await read_events(reader)
    writer.close()
    # What comes within half a gap came together.
    moments = 1 + sum(later - at > GAP / 2 for at, later in zip(arrivals, arrivals[1:]))
    return {
        "version": " ".join(sorted({request["version"] for request in asked})),
        "connection": " ".join(sorted({request["connection"] or "none" for request in asked})),
        "connections": len({request["on"] for request in asked}),
        "events": len(arrivals),
        "moments": moments,
        "first_event_ms": round((arrivals[0] - start) * 1000, 1),
    }


async def read_ok(reader):
    head = await peer.read_head(reader)
    expect(head, "the proxy closed the connection without an answer")
    line, fields = head
    expect(" 200 " in line, f"the proxy answered {line}")
    return fields


async def read_answer(reader):
    """Reads one answer to its end. The upstream gave a length, so each proxy must give one."""
    fields = await read_ok(reader)
    length = peer.field(fields, "content-length")
    expect(length, f"the answer has no Content-Length: {fields}")
    await reader.readexactly(int(length))


async def read_events(reader):
    """Reads a stream to its end; returns when each event was complete, by the read that had it."""
    await read_ok(reader)
    arrivals, body = [], b""
    while not body.endswith(b"0\r\n\r\n") and (read := await reader.read(65536)):
        body += read
        for number in range(len(arrivals), EVENTS):
            if b"data: %d\n\n" % number in body:
                arrivals.append(time.monotonic())
    expect(len(arrivals) == EVENTS, f"{len(arrivals)} of {EVENTS} events came")
    return arrivals


@contextmanager
def running(name, command, port):
    """The proxy `command`, once it accepts connections on `port`, and not longer than needed."""
    if shutil.which("setpriv"):  # not even when this program is killed
        command = ["setpriv", "--pdeathsig", "TERM", *command]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    try:
        while True:
            expect(process.poll() is None, f"{name} ended at once with {process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)  # asked again until the deadline of the program
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def nginx(binary, config, upstream_port):
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="longwire-nginx-") as directory:
        text = NGINX.format(http=config.format(port=port, upstream=upstream_port))
        if os.geteuid() == 0:
            text = "user root;" + text  # the worker must reach its temporary files
        path = Path(directory, "nginx.conf")
        path.write_text(text)
        command = [binary, "-p", directory, "-e", "stderr", "-c", str(path)]
        with running("nginx", command, port):
            yield port


@contextmanager
def longwire(binary, upstream_port):
    port = free_port()
    command = [binary, "run", "--upstream", f"http://127.0.0.1:{upstream_port}"]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", "off"]
    with running("longwire", command, port):
        yield port


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def compare(options):
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    expect(binary, "nginx is not installed: run tests/peers/install")
    version = subprocess.run([binary, "-v"], capture_output=True, text=True).stderr
    version = version.strip().rpartition("/")[2]

    upstream = Upstream()
    port = await upstream.listen()
    columns = {}
    if options.longwire:
        with longwire(options.longwire, port) as proxy:
            columns["longwire"] = await measure(upstream, proxy)
    with nginx(binary, PLAIN, port) as proxy:
        columns["nginx"] = await measure(upstream, proxy)
    with nginx(binary, TUNED, port) as proxy:
        columns["nginx_tuned"] = await measure(upstream, proxy)
    return version, columns


def main(options):
    version, columns = asyncio.run(compare(options))
    print(table(version, columns, options.markdown), flush=True)
    if options.longwire:
        facts = columns["longwire"]
        expect(facts["version"] == "HTTP/1.1", f"longwire asked with {facts['version']}")
        expect(facts["connections"] <= 5, f"longwire used {facts['connections']} connections")
        expect(facts["moments"] == EVENTS, f"longwire delivered at {facts['moments']} moments")
    if options.expect_nginx:
        facts = columns["nginx"]
        expect(facts["version"] == "HTTP/1.0", f"nginx asked with {facts['version']}")
        expect(facts["connection"] == "close", f"nginx sent Connection: {facts['connection']}")
        expect(facts["connections"] == REQUESTS, f"nginx used {facts['connections']} connections")
        expect(facts["moments"] == 1, f"nginx delivered at {facts['moments']} moments")
    return {"requests": REQUESTS, "nginx_version": version, **columns}


def table(version, columns, markdown):
    titles = {
        "longwire": "longwire",
        "nginx": f"nginx {version}, plain proxy_pass",
        "nginx_tuned": f"nginx {version}, tuned by hand",
    }
    rows = [["", *(titles[name] for name in columns)]]
    for text, value in [
        ("HTTP version that the upstream saw", "{version}"),
        ("`Connection` that the upstream saw", "{connection}"),
        (f"upstream connections for {REQUESTS} requests", "{connections}"),
        (f"moments at which the {EVENTS} events of a stream arrived", "{moments}"),
        ("time to the first event", "{first_event_ms} ms"),
    ]:
        rows.append([text, *(value.format(**facts) for facts in columns.values())])
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in rows]
    if not markdown:
        return "\n".join("  ".join(row).rstrip() for row in padded)
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


parser = peer.arguments(__doc__)
parser.set_defaults(deadline=60)
proxy = parser.add_mutually_exclusive_group(required=True)
proxy.add_argument("--longwire", metavar="BINARY")
proxy.add_argument("--without-longwire", action="store_true")
parser.add_argument("--markdown", action="store_true")
parser.add_argument("--expect-nginx", action="store_true")
peer.client(main, parser.parse_args())
