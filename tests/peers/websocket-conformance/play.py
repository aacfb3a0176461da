"""Plays one case to a server, over a socket of its own, and writes down what came of it."""

import asyncio
import base64
import hashlib
import os
import socket
import struct
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer
from cases import BYE, FIN, RESET, SERVER_CLOSE
from frames import CLOSE, CONTINUATION, PING, PONG, Frame, close_payload, read_frame

ANSWER_S = 3  # for what should come at once; more for megabytes
ANSWERS = "answers"  # before a close frame: all that is expected must have come
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Outcome:
    """What the client saw; `server_code` is added from what the server printed."""

    status: int = 0
    accepted: bool = False
    agreed: tuple = ()  # extensions and subprotocol, as answered
    messages: List[tuple] = field(default_factory=list)  # (opcode, length, digest)
    shapes: List[tuple] = field(default_factory=list)  # (fin, rsv, opcode, length) of data frames
    pongs: List[bytes] = field(default_factory=list)
    pings: int = 0
    code: Optional[int] = None  # 1005: a close frame without; None: no close frame
    reason: bytes = b""
    closer: str = "nobody"  # whose close frame was first
    end: str = "none"  # eof | reset | none: nothing in time
    seconds: float = 0  # from the last byte sent to the end
    wrong: str = ""  # what the RFC forbids a server
    server_code: Optional[int] = None
    server_reason: str = ""

    def text(self):
        """For the eye."""
        if self.status != 101:
            return f"status {self.status}"
        parts = [f"{len(self.messages)} messages", f"{len(self.pongs)} pongs"]
        if self.agreed != ("", ""):
            parts.append(f"agreed {self.agreed}")
        parts.append(f"close {self.code} {self.reason.decode(errors='replace')!r} by {self.closer}")
        parts.append(f"{self.end} after {self.seconds:.2f} s, server saw {self.server_code}")
        return ", ".join(parts) + (f", WRONG: {self.wrong}" if self.wrong else "")


