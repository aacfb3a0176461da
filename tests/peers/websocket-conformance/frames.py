"""Frames of RFC 6455 and messages of RFC 7692, built and read byte by byte: no library in between."""

import struct
import zlib
from dataclasses import dataclass
from typing import Optional

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"  # the one of the examples in section 5.7


@dataclass(frozen=True)
class Frame:
    """One frame as a client sends it; whatever is wrong with it is written down here."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0  # 4: RSV1, 2: RSV2, 1: RSV3
    mask: Optional[bytes] = MASK  # None: not masked
    form: Optional[int] = None  # 7, 16 or 64 bits of length; None: the shortest
    length: Optional[int] = None  # declared; None: that of the payload

    def head(self):
        length = len(self.payload) if self.length is None else self.length
        form = self.form or (7 if length < 126 else 16 if length < 65536 else 64)
        first = bytes([self.fin << 7 | self.rsv << 4 | self.opcode])
        bit = 0 if self.mask is None else 0x80
        if form == 7:
            return first + bytes([bit | length])
        if form == 16:
            return first + bytes([bit | 126]) + struct.pack("!H", length)
        return first + bytes([bit | 127]) + struct.pack("!Q", length)

    def bytes(self):
        if self.mask is None:
            return self.head() + self.payload
        return self.head() + self.mask + masked(self.payload, self.mask)


def masked(payload, mask):
    length = len(payload)
    pattern = (mask * (length // 4 + 1))[:length]
    both = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return both.to_bytes(length, "big")


def close_payload(code=None, reason=b""):
    return b"" if code is None else struct.pack("!H", code) + reason


class Deflate:
    """What a client compresses; the context goes from message to message, as in section 7.2. The
    window is one that both servers agree to."""

    def __init__(self, level=6, bits=12, strategy=zlib.Z_DEFAULT_STRATEGY):
        self.compressor = zlib.compressobj(level, zlib.DEFLATED, -bits, 9, strategy)

    def message(self, payload):
        raw = self.compressor.compress(payload) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
        return raw[:-4]


@dataclass
class Seen:
    """One frame that came from the other end."""

    fin: bool
    rsv: int
    opcode: int
    masked: bool
    payload: bytes

    def shape(self):
        return (self.fin, self.rsv, self.opcode, len(self.payload))


async def read_frame(reader):
    """The next frame; raises `IncompleteReadError` at the end, with `partial` if it was amid one."""
    first, second = await reader.readexactly(2)
    length, has_mask = second & 0x7F, bool(second & 0x80)
    if length == 126:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if has_mask else None
    payload = await reader.readexactly(length) if length else b""
    if mask:
        payload = masked(payload, mask)
    return Seen(bool(first & 0x80), first >> 4 & 7, first & 15, has_mask, payload)
