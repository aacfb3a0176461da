"""Longwire, nginx, HAProxy and Caddy are reloaded under open streams, one after the other.

    python3 compare.py --longwire BINARY [--markdown] [--streams 100] [--deadline 240]
    python3 compare.py --without-longwire …

Through each proxy go the same clients (clients.py) to the same origin (origin.mjs), as each is
configured for streams (proxies.py): event streams with an event every 100 ms, as many WebSockets,
and 200 short requests a second, half of them on connections that are kept. It is reloaded three
times: an endpoint is added, the one that all streams come from is removed (it lives on), a timeout is
changed. After each of them a tenth as many streams and WebSockets come. Then the file is broken.
Prints a table, then one JSON line with the same facts. A proxy that is not installed is left out.
Fails if a stream or a request of longwire's is lost.

Memory is the proportional set size of all processes of the proxy: what they share counts once.
"""

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import peer
from clients import Clients
from peer import expect
from proxies import installed

PAUSE = 1.0  # between two reloads
AFTER = 10.0  # how long the proxy is watched after the last of them
LONGEST = 35.0  # for one proxy, on a machine that has other things to do


class Processes:
    """A process and all that descend from it, as /proc has them."""

    def __init__(self, root):
        self.root = root

    def all(self):
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(stat.parent.name)] = int(fields[1])
        found, fresh = set(), {self.root}
        while fresh:
            found |= fresh
            fresh = {pid for pid, parent in parents.items() if parent in fresh} - found
        return found

    def memory_mib(self):
        total = 0
        for pid in self.all():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(re.search(r"^Pss: +(\d+)", text, re.M).group(1))
        return round(total / 1024, 1)


@contextlib.contextmanager
def origin():
    """An origin; gives its port."""
    command = ["node", str(HERE / "origin.mjs")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield int(process.stdout.readline().removeprefix("listening "))
    finally:
        process.stdin.close()  # it ends with it
        process.wait(5)


@contextlib.contextmanager
def running(proxy, file, port, log):
    """The process, once it accepts connections, and not longer than needed."""
    command = ["setpriv", "--pdeathsig", "TERM", *proxy.command(file)]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(file.parent)}
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, env=environment)
    try:
        while True:
            expect(process.poll() is None, f"{proxy.name} ended at once:\n{log.read_text()}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)  # asked again until the deadline of the program
        yield process
    finally:
        # Old workers of a master that is killed live on; each is ended by itself.
        processes = Processes(process.pid).all()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                subprocess.run(["kill", "-KILL", str(pid)], stderr=subprocess.DEVNULL)
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def measure(proxy, count, endpoints):
    """Reloads one proxy; gives the facts of its row."""
    old, new = endpoints
    port, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="longwire-reload-") as directory:
        file, log = Path(directory, f"{proxy.name}.conf"), Path(directory, "log")

        def write(endpoints, timeout=1, broken=False):
            file.write_text(proxy.text(directory, port, admin, endpoints, timeout, broken))

        write([old])
        with running(proxy, file, port, log) as process:
            return await reload(proxy, process, Clients(port), count, [
                lambda: write([old, new]), lambda: write([new]), lambda: write([new], 2),
                lambda: write([new], 2, broken=True),
            ], file, log)


