"""The clients of compare.py: event streams, WebSockets, and short requests that go on and on.

None of them comes back when it is cut, so that each cut is counted once.
"""

import asyncio
import collections
import time

GAP = 0.1  # between two events, as the origin sends them
ECHO = 0.2  # between two messages of a WebSocket
ASKERS, ASK = 20, 0.1  # clients that ask, and how often each: 200 requests a second

EVENTS = b"GET /events HTTP/1.1\r\nHost: chat.example\r\n\r\n"
HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MESSAGE = b"\x81\x84\0\0\0\0echo"  # a text, masked with zeros
GONE = (ConnectionError, asyncio.IncompleteReadError, OSError)


class Clients:
    """What is open through the proxy on `port`, and what has become of it."""

    def __init__(self, port):
        self.port = port
        self.tasks = []
        self.enough = False
        self.streams = 0  # as many of each kind
        self.broken_streams = 0
        self.closes = collections.Counter()  # WebSockets that were broken, by close code
        self.requests = 0
        self.failures = collections.Counter()  # requests, by what happened to them
        self.longest = 0.0

    async def open(self, count):
        """Opens `count` more streams, and as many WebSockets."""
        for _ in range(count):
            await asyncio.gather(self.begin(EVENTS, self.events), self.begin(HANDSHAKE, self.echo))
        self.streams += count

    def begin_to_ask(self):
        for number in range(ASKERS):
            self.tasks.append(asyncio.create_task(self.ask(kept=number % 2 == 0)))

    async def begin(self, request, follow):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        status = await head(reader)
        if status not in (200, 101):
            raise RuntimeError(f"{request[:16]} was answered with {status}")
        self.tasks.append(asyncio.create_task(follow(reader, writer)))

    async def close(self):
        self.enough = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def events(self, reader, writer):
        """The origin never ends its streams, so every end is a break."""
        last, tail = time.monotonic(), b""
        try:
            while read := await reader.read(65536):
                now = time.monotonic()
                self.longest, last = max(self.longest, now - last), now
                tail = (tail + read)[-7:]
                if tail == b"\r\n0\r\n\r\n":
                    break
        except GONE:
            pass
        self.broken_streams += 1
        writer.close()

    async def echo(self, reader, writer):
        code = 1006  # RFC 6455, section 7.1.5: no close frame came
        try:
            while True:
                writer.write(MESSAGE)
                first, length = await reader.readexactly(2)
                payload = await reader.readexactly(length)
                if first == 0x88:
                    code = int.from_bytes(payload[:2], "big")
                    break
                await asyncio.sleep(ECHO)
        except GONE:
            pass
        self.closes[code] += 1
        writer.close()

    async def ask(self, kept):
        """Asks on one connection, as a browser does, or on a new one each time."""
        reader = writer = None
        while not self.enough:
            began = time.monotonic()
            # One that was closed while nothing was asked is no failure.
            if reader is not None and (not kept or reader.at_eof() or writer.is_closing()):
                writer.close()
                reader = None
            try:
                if reader is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(b"GET /short HTTP/1.1\r\nHost: chat.example\r\n\r\n")
                self.requests += 1
                status, last = await asyncio.wait_for(answer(reader), 10)
                if status != 200:
                    self.failures[str(status)] += 1
            except (*GONE, asyncio.TimeoutError) as error:
                self.failures[what(error)] += 1
                last = True
            if last and writer is not None:
                writer.close()
                reader = None
            await asyncio.sleep(max(0, ASK - (time.monotonic() - began)))


def what(error):
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, asyncio.TimeoutError):
        return "no answer"
    return "cut"


async def head(reader):
    """Reads a head; gives its status."""
    return int((await reader.readuntil(b"\r\n\r\n"))[9:12])


async def answer(reader):
    """Reads a whole answer; gives its status, and whether it is the last on its connection."""
    text = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"\r\ncontent-length: " in text:
        await reader.readexactly(int(text.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]))
    elif b"\r\ntransfer-encoding: chunked" in text:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    return int(text[9:12]), b"\r\nconnection: close" in text
