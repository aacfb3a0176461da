"""HTTP/2 and HPACK by the letter: what RFC 9113 and RFC 7541 want of a server, in raw frames.

Each case has a connection of its own to longwire, in front of echo.py.

    python conformance.py --longwire BINARY [--only TEXT] [--deadline 60]

Prints a JSON line for each case, {"case","rfc","expected","got","ok"}, then one for all:
{"cases":…,"passed":…,"general":…,"deviations":…,"failed":…}.

`general`: the connection ends as it must, but with PROTOCOL_ERROR rather than a code that says
more. h2 says that of every frame that it cannot make sense of. `deviations` are known, and have `why`; a
case that is listed as one and is none any more has failed.
"""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import case as cases
import generic, hpack_rules, http2_rules  # noqa: E401, F401 (they fill the table)
import http2_wire as wire
import peer
from expect import ASKED, Outcomes

AT_ONCE = 16
PATIENCE_S = 8
CONFIG = """
[server]
workers = 2
[listeners.web]
bind = ["127.0.0.1:0"]
[upstreams.echo]
endpoints = ["http://127.0.0.1:{port}"]
[routes.all]
upstream = "echo"
[admin]
bind = "off"
[log]
format = "json"
"""


def start(command, find):
    """A child that does not outlive this program, and what `find` makes of a line of it."""
    if shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    found = None
    while found is None:
        line = child.stdout.readline()
        peer.expect(line, f"{command} ended")
        found = find(line)
    threading.Thread(target=child.stdout.read, daemon=True).start()
    return child, found


def port_of_longwire(line):
    told = json.loads(line)
    if told.get("message") == "listening":
        return int(told["address"].rsplit(":", 1)[1])


async def play(case, port):
    connection = await wire.Connection.open(port, b"") if case.raw else None
    connection = connection or await wire.Connection.meet(port, *case.settings)
    try:
        outcomes = Outcomes(connection)
        got = None
        for step in case.steps:
            if isinstance(step, bytes):
                connection.writer.write(step)
            else:
                got = await asyncio.wait_for(step(connection), PATIENCE_S)
        if case.expected.ask:
            connection.writer.write(wire.ping(ASKED))
        got = got or await outcomes.first(case.expected, PATIENCE_S)
    except asyncio.TimeoutError:
        got = "silence"
    except wire.Ended as end:
        got = f"{end} in a step"
    finally:
        connection.close()
    kind = judge(case, got)
    expected = " or ".join(case.expected.accept)
    line = {"case": case.name, "rfc": case.rfc, "expected": expected, "got": got}
    line["ok"] = kind != "failed"
    if kind == "deviations":
        line["why"] = case.instead[1]
    print(json.dumps(line), flush=True)
    return kind


def judge(case, got):
    if case.instead:
        return "deviations" if got == case.instead[0] else "failed"
    if got in case.expected.accept:
        return "passed"
    is_error = any(outcome.startswith("GOAWAY") for outcome in case.expected.accept)
    return "general" if is_error and got == "GOAWAY PROTOCOL_ERROR" else "failed"


async def run(table, port):
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(case):
        async with at_once:
            return await play(case, port)

    return await asyncio.gather(*map(one, table))


def main(options):
    table = [case for case in cases.TABLE if options.only in f"{case.name} {case.rfc}"]
    names = [case.name for case in cases.TABLE]
    peer.expect(len(set(names)) == len(names), "two cases have one name")
    echo, echo_port = start([sys.executable, str(HERE.parent / "echo.py")],
                            lambda line: int(line.split()[1]))  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG.format(port=echo_port))
        config.flush()
        command = [options.longwire, "run", "-c", config.name]
        longwire, port = start(command, port_of_longwire)
    try:
        kinds = asyncio.run(run(table, port))
    finally:
        longwire.kill()
        echo.kill()
    counts = {kind: kinds.count(kind) for kind in ("passed", "general", "deviations", "failed")}
    return {"cases": len(table), **counts}


if __name__ == "__main__":
    parser = peer.arguments(__doc__)
    parser.add_argument("--longwire", required=True, metavar="BINARY")
    parser.add_argument("--only", default="", metavar="TEXT")
    peer.client(main, parser.parse_args())
