"""An echo server with Python's `websockets`: the second end that conformance.py plays its cases to.

    python echo-websockets.py [--port 0]

It does and prints what echo-ws.mjs does; see there.
"""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def handle(connection):
    try:
        async for message in connection:
            if isinstance(message, str) and message.startswith("!"):
                await command(connection, message)
            else:
                await connection.send(message)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    play = urlsplit(connection.request.path).query
    code, reason = connection.close_code, connection.close_reason
    peer.event("close", play=play, code=code, reason=reason)


async def command(connection, text):
    name, *rest = text.split(" ")
    if name == "!close":
        if rest and rest[0]:
            await connection.close(int(rest[0]), " ".join(rest[1:]))
        else:
            await close_without_code(connection)
    elif name == "!ping":
        payload = " ".join(rest)
        pong = await connection.ping(payload)
        asyncio.ensure_future(say_pong(connection, pong, payload))
    elif name == "!send":
        await connection.send((b"longwire" * (int(rest[0]) // 8 + 1))[: int(rest[0])])
    elif name == "!fragments":
        await connection.send(iter(rest))
    elif name == "!die":
        connection.transport.abort()


async def close_without_code(connection):
    connection.protocol.send_close()
    connection.send_data()
    await connection.wait_closed()


async def say_pong(connection, pong, payload):
    try:
        await pong
        await connection.send(f"pong {payload}")
    except ConnectionClosed:
        pass


def subprotocol(_connection, offered):
    return "second" if "second" in offered else (offered or [None])[0]


async def main(options):
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    server = await serve(
        handle,
        "127.0.0.1",
        options.port,
        max_size=16 * 1024 * 1024,
        ping_interval=None,
        select_subprotocol=subprotocol,
    )
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
