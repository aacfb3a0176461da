"""A client that reads slowly and gives back its window by 64 bytes, 2000 times a second.

    python tiny-windows.py PROXY_URL PATH

Measures {"bytes", "updates", "seconds"}.
"""

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import http2_wire as wire
import peer

GIVEN_BACK = 64
PER_SECOND = 2000


async def read(port, path):
    began, updates, owed, length = time.monotonic(), 0, 0, 0
    connection = await wire.Connection.meet(port)
    await connection.send(wire.headers(1, wire.request(path=path)))
    while True:
        seen = await connection.read()
        peer.expect(seen.kind not in (wire.GOAWAY, wire.RST_STREAM), f"it was ended by {seen}")
        if seen.kind == wire.HEADERS:
            connection.fields(seen)
        if seen.kind == wire.DATA:
            length += len(seen.payload)
            owed += len(seen.payload)
        if seen.flags & wire.END_STREAM and seen.kind == wire.DATA:
            break
        while owed >= GIVEN_BACK:
            both = wire.window(0, GIVEN_BACK) + wire.window(1, GIVEN_BACK)
            await connection.send(both)
            owed -= GIVEN_BACK
            updates += 2
            await asyncio.sleep(began + updates / PER_SECOND - time.monotonic())
    seconds = round(time.monotonic() - began, 2)
    return {"bytes": length, "updates": updates, "seconds": seconds}


def main(options):
    return asyncio.run(read(urlsplit(options.proxy_url).port, options.path))


if __name__ == "__main__":
    peer.client(main, peer.arguments(__doc__, "PROXY_URL", "PATH").parse_args())
