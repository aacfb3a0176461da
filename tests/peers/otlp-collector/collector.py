"""Takes spans by OTLP over HTTP, decoded by the messages that OpenTelemetry publishes.

    python collector.py [--port 0]

Told by lines on stdin, each answered by {"event":"told","line":…}:

    status N        what it answers from now on, 200 at first; then it has taken the spans
    delay SECONDS   how long it thinks before it answers, 0 at first

Prints {"event":"request","line":…,"type":…,"agent":…,"spans":N} for each request as it comes, and
{"event":"span",…} for each span of one that it has taken: ids in hexadecimal digits, times in
nanoseconds, attributes and resource as objects.
"""

import argparse
import json
import os
import pathlib
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

sys.path.append(str(pathlib.Path(__file__).parent.parent))
import peer  # noqa: E402

orders = {"status": 200, "delay": 0.0}
printing = threading.Lock()


def event(name, **facts):
    with printing:
        peer.event(name, **facts)


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(pairs):
    names = [pair.key for pair in pairs]
    assert len(names) == len(set(names)), f"attributes are not unique: {names}"
    return {pair.key: value(pair.value) for pair in pairs}


def facts(span, resource, scope):
    assert (len(span.trace_id), len(span.span_id)) == (16, 8), "ids have 16 and 8 bytes"
    return {
        "trace": span.trace_id.hex(),
        "span": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "flags": span.flags,
        "title": span.name,
        "kind": Span.SpanKind.Name(span.kind),
        "start": span.start_time_unix_nano,
        "end": span.end_time_unix_nano,
        "attributes": attributes(span.attributes),
        "events": [
            {"name": e.name, "at": e.time_unix_nano, "attributes": attributes(e.attributes)}
            for e in span.events
        ],
        "status": Status.StatusCode.Name(span.status.code),
        "message": span.status.message,
        "resource": attributes(resource.attributes),
        "scope": scope.name,
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(body)
        spans = [
            facts(span, of_resource.resource, of_scope.scope)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        # As it was when the request was told of: who hears of it may say something else.
        status, delay = orders["status"], orders["delay"]
        event(
            "request",
            line=self.requestline,
            type=self.headers["content-type"],
            agent=self.headers["user-agent"],
            spans=len(spans),
        )
        time.sleep(delay)
        if status == 200:
            for span in spans:
                event("span", **span)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def listen_to_stdin():
    for line in sys.stdin:
        line = line.strip()
        name, _, number = line.partition(" ")
        orders[name] = type(orders[name])(number)
        event("told", line=line)
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    server.daemon_threads = True
    print("listening", server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listen_to_stdin()
