"""Python's `websockets` with permessage-deflate talks through the proxy to gorilla/websocket.

It proves that messages of any size are the same bytes at both ends, whatever comes between their
frames: random binary and text messages from 0 B to 16 MiB, whole and in fragments, both ways.

    python client.py PROXY_URL [--seed 1] [--rounds 2] [--pause-ms 60] [--expect-pings N]
                     [--uncompressed] [--deadline 50]

A round sends each size once as text and once as binary, waits for the echo, and has the server send
one of its own. --pause-ms is the silence inside some messages, between two fragments, and after
some, so that a proxy with a shorter `ping` sends its own there; --expect-pings is the least number
of pings that the client must see.

Prints {"messages":…,"bytes":…,"pings":…,"fragmented":…,"sha256":…}: what was sent; `sha256` is over
the SHA-256 of all messages in order, as server.go prints it when the connection has closed.
"""

import asyncio
import hashlib
import random
import sys
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer
from peer import expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Opcode

MIB = 1024 * 1024
SIZES = [0, 1, 125, 126, 127, 4096, 65_535, 65_536, 65_537, MIB, 16 * MIB]
# Of a message that is sent in fragments: 16 MiB of noise in one frame would exceed the `max_frame`
# of 16 MiB by what deflate adds.
FRAGMENT = MIB


class Connection(ClientConnection):
    """Counts what the library answers by itself."""

    pings = 0

    def process_event(self, event):
        if getattr(event, "opcode", None) is Opcode.PING:
            self.pings += 1
        super().process_event(event)


class Talk:
    def __init__(self, connection, options):
        self.connection = connection
        self.noise = random.Random(options.seed)
        self.pause = options.pause_ms / 1000
        self.messages = self.bytes = self.fragmented = 0
        self.sums = hashlib.sha256()

    async def echo(self, message):
        """Sends a message, whole or in fragments, and compares what comes back."""
        raw = message.encode() if isinstance(message, str) else message
        fragmented = len(raw) > FRAGMENT or (len(raw) > 1 and self.noise.random() < 0.5)
        sending = self.send(self.fragments(message) if fragmented else message)
        self.count(raw)
        self.fragmented += fragmented
        await asyncio.gather(sending, self.expect_back(message))

    async def send(self, message):
        await self.connection.send(message)

    async def fragments(self, message):
        """At most sixteen, with a silence after the first."""
        size = max(1, -(-len(message) // 16))
        for start in range(0, len(message), size):
            yield message[start : start + size]
            if start == 0:
                await asyncio.sleep(self.pause)

    async def expect_back(self, message):
        back = await self.connection.recv()
        kind = type(message).__name__
        expect(type(back) is type(message), f"{kind} came back as {type(back).__name__}")
        if back != message:
            raise peer.Unmet(f"{len(message)} of {kind} came back as {len(back)}, or changed")

    async def have_sent(self, kind, size, seed):
        """Has the server send a message of its own, after its SHA-256."""
        command = f"send {kind} {size} {seed}"
        self.count(command.encode())
        await self.connection.send(command)
        expected, message = await self.connection.recv(), await self.connection.recv()
        raw = message.encode() if kind == "text" else message
        expect(len(raw) == size, f"{command}: {len(raw)} bytes came")
        expect(hashlib.sha256(raw).hexdigest() == expected, f"{command}: it was changed")

    def count(self, raw):
        self.messages += 1
        self.bytes += len(raw)
        self.sums.update(hashlib.sha256(raw).digest())

    def text(self, size):
        """Random characters of one to four bytes, `size` bytes together."""
        letters = "".join(self.noise.choices("ab \n'éß≤漢🌍", k=min(size, 10_000)))
        raw = (letters * (size // max(1, len(letters.encode())) + 1)).encode()[:size]
        text = raw.decode(errors="ignore")  # the last character may have been cut
        return text + "." * (size - len(text.encode()))


async def talk(options):
    url = urlsplit(options.proxy_url)
    compression = None if options.uncompressed else "deflate"
    connecting = connect(
        f"ws://{url.netloc}{url.path or '/'}",
        create_connection=Connection,
        compression=compression,
        max_size=None,
        ping_interval=None,
        proxy=None,
    )
    async with connecting as connection:
        negotiated = connection.response.headers.get("Sec-WebSocket-Extensions", "")
        expect(("permessage-deflate" in negotiated) == bool(compression), f"got {negotiated!r}")
        talk = Talk(connection, options)
        for number in range(options.rounds):
            for size in talk.noise.sample(SIZES, len(SIZES)):
                await talk.echo(talk.text(size))
                await talk.have_sent("binary", size, number)
                await talk.echo(talk.noise.randbytes(size))
                await talk.have_sent("text", size, number)
                if size <= 4096:
                    await asyncio.sleep(talk.pause)
    expect(connection.close_code == 1000, f"closed with {connection.close_code}")
    least = options.expect_pings
    expect(connection.pings >= least, f"{connection.pings} pings came, not {least} or more")
    return {
        "messages": talk.messages,
        "bytes": talk.bytes,
        "pings": connection.pings,
        "fragmented": talk.fragmented,
        "sha256": talk.sums.hexdigest(),
    }


if __name__ == "__main__":
    parser = peer.arguments(__doc__, "PROXY_URL")
    parser.set_defaults(deadline=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pause-ms", type=float, default=60)
    parser.add_argument("--expect-pings", type=int, default=0, metavar="N")
    parser.add_argument("--uncompressed", action="store_true")
    options = parser.parse_args()
    peer.client(lambda options: asyncio.run(talk(options)), options)
