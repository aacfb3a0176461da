"""The conformance table of WebSockets: what comes through the proxy is what comes directly.

Each case of cases.py is played byte by byte to an echo server made with npm `ws` and to one made
with Python's `websockets`, directly and through longwire, and what came of it is compared: messages
and frames, pongs, close code and reason, who closed, how it ended, within what time, and what close
code the server saw. Through the proxy it must be the same; or stricter, where the RFC lets it (the
table names the section). Cases of the group `upstream` go the other way, from scripted.py to a
client.

    python conformance.py --longwire BINARY [--quick] [--only TEXT] [--verbose] [--deadline 300]
    python conformance.py --without-longwire …     (the servers twice: the program itself is right)

Prints a Markdown table, then one JSON line:
{"cases":…,"plays":…,"same":…,"stricter":…,"different":…}. --quick plays four cases of each group,
--only those whose name contains the text.
"""

import asyncio
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import peer
from cases import FIN, RESET, table
from peer import expect
from play import Play, digest
from scripted import Scripted, ScriptedPlay

AT_ONCE = 16
SLACK_S = 1  # by which the way through the proxy may take longer
SERVERS = {
    "ws": ["node", str(HERE / "echo-ws.mjs")],
    "websockets": [sys.executable, str(HERE / "echo-websockets.py")],
}
SCRIPTED = "upstream"  # the group whose server is scripted.py
CONFIG = """
[server]
workers = 2
[listeners.web]
bind = ["127.0.0.1:0"]
[admin]
bind = "127.0.0.1:0"
[log]
format = "json"
"""
ROUTE = """
[upstreams.{name}]
endpoints = ["http://127.0.0.1:{port}"]
[routes.{name}]
paths = ["=/{name}"]
upstream = "{name}"
"""


class Program:
    """A child that tells on its standard output, in lines, and does not outlive this program."""

    def __init__(self, command, **more):
        if shutil.which("setpriv"):  # not even when this program is killed
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        self.command, self.more = command, more
        self.lines, self.told = [], asyncio.Event()

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **self.more
        )
        self.reading = asyncio.ensure_future(self.read())

    async def read(self):
        async for line in self.process.stdout:
            self.hear(line.decode().rstrip("\n"))
        self.lines.append(None)
        self.told.set()

    def hear(self, line):
        self.lines.append(line)
        self.told.set()

    async def find(self, pick, late=10):
        """The first line of which `pick` makes something."""
        end = time.monotonic() + late
        while time.monotonic() < end:
            for line in self.lines:
                expect(line is not None, f"{self.command} ended")
                if found := pick(line):
                    return found
            self.told.clear()
            try:
                await asyncio.wait_for(self.told.wait(), 0.5)
            except asyncio.TimeoutError:
                pass
        raise peer.Unmet(f"{self.command} did not say where it listens: {self.lines}")

    async def stop(self):
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


class Server(Program):
    """One of the two ends; `closes` has what it saw of each play's end."""

    def __init__(self, command):
        super().__init__(command)
        self.closes = {}

    async def listen(self):
        await self.start()
        return await self.find(lambda line: line.startswith("listening ") and int(line.split()[1]))

    def hear(self, line):
        super().hear(line)
        if line.startswith("{"):
            event = json.loads(line)
            self.closes.setdefault(event["play"], asyncio.get_running_loop().create_future())
            self.closes[event["play"]].set_result((event["code"], event["reason"]))
            self.lines.pop()

    async def close(self, play):
        """Code and reason with which it saw the play end; (None, …) if it did not in time."""
        future = self.closes.setdefault(play, asyncio.get_running_loop().create_future())
        try:
            return await asyncio.wait_for(asyncio.shield(future), 4)
        except asyncio.TimeoutError:
            return None, "it saw no end"


class Longwire(Program):
    async def listen(self, ports):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".toml")
        routes = (ROUTE.format(name=name, port=port) for name, port in ports.items())
        self.config.write(CONFIG + "".join(routes))
        self.config.flush()
        self.command += ["run", "-c", self.config.name]
        await self.start()

        def port(line):
            try:
                fields = json.loads(line)
            except ValueError:
                return None
            if fields.get("message") == "listening":
                return int(fields["address"].rpartition(":")[2])

        return await self.find(port)

    def hear(self, line):
        # Its log is kept only until it listens.
        if '"listening"' in line or not line.startswith("{"):
            super().hear(line)


