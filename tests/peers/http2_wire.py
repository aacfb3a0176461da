"""HTTP/2 by the frame (RFC 9113), for clients that do what no library lets them do.

Frames are made as bytes and may break any rule. `Connection` sends them and reads what comes back.
Blocks of fields are made by PyPI `hpack` without a memory of earlier ones, which is always right:
they name entries of the dynamic table only that they have just added.
"""

import asyncio
import ssl
from collections import namedtuple

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
CONTINUATION = 9
NAMES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY",
         "WINDOW_UPDATE", "CONTINUATION"]  # fmt: skip
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
ERRORS = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
          "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
          "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY",
          "HTTP_1_1_REQUIRED"]  # fmt: skip
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEAD, ENABLE_CONNECT = (
    1, 2, 3, 4, 5, 6, 8)  # fmt: skip

Frame = namedtuple("Frame", "kind flags stream payload")


def code(name):
    return ERRORS.index(name)


def u32(number):
    return number.to_bytes(4, "big")


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """Any frame; `length` says something else than the payload's."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + u32(stream) + payload


def data(stream, payload=b"", flags=0):
    return frame(DATA, flags, stream, payload)


def settings(*pairs, flags=0, stream=0):
    payload = b"".join(key.to_bytes(2, "big") + u32(value) for key, value in pairs)
    return frame(SETTINGS, flags, stream, payload)


def ping(payload=b"\0" * 8, flags=0, stream=0):
    return frame(PING, flags, stream, payload)


def reset(stream, error="CANCEL"):
    return frame(RST_STREAM, 0, stream, u32(code(error)))


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, u32(increment))


def priority(stream, on=0, weight=15):
    return frame(PRIORITY, 0, stream, u32(on) + bytes([weight]))


def block(fields):
    """Fields, (name, value) each, as HPACK has them."""
    return hpack.Encoder().encode(fields, huffman=False)


def request(method="GET", path="/headers", fields=(), scheme="http", authority="test"):
    """The fields of a request; a pseudo-header that is None is left out."""
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
    return [pair for pair in pseudo if pair[1] is not None] + list(fields)


def headers(stream, fields=None, flags=END_STREAM, how=END_HEADERS):
    """A whole head: `fields`, or block of bytes; a GET where none are given."""
    fields = request() if fields is None else fields
    payload = fields if isinstance(fields, bytes) else block(fields)
    return frame(HEADERS, flags | how, stream, payload)


class Ended(Exception):
    """The connection is over; says how: "closed" or "reset"."""


class Connection:
    """A client's end."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.decoder = hpack.Decoder()
        self.settings = {}

    @classmethod
    async def open(cls, port, first=PREFACE + settings(), tls=False, narrow=False):
        """Connects and says `first`; `narrow`: the kernel takes little ahead of what is read."""
        context = None
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
        how = {"limit": 1 << 12} if narrow else {}
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost" if tls else None, **how
        )
        connection = cls(reader, writer)
        await connection.send(first)
        return connection

    @classmethod
    async def meet(cls, port, *pairs, **how):
        """The same, with settings exchanged and acknowledged by both."""
        connection = await cls.open(port, PREFACE + settings(*pairs), **how)
        theirs = acked = False
        while not (theirs and acked):
            seen = await connection.read()
            if seen.kind == SETTINGS:
                theirs, acked = theirs or not seen.flags & ACK, acked or bool(seen.flags & ACK)
        return connection

    async def send(self, data):
        self.writer.write(data)
        try:
            await self.writer.drain()
        except (ConnectionError, ssl.SSLError):
            raise Ended("reset") from None

    async def read(self):
        """The next frame. Settings are acknowledged; blocks of fields must be decoded in order."""
        try:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        except asyncio.IncompleteReadError:
            raise Ended("closed") from None
        except (ConnectionError, ssl.SSLError):
            raise Ended("reset") from None
        seen = Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)
        if seen.kind == SETTINGS and not seen.flags & ACK:
            for at in range(0, len(payload), 6):
                key, value = payload[at : at + 2], payload[at + 2 : at + 6]
                self.settings[int.from_bytes(key, "big")] = int.from_bytes(value, "big")
            await self.send(settings(flags=ACK))
        return seen

    def fields(self, seen):
        """The fields of a HEADERS frame that has them all."""
        return self.decoder.decode(seen.payload)

    async def response(self, stream):
        """Status and body of a response of which the next frames are."""
        status, body = None, b""
        while True:
            seen = await self.read()
            if seen.kind == HEADERS:
                fields = dict(self.fields(seen))
                if seen.stream == stream:
                    status = fields.get(":status", status)
            if seen.stream != stream:
                continue
            if seen.kind == RST_STREAM:
                return status, "reset"
            if seen.kind == DATA:
                body += seen.payload
            if seen.flags & END_STREAM and seen.kind in (HEADERS, DATA):
                return status, body

    def close(self):
        self.writer.transport.abort()


def error_name(payload):
    number = int.from_bytes(payload[:4], "big")
    return ERRORS[number] if number < len(ERRORS) else str(number)
