"""What a case waits for, and what a connection brings.

A case reads outcomes, each a line of text: "GOAWAY PROTOCOL_ERROR", "RST_STREAM 1 STREAM_CLOSED",
"HEADERS 1 200", "END 1 200", "PONG", "SETTINGS ACK", "closed", "silence". The first that its
`Expected` does not pass over is what it got.
"""

import asyncio
from collections import namedtuple

import http2_wire as wire

# `accept`: the outcomes that are right. `skip`: the first words of those that say nothing.
Expected = namedtuple("Expected", "accept skip ask")
QUIET = ("HEADERS", "END", "DATA", "WINDOW_UPDATE", "SETTINGS")
ASKED = b"are you?"


def dies(*errors):
    """A connection error: GOAWAY with one of these, then the end (RFC 9113 5.4.1)."""
    return Expected([f"GOAWAY {error}" for error in errors], QUIET, False)


def ends(*errors):
    """The same, or an end without GOAWAY, where the RFC lets it be left out."""
    return Expected([f"GOAWAY {error}" for error in errors] + ["closed"], QUIET, False)


def resets(stream, *errors):
    """A stream error, which may be taken for a connection error (5.4.1)."""
    either = [f"RST_STREAM {stream} {error}" for error in errors]
    return Expected(either + [f"GOAWAY {error}" for error in errors], QUIET, False)


def malformed(stream):
    """8.1.1: a stream error of type PROTOCOL_ERROR, or a response of 400 before it."""
    accept = [f"RST_STREAM {stream} PROTOCOL_ERROR", f"END {stream} 400", "GOAWAY PROTOCOL_ERROR"]
    return Expected(accept, ("HEADERS", "DATA", "WINDOW_UPDATE", "SETTINGS"), False)


def answers(stream, status=200):
    """A whole response."""
    skip = ("HEADERS", "DATA", "WINDOW_UPDATE", "SETTINGS")
    return Expected([f"END {stream} {status}"], skip, False)


def lives():
    """Nothing comes of it: a PING behind it is answered, and no stream or connection has ended."""
    return Expected(["PONG"], QUIET, True)


def brings(*outcomes, skip=("WINDOW_UPDATE",)):
    """These."""
    return Expected(list(outcomes), skip, False)


class Outcomes:
    """What a connection brings, one after the other."""

    def __init__(self, connection):
        self.connection = connection
        self.status = {}

    async def first(self, expected, patience):
        """The first outcome that is not passed over."""
        try:
            return await asyncio.wait_for(self.search(expected), patience)
        except asyncio.TimeoutError:
            return "silence"

    async def search(self, expected):
        while True:
            for outcome in await self.next():
                if not outcome.startswith(expected.skip) or outcome in expected.accept:
                    return outcome

    async def next(self):
        try:
            seen = await self.connection.read()
        except wire.Ended as end:
            return [str(end)]
        stream = seen.stream
        if seen.kind == wire.GOAWAY:
            error = wire.error_name(seen.payload[4:])
            return [f"GOAWAY {error}" + await self.until_the_end()]
        if seen.kind == wire.RST_STREAM:
            return [f"RST_STREAM {stream} {wire.error_name(seen.payload)}"]
        if seen.kind == wire.PING:
            return ["PONG" if seen.flags & wire.ACK and seen.payload == ASKED else "PING"]
        if seen.kind == wire.SETTINGS:
            return ["SETTINGS ACK" if seen.flags & wire.ACK else "SETTINGS"]
        outcomes = []
        if seen.kind == wire.HEADERS:
            self.status[stream] = dict(self.connection.fields(seen)).get(":status", "trailers")
            outcomes.append(f"HEADERS {stream} {self.status[stream]}")
        elif seen.kind == wire.DATA:
            outcomes.append(f"DATA {stream} {len(seen.payload)}")
        else:
            return [f"{wire.NAMES[seen.kind]} {stream}"]
        if seen.flags & wire.END_STREAM:
            outcomes.append(f"END {stream} {self.status.get(stream)}")
        return outcomes

    async def until_the_end(self):
        """5.4.1: after GOAWAY "the endpoint MUST close the TCP connection"."""
        while True:
            try:
                await self.connection.read()
            except wire.Ended:
                return ""
