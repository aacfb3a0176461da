"""What the peer programs in Python share: how a client reports and how a server lives.

Client: exit 0 and one JSON line of measurements, or exit 1 and the reason on stderr. It has a
deadline of its own (--deadline, 30 s), so it never hangs.
Server: `listening PORT` first, then a JSON line for each event; it ends when its stdin does, so
that it never outlives the test that started it.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import traceback


class Unmet(Exception):
    """An expectation that did not hold; the message is all that the test's author will read."""


def expect(condition, message):
    if not condition:
        raise Unmet(message)


def arguments(doc, *names):
    """The parser that every client starts from: its positional arguments and the deadline."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in names:
        parser.add_argument(name.lower(), metavar=name)
    parser.add_argument("--deadline", type=float, default=30, metavar="SECONDS")
    return parser


def client(main, options):
    """Runs `main(options)`, which returns the measurements, as a client program."""
    late = f"not finished after {options.deadline:g} s"
    signal.signal(signal.SIGALRM, lambda *_: interrupt(late))
    signal.signal(signal.SIGTERM, lambda *_: interrupt("ended by SIGTERM"))
    signal.setitimer(signal.ITIMER_REAL, options.deadline)
    try:
        measured = main(options)
    except (Unmet, Interrupted) as reason:
        sys.exit(str(reason))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    print(json.dumps(measured), flush=True)


def read_to_its_end(pieces, whole):
    """Reads a stream of text that must break, or, if it is to be `whole`, must not.

    Gives the measurements: the text, and the class and the words of what was raised.
    """
    text = ""
    try:
        for piece in pieces:
            text += piece
    except Exception as error:
        if whole:
            raise
        return {"error": type(error).__name__, "message": str(error), "text": text}
    expect(whole, f"the stream looks complete: {text!r}")
    return {"text": text}


class Interrupted(BaseException):
    """Not an `Exception`, so that no library takes it for a failure that it may retry."""


def interrupt(reason):
    raise Interrupted(reason)


def serve(handler, port):
    """Serves `handler(reader, writer)` on the loopback interface until stdin ends."""

    async def until_stdin_ends():
        server = await asyncio.start_server(handler, "127.0.0.1", port)
        print("listening", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
        os._exit(0)  # what is still open is cut, without a word about it

    asyncio.run(until_stdin_ends())


def event(name, **facts):
    """Prints one event of a server. `ms` is the wall clock, which the test can compare."""
    print(json.dumps({"event": name, "ms": int(time.time() * 1000), **facts}), flush=True)


async def read_head(reader):
    """One HTTP/1 head as (first line, [(name, value)…] as received), or None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    fields = []
    for line in lines:
        name, _, value = line.partition(":")
        fields.append((name, value.strip()))
    return first, fields


def field(fields, name):
    """All values of a field as one, as RFC 9110 section 5.2 combines them, or None."""
    values = [value for key, value in fields if key.lower() == name]
    return ", ".join(values) if values else None
