"""What an upstream may do wrong, and right: it plays the case, and the client is Python's
`websockets`.

The other way round than play.py: here the frames go from the server to the client. No server
library breaks the protocol, so this one is scripted; what came of it is what a real client makes of
it.
"""

import asyncio
import base64
import hashlib
import time

import peer
from cases import FIN
from frames import CLOSE, PONG, Frame, close_payload, read_frame
from play import ANSWERS, GUID, Outcome, digest, writes
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.uri import parse_uri

LATE_S = 4


class Scripted:
    """The server. A play registers itself, and learns from `heard` what its client said."""

    def __init__(self):
        self.plays = {}

    async def listen(self):
        self.server = await asyncio.start_server(self.handle, "127.0.0.1", 0, limit=1 << 22)
        return self.server.sockets[0].getsockname()[1]

    async def handle(self, reader, writer):
        try:
            line, fields = await peer.read_head(reader)
            play = self.plays[line.split(" ")[1].partition("?")[2]]
            await asyncio.wait_for(self.serve(play, reader, writer, fields), 30)
        except (asyncio.TimeoutError, ConnectionError, TypeError):
            pass
        finally:
            writer.close()

    async def serve(self, play, reader, writer, fields):
        case = play.case
        key = peer.field(fields, "sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        extension = f"Sec-WebSocket-Extensions: {case.offer}\r\n" if case.offer else ""
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"{extension}Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ).encode()
        # A second reader, as the client may answer while this still writes.
        hearing = asyncio.ensure_future(self.hear(play, reader))
        try:
            if not case.early:
                writer.write(head)
                head = b""
            for chunk in writes(case):
                if chunk == FIN:
                    writer.write_eof()
                elif isinstance(chunk, bytes):
                    writer.write(head + chunk)
                    head = b""
                    await writer.drain()
                    await asyncio.sleep(0.005 if isinstance(case.cut, tuple) else 0)
                elif chunk != ANSWERS:
                    raise ValueError(chunk)
            if not (case.sends_close or case.fails or FIN in case.steps):
                writer.write(Frame(CLOSE, close_payload(1000), mask=None).bytes())
            await asyncio.wait([hearing], timeout=LATE_S)
        except ConnectionError:
            await asyncio.wait([hearing], timeout=LATE_S)
        finally:
            hearing.cancel()
            play.over.set()

    async def hear(self, play, reader):
        """Until the client's close frame, or its end."""
        try:
            while True:
                frame = await read_frame(reader)
                if frame.opcode == PONG:
                    play.outcome.pongs.append(frame.payload)
                elif frame.opcode == CLOSE:
                    payload = frame.payload
                    play.outcome.server_code = (
                        int.from_bytes(payload[:2], "big") if payload else 1005
                    )
                    play.outcome.server_reason = payload[2:].decode(errors="replace")
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            play.outcome.server_code = 1006


class ScriptedPlay:
    def __init__(self, case, address, path):
        self.case, self.address, self.path = case, address, path
        self.outcome = Outcome(status=101, accepted=True)
        self.over = asyncio.Event()

    async def run(self):
        host, port = self.address
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
        factories = [ClientPerMessageDeflateFactory()] if self.case.offer else []
        uri = parse_uri(f"ws://{host}:{port}{self.path}")
        client = ClientProtocol(uri, extensions=factories, max_size=16 * 1024 * 1024)
        client.send_request(client.connect())
        start = time.monotonic()
        try:
            self.flush(client, writer)
            while True:
                data = await asyncio.wait_for(reader.read(65536), LATE_S)
                if data:
                    client.receive_data(data)
                else:
                    client.receive_eof()
                    self.outcome.end = "eof"
                self.events(client)
                self.flush(client, writer)
                if not data or client.parser_exc:
                    break
        except asyncio.TimeoutError:
            pass
        except ConnectionError:
            self.outcome.end = "reset"
        finally:
            writer.close()
        self.outcome.seconds = time.monotonic() - start
        self.conclude(client)
        try:
            await asyncio.wait_for(self.over.wait(), LATE_S)
        except asyncio.TimeoutError:
            self.outcome.server_code = None

    def flush(self, client, writer):
        for data in client.data_to_send():
            if data:
                writer.write(data)

    def events(self, client):
        for event in client.events_received():
            opcode = getattr(event, "opcode", None)
            if opcode in (Opcode.TEXT, Opcode.BINARY):
                self.message, self.opcode = [], int(opcode)
            if opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self.message.append(bytes(event.data))
                if event.fin:
                    whole = b"".join(self.message)
                    self.outcome.messages.append((self.opcode, len(whole), digest(whole)))
        if client.handshake_exc:
            self.outcome.wrong = repr(client.handshake_exc)

    def conclude(self, client):
        """The close code that came, or with which the client failed the connection by itself."""
        outcome = self.outcome
        if client.close_rcvd:
            outcome.code, outcome.closer = client.close_rcvd.code, "server"
            outcome.reason = client.close_rcvd.reason.encode()
        elif client.parser_exc and client.close_sent:
            outcome.code, outcome.closer = client.close_sent.code, "client"
            outcome.end = "failed"  # it has not waited for the end