async def reload(proxy, process, clients, count, editions, file, log):
    processes = Processes(process.pid)
    await clients.open(count)
    clients.begin_to_ask()
    await asyncio.sleep(1)
    facts = {"memory_before": processes.memory_mib()}
    clients.longest = 0.0

    async def read_anew():
        asking = asyncio.to_thread(proxy.reload, process, file, log)
        return await asyncio.wait_for(asking, 30)

    before, began = set(), time.monotonic()
    for write in editions[:3]:
        before |= processes.all() - {process.pid}
        write()
        worked, words = await read_anew()
        expect(worked is not False, f"{proxy.name} did not reload: {words}")
        await clients.open(count // 10)
        await asyncio.sleep(PAUSE)
    # Whoever was there before the last reload is of an old configuration now.
    reloaded = time.monotonic()
    facts["memory_after"] = processes.memory_mib()
    facts["old_after"] = len(before & processes.all())
    lingering = None
    while time.monotonic() - reloaded < AFTER:
        if lingering is None and not before & processes.all():
            lingering = round(time.monotonic() - began, 1)
        await asyncio.sleep(0.25)
    facts["old_10s"] = len(before & processes.all())
    facts["old_gone_s"] = lingering if before else 0
    facts["memory_10s"] = processes.memory_mib()
    facts["longest_ms"] = round(clients.longest * 1000)

    failed = sum(clients.failures.values())
    editions[3]()
    worked, words = await read_anew()
    await asyncio.sleep(PAUSE)
    facts["broken_refused"] = worked is not True and sum(clients.failures.values()) == failed
    facts["broken_says"] = first_error(words() if callable(words) else words)
    facts |= {
        "streams": clients.streams,
        "streams_broken": clients.broken_streams,
        "sockets_broken": sum(clients.closes.values()),
        "close_codes": sorted(clients.closes),
        "requests": clients.requests,
        "failures": dict(clients.failures),
    }
    await clients.close()
    return facts


def first_error(text):
    """The line that says what is wrong, without the path of the file and the time."""
    marks = 'emerg|ALERT|[Ee]rror:|"level":"error"'
    lines = [line for line in text.splitlines() if re.search(marks, line)]
    line = (lines or text.splitlines() or [""])[0]
    if line.startswith("{"):
        line = json.loads(line)["msg"]
    line = re.sub(r"/\S*/([^/\s:]+\.conf)", r"\1", line)
    return re.sub(r"^(\S+ )?[\d/]+ [\d:]+ |\(\d+\) : |\d+#\d+: ", "", line).strip()[:200]


async def compare(options):
    proxies, missing = installed(options.longwire)
    missing = [f"{name} is not installed (tests/peers/install)" for name in missing]
    rows, end = [], time.monotonic() + options.deadline
    with origin() as old, origin() as new:
        for proxy in proxies:
            began = time.monotonic()
            if began + LONGEST > end:
                missing.append(f"for {proxy.name} {proxy.title} there was no time left")
                continue
            facts = await measure(proxy, options.streams, (old, new))
            took = time.monotonic() - began
            print(f"{proxy.name} {proxy.title}: {took:.1f} s", file=sys.stderr, flush=True)
            title = {"longwire": "Longwire", "haproxy": "HAProxy", "caddy": "Caddy"}
            name = f"{title.get(proxy.name, proxy.name)} {proxy.version()}"
            rows.append({"proxy": f"{name}, {proxy.title}".rstrip(", "), **facts})
    return rows, missing


def main(options):
    rows, missing = asyncio.run(compare(options))
    print(table(rows, options.markdown), flush=True)
    for row in rows:
        print(f"- {row['proxy']}, of a broken file: `{row['broken_says']}`")
    for reason in missing:
        print(f"- left out: {reason}")
    for row in rows:
        if row["proxy"].startswith("Longwire"):
            lost = (row["streams_broken"], row["sockets_broken"], row["failures"])
            expect(lost == (0, 0, {}), f"longwire lost streams, WebSockets, requests: {lost}")
            expect(row["broken_refused"], "longwire took a broken file")
    return {"rows": rows, "missing": missing}


def table(rows, markdown):
    cells = [["", "streams broken", "WebSockets broken", "longest gap",
              "requests failed", "old processes", "gone after", "memory before, after, 10 s later",
              "broken file"]]
    for row in rows:
        codes = f" ({', '.join(map(str, row['close_codes']))})" if row["close_codes"] else ""
        kinds = ", ".join(f"{number} {kind}" for kind, number in row["failures"].items())
        gone = row["old_gone_s"]
        cells.append([
            row["proxy"], f"{row['streams_broken']} of {row['streams']}",
            f"{row['sockets_broken']} of {row['streams']}{codes}",
            f"{row['longest_ms']} ms", f"{kinds or 0} of {row['requests']}",
            str(row["old_after"]),
            "not" if gone is None else f"{gone:g} s" if row["old_after"] else "",
            f"{row['memory_before']:.0f}, {row['memory_after']:.0f}, {row['memory_10s']:.0f} MiB",
            "refused" if row["broken_refused"] else "taken",
        ])
    widths = [max(len(row[index]) for row in cells) for index in range(len(cells[0]))]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in cells]
    if not markdown:
        return "\n".join("  ".join(row).rstrip() for row in padded)
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


parser = peer.arguments(__doc__)
parser.set_defaults(deadline=240)
proxy = parser.add_mutually_exclusive_group(required=True)
proxy.add_argument("--longwire", metavar="BINARY")
proxy.add_argument("--without-longwire", action="store_true")
parser.add_argument("--markdown", action="store_true")
parser.add_argument("--streams", type=int, default=100)
peer.client(main, parser.parse_args())
