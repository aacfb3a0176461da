"""uvicorn as most people run it: a POST is counted by its number, idle connections are closed.

It proves that a request which met the closing of an idle connection was handled exactly once.

    python3 uvicorn-server.py [--port 0] [--keep-alive SECONDS]

Without --keep-alive it is uvicorn's own default, 5 seconds.

    POST /…        with `X-Number: N`; answers {"number":N,"port":…,"bytes":…} 5 ms after its body
                   has ended; `port` is the other end of the connection. It counts when its head is
                   handed over, so that one that came twice in part is seen too.
    POST /hold…    is read, told as an event, and never answered
    GET  /counts   {"requests":…,"numbers":…,"twice":[…],"partial":…}: POSTs that began, different
                   numbers among them, those that came again, those whose body did not end

Prints {"event":"request","number":…,"bytes":…} for a POST to /hold.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import threading
from collections import Counter
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

THINKS = 0.005  # so that requests which are sent together are open together

seen = Counter()
whole = 0


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/counts":
        return await answer(send, counts())
    number = int(dict(scope["headers"])[b"x-number"])
    seen[number] += 1
    size = await read(receive)
    if size is None:
        return
    global whole
    whole += 1
    if scope["path"].startswith("/hold"):
        peer.event("request", number=number, bytes=size)
        await asyncio.sleep(3600)
    await asyncio.sleep(THINKS)
    await answer(send, {"number": number, "port": scope["client"][1], "bytes": size})


async def read(receive):
    """The body's length, or None when the other side left before its end."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


def counts():
    requests = sum(seen.values())
    twice = [number for number, times in seen.items() if times > 1]
    return {
        "requests": requests,
        "numbers": len(seen),
        "twice": twice[:20],
        "partial": requests - whole,
    }


async def answer(send, facts):
    body = json.dumps(facts).encode()
    fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("listening", sockets[0].getsockname()[1], flush=True)


def until_stdin_ends():
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keep-alive", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    # `client` stays who is connected, not who X-Forwarded-For says.
    settings = {"proxy_headers": False, "access_log": False, "log_level": "error"}
    if arguments.keep_alive is not None:
        settings["timeout_keep_alive"] = arguments.keep_alive
    listening = socket.create_server(("127.0.0.1", arguments.port), backlog=2048)
    threading.Thread(target=until_stdin_ends, daemon=True).start()
    Server(uvicorn.Config(application, **settings)).run(sockets=[listening])