class Play:
    def __init__(self, case, address, path):
        self.case, self.address, self.path = case, address, path
        self.outcome = Outcome()
        self.data = []  # frames of messages
        self.changed = asyncio.Event()
        self.client_closed = self.ended = False

    async def run(self):
        await asyncio.wait_for(self.whole(), 25)

    async def whole(self):
        host, port = self.address
        # The transport gets it as it is read, so that megabytes don't cost a copy per read.
        self.reader, self.writer = await asyncio.open_connection(host, port, limit=1 << 22)
        self.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            chunks = writes(self.case)
            head = self.head()
            if self.case.early:
                head += next(chunks)
            await self.write(head)
            if not await self.read_head():
                return
            reading = asyncio.ensure_future(self.read())
            await self.converse(chunks)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self.decode()
        finally:
            self.writer.transport.abort()

    def head(self):
        request = self.case.request or {}
        self.key = base64.b64encode(os.urandom(16)).decode()
        host = f"{self.address[0]}:{self.address[1]}"
        fields = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": self.key,
            "Sec-WebSocket-Version": "13",
        }
        if self.case.offer:
            fields["Sec-WebSocket-Extensions"] = self.case.offer
        if request.get("same_origin"):
            fields["Origin"] = f"http://{host}"
        fields.update(request.get("fields", {}))
        lines = [f"{request.get('method', 'GET')} {self.path} {request.get('version', 'HTTP/1.1')}"]
        for name, value in fields.items():
            name = name.lower() if request.get("lower") else name
            values = value if isinstance(value, list) else [] if value is None else [value]
            lines += [f"{name}: {value}" for value in values]
        return "\r\n".join([*lines, "", ""]).encode()

    async def read_head(self):
        head = await asyncio.wait_for(peer.read_head(self.reader), ANSWER_S + 2)
        if head is None:
            self.outcome.end = "eof"
            return False
        line, fields = head
        self.outcome.status = int(line.split(" ")[1])
        if self.outcome.status != 101:
            return False
        digest = hashlib.sha1((self.key + GUID).encode()).digest()
        accept = peer.field(fields, "sec-websocket-accept")
        if accept != base64.b64encode(digest).decode():
            self.outcome.wrong = f"accept {accept}"
        extensions = peer.field(fields, "sec-websocket-extensions") or ""
        protocol = peer.field(fields, "sec-websocket-protocol") or ""
        self.outcome.accepted = True
        self.outcome.agreed = (extensions, protocol)
        return True

    async def converse(self, chunks):
        case = self.case
        gap = 0.005 if isinstance(case.cut, tuple) else 0
        for chunk in chunks:
            if self.ended:
                break
            if chunk in (ANSWERS, FIN, RESET):
                await self.until(self.is_answered)
            if chunk == ANSWERS:
                self.client_closed = not case.fails  # a frame that is wrong closes nothing
            if chunk == FIN:
                self.half_close()
            elif chunk == RESET:
                sock = self.writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            elif chunk == SERVER_CLOSE:
                await self.until(lambda: self.outcome.code is not None)
            elif isinstance(chunk, bytes):
                self.client_closed |= case.cut == "whole" and case.sends_close
                await self.write(chunk)
                await asyncio.sleep(gap)
        start = time.monotonic()
        if not (case.sends_close or FIN in case.steps):
            if case.fails or case.server_ends:
                await self.until(lambda: self.outcome.code is not None)
            else:
                await self.until(self.is_answered)
            # Who was told of the end answers; who was not ends it.
            await self.close()
        await self.wait(lambda: self.ended)
        self.outcome.seconds = time.monotonic() - start

    def is_answered(self):
        have = sum(frame.fin for frame in self.data)
        return have >= len(self.case.echo) and len(self.outcome.pongs) >= len(self.case.pongs)

    async def until(self, condition):
        """Waits until it holds, a close frame or the end came, or time is up."""
        await self.wait(lambda: condition() or self.outcome.code is not None)

    async def wait(self, condition):
        size = sum(len(payload) for _, payload in self.case.echo)
        late = time.monotonic() + ANSWER_S + size / 1e6
        while not (condition() or self.ended) and time.monotonic() < late:
            await self.change(late)

    async def change(self, late):
        self.changed.clear()
        try:
            await asyncio.wait_for(self.changed.wait(), max(0.001, late - time.monotonic()))
        except asyncio.TimeoutError:
            pass

    async def close(self):
        """Begins the closing handshake, or completes it with the code that came."""
        if not self.client_closed and not self.ended:
            self.client_closed = True
            code = self.outcome.code
            echo = code is not None and code != 1005
            await self.write(Frame(CLOSE, close_payload(code)).bytes() if echo else BYE.bytes())

    async def write(self, data):
        try:
            self.writer.write(data)
            await self.writer.drain()
        except (ConnectionError, RuntimeError):
            pass  # the reader tells how it ended

    def half_close(self):
        try:
            self.writer.write_eof()
        except OSError:
            pass

    async def read(self):
        outcome = self.outcome
        try:
            while True:
                await self.saw(await read_frame(self.reader))
                self.changed.set()
        except asyncio.IncompleteReadError as cut:
            outcome.end = "eof"
            if cut.partial:
                outcome.wrong = outcome.wrong or f"the end amid a frame: {cut.partial[:20]}"
        except ConnectionError:
            outcome.end = "reset"
        self.ended = True
        self.changed.set()

    async def saw(self, frame):
        outcome = self.outcome
        if frame.masked:
            outcome.wrong = "a masked frame"
        if outcome.code is not None:
            outcome.wrong = f"opcode {frame.opcode} after the close frame"
        elif frame.opcode == PING:
            outcome.pings += 1
            await self.write(Frame(PONG, frame.payload).bytes())
        elif frame.opcode == PONG:
            outcome.pongs.append(frame.payload)
        elif frame.opcode == CLOSE:
            payload = frame.payload
            outcome.code = int.from_bytes(payload[:2], "big") if payload else 1005
            outcome.reason = payload[2:]
            outcome.closer = "client" if self.client_closed else "server"
        else:
            self.data.append(frame)

    def decode(self):
        """The messages from the frames, decompressed as agreed."""
        inflate, message, compressed = None, [], False
        no_takeover = "server_no_context_takeover" in self.outcome.agreed[0]
        for frame in self.data:
            self.outcome.shapes.append(frame.shape())
            if frame.opcode != CONTINUATION:
                message, opcode, compressed = [], frame.opcode, bool(frame.rsv & 4)
            message.append(frame.payload)
            if not frame.fin:
                continue
            whole = b"".join(message)
            if compressed:
                if inflate is None or no_takeover:
                    inflate = zlib.decompressobj(-15)
                try:
                    whole = inflate.decompress(whole + b"\x00\x00\xff\xff")
                except zlib.error as error:
                    self.outcome.wrong = f"undecodable: {error}"
            self.outcome.messages.append((opcode, len(whole), digest(whole)))


def raw(step):
    return step.bytes() if isinstance(step, Frame) else step


def digest(payload):
    return hashlib.sha256(payload).hexdigest()[:16]


def writes(case):
    """What is written at once, and the words in between."""
    if case.cut == "whole":
        yield b"".join(raw(step) for step in case.steps)
        return
    for step in case.steps:
        if isinstance(step, str):
            yield step
            continue
        if isinstance(step, Frame) and step.opcode == CLOSE:
            yield ANSWERS
        data = raw(step)
        if case.cut == "bytes":
            yield from (data[at : at + 1] for at in range(len(data)))
        elif isinstance(case.cut, tuple):
            for start, end in zip((0, *case.cut), (*case.cut, len(data))):
                yield data[start:end]
        else:
            yield data