def compare(case, direct, through):
    """("same" | "stricter" | "different", why)"""
    if through.wrong and not direct.wrong:
        return "different", through.wrong
    if direct.accepted != through.accepted:
        if not through.accepted and through.status and case.lenient:
            return "stricter", case.lenient
        if case.early and case.fails and through.code in case.fails:
            return "same", ""  # failed after the 101, and not before
        return "different", f"status {direct.status}, through {through.status}"
    if not direct.accepted:
        return "same", ""
    if direct.agreed != through.agreed:
        return "different", f"agreed {direct.agreed}, through {through.agreed}"
    if through.seconds > direct.seconds + SLACK_S:
        return "different", f"{through.seconds:.1f} s, directly {direct.seconds:.1f} s"
    if through.server_code is None and direct.server_code is not None:
        return "different", "the server did not see the end"
    facts = ["messages", "shapes", "pongs", "code", "reason", "closer", "end"]
    facts += ["server_code", "server_reason"]
    other = [fact for fact in facts if getattr(direct, fact) != getattr(through, fact)]
    if case.group == SCRIPTED and case.abrupt:  # it has gone: what it is told is nobody's concern
        other = [fact for fact in other if not fact.startswith("server")]
    if not other:
        return "same", ""
    if RESET in case.steps:
        # The client has left: only what had come before, and that the server knows.
        return ("same", "") if "messages" not in other else ("different", "messages")

    if direct.code in case.fails and through.code == direct.code:
        # Same verdict. Words, what the server made of the end and a last answer may differ.
        if is_prefix(through, direct):
            return "same", ""
    if case.fails and through.code in case.fails and through.closer == "server":
        if is_prefix(through, direct):
            return "stricter", f"6455 7.1.7 by {case.section} ({direct.code} → {through.code})"
    if case.lenient and through.code == 1002 and through.closer == "server":
        return "stricter", case.lenient
    if case.abrupt and is_prefix(through, direct) and "messages" not in other:
        is_upstreams_end = case.group == "upstream" or FIN not in case.steps
        if through.code == 1011 and direct.code is None and is_upstreams_end:
            return "stricter", "6455 7.4.1 (1011: the upstream is gone)"
    why = (f"{fact} {getattr(direct, fact)!r} → {getattr(through, fact)!r}" for fact in other)
    return "different", "; ".join(str(text)[:120] for text in why)


def is_prefix(one, other):
    """One has the answers of the other, or fewer: a connection that fails owes none, and which
    still come is a matter of who is faster."""
    for fact in ("messages", "pongs"):
        pairs = zip(getattr(one, fact), getattr(other, fact))
        if any(first != second for first, second in pairs):
            return False
    return True


def unexpected(case, outcome):
    """What is not as the table has it, or ""."""
    if outcome.wrong:
        return outcome.wrong
    if case.request and case.request.get("refused"):
        return "accepted" if outcome.accepted else ""
    if not outcome.accepted:
        return "" if (case.request or {}).get("may_refuse") else f"status {outcome.status}"
    if outcome.end == "none" and RESET not in case.steps:
        return "no end"
    if case.fails:
        return "" if outcome.code in case.fails else f"close {outcome.code}, not {case.fails}"
    messages = [(opcode, len(raw), digest(raw)) for opcode, raw in case.echo]
    if outcome.messages != messages:
        return f"{len(outcome.messages)} messages, or others, for {len(messages)}"
    if outcome.pongs != case.pongs:
        return f"pongs {outcome.pongs}, not {case.pongs}"
    if not case.abrupt and outcome.code is None:
        return "no close frame"
    return ""


