"""Python's http.client speaks plain HTTP/1.1 through the proxy to echo.py.

It proves that a client library that knows nothing of streams keeps its connection from request to
request, whatever the framing of body and answer, and can read a stream event by event.

    python3 http-client.py PROXY_URL [--deadline 30]

Prints {"requests":…,"events":…,"span_ms":…}: `requests` on one connection; `span_ms` is the time
from the first event to the last of a stream that takes 900 ms.
"""

import http.client
import json
import time
from urllib.parse import urlsplit

import peer
from peer import expect

BODY = bytes(range(256)) * 300  # more than one read
EVENTS, GAP_MS = 10, 100


class Connection:
    """One client connection that must stay the same one; it counts its requests."""

    def __init__(self, address):
        self.http = http.client.HTTPConnection(address)
        self.http.connect()
        self.socket = self.http.sock
        self.requests = 0

    def ask(self, method, target, **more):
        self.http.request(method, target, **more)
        self.requests += 1
        expect(self.http.sock is self.socket, f"{method} {target} needed another connection")
        return self.http.getresponse()

    def read(self, method, target, status=200, **more):
        answer = self.ask(method, target, **more)
        expect(answer.status == status, f"{method} {target}: {answer.status}, not {status}")
        expect(answer.version == 11, f"{method} {target}: the answer is not HTTP/1.1")
        return answer.read()


def main(options):
    connection = Connection(urlsplit(options.proxy_url).netloc)
    keeps_its_connection(connection)
    bodies_come_back(connection)
    answers_without_a_body(connection)
    span = events_arrive_one_by_one(connection)
    expect(connection.read("GET", "/close") == b"until the end\n", "/close: another body")
    return {"requests": connection.requests, "events": EVENTS, "span_ms": round(span * 1000)}


def keeps_its_connection(connection):
    for attempt in ("first", "second"):
        seen = json.loads(connection.read("GET", f"/headers?{attempt}", headers={"X-Peer": "here"}))
        line, fields = seen["line"], {name.lower(): value for name, value in seen["fields"]}
        expect(line == f"GET /headers?{attempt} HTTP/1.1", f"the upstream saw {line!r}")
        expect(fields.get("x-peer") == "here", f"the upstream saw {fields}")


def bodies_come_back(connection):
    def pieces():
        for start in range(0, len(BODY), 1000):
            yield BODY[start : start + 1000]

    for framing in ("length", "chunked"):
        target = f"/echo?as={framing}"
        sized = connection.read("POST", target, body=BODY)
        expect(sized == BODY, f"POST {target} with a length: {len(sized)} of {len(BODY)} bytes")
        chunked = connection.read("POST", target, body=pieces(), encode_chunked=True)
        expect(chunked == BODY, f"POST {target} in chunks: {len(chunked)} of {len(BODY)} bytes")
        expect(connection.read("POST", target, body=b"") == b"", f"POST {target} without a body")


def answers_without_a_body(connection):
    """After each of them the next answer must be found where it begins."""
    cases = [("HEAD", "/headers", 200), ("HEAD", "/echo?as=chunked", 200)]
    for method in ("GET", "HEAD"):
        cases += [(method, "/status/204", 204), (method, "/status/304", 304)]
    for method, target, status in cases:
        body = connection.read(method, target, status)
        expect(body == b"", f"{method} {target}: a body of {len(body)} bytes")
    expect(connection.read("GET", "/status/404", 404) == b"404\n", "the answer after them")


def events_arrive_one_by_one(connection):
    answer = connection.ask("GET", f"/sse?n={EVENTS}&gap_ms={GAP_MS}")
    kind = answer.getheader("Content-Type")
    expect(kind == "text/event-stream", f"/sse: the type is {kind}")
    events, moments = [], []
    while line := answer.readline():
        if line.startswith(b"data: "):
            events.append(int(line[6:]))
            moments.append(time.monotonic())
    expect(events == list(range(EVENTS)), f"/sse: the events are {events}")
    gaps = [round((later - at) * 1000) for at, later in zip(moments, moments[1:])]
    expect(min(gaps) >= GAP_MS / 4, f"/sse: events came together; ms between them: {gaps}")
    return moments[-1] - moments[0]


parser = peer.arguments(__doc__, "PROXY_URL")
peer.client(main, parser.parse_args())
