"""A small HTTP/1 upstream that shows what reached it: for http-client.py, for curl, for the tests.

    python3 echo.py [--port 0]

    POST /echo?as=length|chunked|close   the body again, framed as asked (default: as it came)
    GET  /sse?n=10&gap_ms=100            n events `data: 0`, `data: 1`…, chunked
    GET  /headers                        {"line":…, "fields": [[name, value]…]} exactly as received
    GET  /status/204                     any status; 204 and 304 without a body
    GET  /close                          a body that only the end of the connection ends
    GET  /informational                  103 Early Hints, then 200

HEAD gets each head without the body. Prints {"event":"open"|"request"|"close","connection":…};
`request` has the line, the fields as received and the length of the body.
"""

import argparse
import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import AsyncIterator, List, Optional, Tuple, Union
from urllib.parse import parse_qsl, urlsplit

import peer

connections = itertools.count(1)


@dataclass
class Request:
    method: str
    target: str
    version: str
    fields: List[Tuple[str, str]]
    body: bytes = b""

    def field(self, name):
        return peer.field(self.fields, name)

    @property
    def chunked(self):
        return (self.field("transfer-encoding") or "").lower() == "chunked"

    @property
    def keep_alive(self):
        options = (self.field("connection") or "").lower()
        if self.version == "HTTP/1.1":
            return "close" not in options
        return "keep-alive" in options


@dataclass
class Reply:
    status: int
    body: Union[bytes, AsyncIterator[bytes]] = b""
    framing: str = "length"  # length | chunked | close | none
    fields: List[Tuple[str, str]] = field(default_factory=list)
    before: Optional[bytes] = None


def route(request):
    url = urlsplit(request.target)
    query = dict(parse_qsl(url.query))
    if url.path == "/echo":
        framing = query.get("as", "chunked" if request.chunked else "length")
        kind = request.field("content-type") or "application/octet-stream"
        return Reply(200, request.body, framing, [("Content-Type", kind)])
    if url.path == "/sse":
        events = sse(int(query.get("n", 10)), int(query.get("gap_ms", 100)) / 1000)
        return Reply(200, events, "chunked", [("Content-Type", "text/event-stream")])
    if url.path == "/headers":
        line = f"{request.method} {request.target} {request.version}"
        body = json.dumps({"line": line, "fields": request.fields}).encode()
        return Reply(200, body, fields=[("Content-Type", "application/json")])
    if url.path in ("/status/204", "/status/304"):
        return Reply(int(url.path[-3:]), framing="none", fields=[("ETag", '"echo"')])
    if url.path.startswith("/status/"):
        return Reply(int(url.path[8:]), f"{url.path[8:]}\n".encode())
    if url.path == "/close":
        return Reply(200, b"until the end\n", "close", [("Content-Type", "text/plain")])
    if url.path == "/informational":
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </page.css>; rel=preload\r\n\r\n"
        return Reply(200, b"after the hints\n", before=hints)
    return Reply(404, b"no such path\n")


async def sse(count, gap):
    for number in range(count):
        if number:
            await asyncio.sleep(gap)
        yield f"data: {number}\n\n".encode()


async def handle(reader, writer):
    connection = next(connections)
    peer.event("open", connection=connection)
    try:
        while (request := await read_request(reader, writer)) is not None:
            facts = {"method": request.method, "target": request.target}
            facts.update(version=request.version, fields=request.fields, body=len(request.body))
            peer.event("request", connection=connection, **facts)
            if not await write_reply(writer, request, route(request)):
                break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the other side left
    finally:
        writer.close()
        peer.event("close", connection=connection)


async def read_request(reader, writer):
    head = await peer.read_head(reader)
    if head is None:
        return None
    line, fields = head
    request = Request(*line.split(" "), fields)
    if (request.field("expect") or "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if request.chunked:
        while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
            request.body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass  # trailers
    else:
        request.body = await reader.readexactly(int(request.field("content-length") or 0))
    return request


async def write_reply(writer, request, reply):
    """Writes the reply and says whether the connection may be used again."""
    framing = reply.framing
    if framing == "chunked" and request.version == "HTTP/1.0":
        framing = "close"
    keep_alive = request.keep_alive and framing != "close"
    fields = [*reply.fields, ("Connection", "keep-alive" if keep_alive else "close")]
    if framing == "length":
        fields.append(("Content-Length", str(len(reply.body))))
    elif framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
    head = [f"HTTP/1.1 {reply.status} Echo", *(f"{name}: {value}" for name, value in fields)]
    writer.write((reply.before or b"") + "\r\n".join([*head, "", ""]).encode("latin-1"))
    if request.method != "HEAD":
        async for part in parts(reply.body):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if framing == "chunked" else part)
            await writer.drain()
        if framing == "chunked":
            writer.write(b"0\r\n\r\n")
    await writer.drain()
    return keep_alive


async def parts(body):
    if isinstance(body, bytes):
        if body:
            yield body
    else:
        async for part in body:
            yield part


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    peer.serve(handle, parser.parse_args().port)