async def play_all(options, cases):
    servers = {name: Server(command) for name, command in SERVERS.items()}
    longwire = Longwire([options.longwire]) if options.longwire else None
    scripted = Scripted()
    results = []
    numbers = itertools.count(1)
    places = asyncio.Semaphore(AT_ONCE)
    try:
        ports = {name: await server.listen() for name, server in servers.items()}
        ports[SCRIPTED] = await scripted.listen()
        proxy = await longwire.listen(ports) if longwire else None

        async def play(case, name, port):
            number = str(next(numbers))
            address, path = ("127.0.0.1", port), f"/{name}?{number}"
            run = (ScriptedPlay if name == SCRIPTED else Play)(case, address, path)
            scripted.plays[number] = run
            outcome = run.outcome
            try:
                await run.run()
            except (asyncio.TimeoutError, asyncio.IncompleteReadError, OSError) as error:
                outcome.wrong = repr(error)
            if outcome.accepted and name != SCRIPTED:
                outcome.server_code, outcome.server_reason = await servers[name].close(number)
            return outcome

        async def both(case, name):
            async with places:
                direct = await play(case, name, ports[name])
                through = await play(case, name, proxy or ports[name])
                verdict, why = compare(case, direct, through)
            results.append((case, name, direct, through, verdict, why))

        # Those of megabytes last and alone, so that they don't slow what is timed.
        small = [case for case in cases if not is_large(case)]
        large = [case for case in cases if is_large(case)]
        await asyncio.gather(*(both(case, name) for case in small for name in ends(case)))
        for case in large:
            for name in ends(case):
                await both(case, name)
    finally:
        for program in [*servers.values(), *([longwire] if longwire else [])]:
            await program.stop()
    order = {case.id: number for number, case in enumerate(cases)}
    return sorted(results, key=lambda result: (order[result[0].id], result[1]))


def ends(case):
    return [SCRIPTED] if case.group == SCRIPTED else list(SERVERS)


def is_large(case):
    return case.group == "limits" or sum(len(payload) for _, payload in case.echo) > 1 << 22


def report(results, verbose):
    """A Markdown table by group, then a line for each pair that is not the same."""
    groups = list(dict.fromkeys(case.group for case, *_ in results))
    lines = [
        "| group | cases | server | same | stricter | different |",
        "|---|---|---|---|---|---|",
    ]
    for group in groups:
        for name in dict.fromkeys(name for case, name, *_ in results if case.group == group):
            of = [result for result in results if result[0].group == group and result[1] == name]
            counts = Counter(verdict for *_, verdict, _ in of)
            cells = [
                group,
                len(of),
                f"`{name}`",
                counts["same"],
                counts["stricter"],
                counts["different"],
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    lenient = Counter(name for case, name, direct, *_ in results if unexpected(case, direct))
    lines += ["", f"Directly, other than the table has it: {dict(lenient)}."]
    others = [result for result in results if result[4] != "same"]
    if others:
        lines += ["", "| case | server | verdict | why |", "|---|---|---|---|"]
        for case, name, _, _, verdict, why in others:
            lines.append(f"| {case.id} | `{name}` | {verdict} | {why} |")
    if verbose:
        for case, name, direct, through, verdict, _ in results:
            lines += ["", f"{case.id} {name} {verdict}", f"  directly: {direct.text()}"]
            lines += [f"  through:  {through.text()}"]
            if why := unexpected(case, direct):
                lines += [f"  unexpected directly: {why}"]
    return "\n".join(lines)


def main(options):
    cases = [case for case in table() if case.quick or not options.quick]
    cases = [case for case in cases if options.only in case.id]
    expect(cases, f"no case has {options.only!r} in its name")
    start = time.monotonic()
    results = asyncio.run(play_all(options, cases))
    print(report(results, options.verbose), flush=True)
    counts = Counter(verdict for *_, verdict, _ in results)
    different = [
        f"{case.id} at {name}: {why}"
        for case, name, _, _, verdict, why in results
        if verdict == "different"
    ]
    expect(not different, f"{len(different)} are different:\n" + "\n".join(different[:40]))
    verdicts = {verdict: counts[verdict] for verdict in ("same", "stricter", "different")}
    seconds = round(time.monotonic() - start, 1)
    return {"cases": len(cases), "plays": 2 * len(results), **verdicts, "seconds": seconds}


if __name__ == "__main__":
    parser = peer.arguments(__doc__)
    parser.set_defaults(deadline=300)
    proxy = parser.add_mutually_exclusive_group(required=True)
    proxy.add_argument("--longwire", metavar="BINARY")
    proxy.add_argument("--without-longwire", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--verbose", action="store_true")
    peer.client(main, parser.parse_args())
