"""What a client must not do, and what a server makes of it (RFC 9113)."""

import asyncio

import http2_wire as wire
from case import response, section, until
from expect import answers, brings, dies, ends, lives, malformed, resets
from http2_wire import (
    ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW,
    MAX_FRAME, PADDED, PING, PREFACE, PRIORITY, PRIORITIZED, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, data, frame, headers, ping, priority, request, reset, settings, u32,
    window)  # fmt: skip

OK = request(path="/status/200")
POST = request("POST", "/echo")
STREAM = headers(1, request(path="/sse?n=99"))  # half-closed by the client, open from us
BLOCK = block(OK)
MOST = 2**31 - 1

case = section("http2/3.4", "RFC 9113 3.4")
case("a preface that is none", ends("PROTOCOL_ERROR"),
     b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", raw=True)
case("no SETTINGS behind the preface", dies("PROTOCOL_ERROR"),
     PREFACE + ping(b"are you?"), raw=True,
     instead=("PONG", "h2 does not look at which frame is the first; each is judged as ever"))

case = section("http2/4.1", "RFC 9113 4.1")
case("a frame of unknown type is ignored", lives(), frame(0x16, 0, 0, b"\0" * 8))
case("a frame of unknown type on a stream", answers(1), frame(0xFF, 0xFF, 1, b"?") + headers(1, OK))
case("undefined flags are ignored", brings("PONG"), ping(b"are you?", flags=0xFE))
case("the reserved bit is ignored", brings("PONG"), ping(b"are you?", stream=1 << 31))

case = section("http2/4.2", "RFC 9113 4.2")
case("DATA of 2^14 octets", answers(1), headers(1, POST, 0) + data(1, b"x" * 2**14, END_STREAM))
case("DATA of more", resets(1, "FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + data(1, b"x" * (2**14 + 1), END_STREAM))
case("HEADERS of more", dies("FRAME_SIZE_ERROR"), headers(1, BLOCK + b"\0" * 2**14))
case("SETTINGS of more", dies("FRAME_SIZE_ERROR"), settings(*[(99, 0)] * 2731))
case("a frame of unknown type of more", dies("FRAME_SIZE_ERROR"),
     frame(0x16, 0, 0, b"\0" * (2**14 + 1)))

case = section("http2/4.3", "RFC 9113 4.3")
case("a block that cannot be decompressed", dies("COMPRESSION_ERROR"), headers(1, BLOCK + b"\xff"))
for kind, what in enumerate(wire.NAMES):
    if kind not in (CONTINUATION, PUSH_PROMISE):
        case(f"{what} within a block of fields", dies("PROTOCOL_ERROR"),
             frame(HEADERS, END_STREAM, 1, BLOCK[:3])
             + {DATA: data(1, b"x"), HEADERS: headers(3, OK), PRIORITY: priority(1),
                RST_STREAM: reset(1), SETTINGS: settings(), PING: ping(),
                WINDOW_UPDATE: window(1, 1), GOAWAY: frame(GOAWAY, 0, 0, b"\0" * 8)}[kind])
case("a frame of unknown type within a block of fields", dies("PROTOCOL_ERROR"),
     frame(HEADERS, END_STREAM, 1, BLOCK[:3]) + frame(0xFF, 0, 1, b"?"))

case = section("http2/5.1", "RFC 9113 5.1")
case("idle: DATA", dies("PROTOCOL_ERROR"), data(1, b"x", END_STREAM))
case("idle: RST_STREAM", dies("PROTOCOL_ERROR"), reset(1))
case("idle: WINDOW_UPDATE", dies("PROTOCOL_ERROR"), window(1, 100))
case("idle: CONTINUATION", dies("PROTOCOL_ERROR"), frame(CONTINUATION, END_HEADERS, 1, BLOCK))
case("half-closed: DATA", resets(1, "STREAM_CLOSED"), STREAM + data(1, b"x"))
case("half-closed: HEADERS", resets(1, "STREAM_CLOSED"), STREAM + headers(1, OK))
case("half-closed: CONTINUATION", resets(1, "STREAM_CLOSED", "PROTOCOL_ERROR"),
     STREAM + frame(CONTINUATION, END_HEADERS, 1, BLOCK))
case("closed by RST_STREAM: DATA", resets(1, "STREAM_CLOSED"),
     headers(1, POST, 0) + reset(1) + data(1, b"x", END_STREAM))
case("closed by RST_STREAM: HEADERS", resets(1, "STREAM_CLOSED"),
     headers(1, POST, 0) + reset(1) + headers(1, OK))
case("closed by RST_STREAM: CONTINUATION", resets(1, "STREAM_CLOSED", "PROTOCOL_ERROR"),
     headers(1, POST, 0) + reset(1) + frame(CONTINUATION, END_HEADERS, 1, BLOCK))
case("closed: DATA", resets(1, "STREAM_CLOSED"), headers(1, OK), response(1), data(1, b"x"))
case("closed: HEADERS", resets(1, "STREAM_CLOSED", "PROTOCOL_ERROR"), headers(1, OK), response(1),
     headers(1, OK))
case("closed: CONTINUATION", resets(1, "STREAM_CLOSED", "PROTOCOL_ERROR"), headers(1, OK),
     response(1), frame(CONTINUATION, END_HEADERS, 1, BLOCK))

case = section("http2/5.1.1", "RFC 9113 5.1.1")
case("an even number", dies("PROTOCOL_ERROR"), headers(2, OK))
case("number 0", dies("PROTOCOL_ERROR"), headers(0, OK))
case("a number lower than an earlier one", dies("PROTOCOL_ERROR", "STREAM_CLOSED"),
     headers(5, request(path="/sse?n=99")) + headers(3, OK))

case = section("http2/5.1.2", "RFC 9113 5.1.2")


async def one_too_many(connection):
    most = connection.settings[wire.MAX_STREAMS]
    heads = [headers(2 * number + 1, POST, 0) for number in range(most + 1)]
    await connection.send(b"".join(heads))
    while True:
        seen = await connection.read()
        if seen.kind in (RST_STREAM, GOAWAY):
            which = "last" if seen.stream == 2 * most + 1 else seen.stream
            return f"RST_STREAM {which} {wire.error_name(seen.payload)}"


case("more streams than were allowed", brings("RST_STREAM last REFUSED_STREAM",
     "RST_STREAM last PROTOCOL_ERROR"), one_too_many)

case = section("http2/5.4-5.5", "RFC 9113 5.4-5.5")
case("after a connection error the connection is closed", dies("PROTOCOL_ERROR"), data(1, b"x"))
case("after a stream error the others go on", answers(3),
     headers(1, [*POST, ("connection", "close")], 0), until(RST_STREAM, 1), headers(3, OK))
case("settings of unknown parameters", lives(), settings((0xFF, 1), (0x4D44, 2**32 - 1)))

case = section("http2/6.1", "RFC 9113 6.1")
case("DATA on stream 0", dies("PROTOCOL_ERROR"), data(0, b"x"))
case("padding longer than the frame", dies("PROTOCOL_ERROR"),
     headers(1, POST, 0) + frame(DATA, END_STREAM | PADDED, 1, b"\x06test"))
case("padding as long as the frame", dies("PROTOCOL_ERROR"),
     headers(1, POST, 0) + frame(DATA, END_STREAM | PADDED, 1, b"\x05test"))
case("padded and empty", dies("PROTOCOL_ERROR", "FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + frame(DATA, END_STREAM | PADDED, 1))

case = section("http2/6.2", "RFC 9113 6.2")
case("HEADERS on stream 0", dies("PROTOCOL_ERROR"), headers(0, OK))
case("HEADERS of another stream within a block", dies("PROTOCOL_ERROR"),
     frame(HEADERS, END_STREAM, 1, BLOCK) + headers(3, OK))
case("padding longer than the frame", dies("PROTOCOL_ERROR"),
     frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + BLOCK))
case("padded and empty", dies("PROTOCOL_ERROR", "FRAME_SIZE_ERROR"),
     frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1))
case("a priority that is cut off", dies("PROTOCOL_ERROR", "FRAME_SIZE_ERROR"),
     frame(HEADERS, END_STREAM | END_HEADERS | PRIORITIZED, 1, b"\0\0\0"))

case = section("http2/6.3", "RFC 9113 6.3")
case("PRIORITY on stream 0", dies("PROTOCOL_ERROR"), priority(0))
case("PRIORITY of 4 octets", resets(1, "FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + frame(PRIORITY, 0, 1, b"\x80\0\0\1"))
case("PRIORITY of 6 octets", resets(1, "FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + frame(PRIORITY, 0, 1, b"\x80\0\0\1\0\0"))

case = section("http2/6.4", "RFC 9113 6.4")
case("RST_STREAM on stream 0", dies("PROTOCOL_ERROR"), reset(0))
case("RST_STREAM on an idle stream", dies("PROTOCOL_ERROR"), headers(1, OK) + reset(5))
case("RST_STREAM of 3 octets", dies("FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + frame(RST_STREAM, 0, 1, b"\0\0\0"))
case("RST_STREAM of 5 octets", dies("FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + frame(RST_STREAM, 0, 1, b"\0" * 5))

case = section("http2/6.5", "RFC 9113 6.5")
case("an acknowledgement with a payload", dies("FRAME_SIZE_ERROR"), settings((3, 1), flags=ACK))
case("SETTINGS on a stream", dies("PROTOCOL_ERROR"), settings((3, 1), stream=1))
case("SETTINGS of 5 octets", dies("FRAME_SIZE_ERROR"), frame(SETTINGS, 0, 0, b"\0\3\0\0\0"))

case = section("http2/6.5.2", "RFC 9113 6.5.2")
case("ENABLE_PUSH of 2", dies("PROTOCOL_ERROR"), settings((ENABLE_PUSH, 2)))
case("INITIAL_WINDOW_SIZE of 2^31", dies("FLOW_CONTROL_ERROR"), settings((INITIAL_WINDOW, 2**31)))
case("INITIAL_WINDOW_SIZE of 2^31-1", lives(), settings((INITIAL_WINDOW, MOST)))
case("MAX_FRAME_SIZE below 2^14", dies("PROTOCOL_ERROR"), settings((MAX_FRAME, 2**14 - 1)))
case("MAX_FRAME_SIZE above 2^24-1", dies("PROTOCOL_ERROR"), settings((MAX_FRAME, 2**24)))
case("MAX_FRAME_SIZE of 2^24-1", lives(), settings((MAX_FRAME, 2**24 - 1)))

case = section("http2/6.5.3", "RFC 9113 6.5.3")
case("the last value of several counts", brings("DATA 1 1", skip=("HEADERS", "SETTINGS", "WINDOW")),
     settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)) + headers(1, OK))
case("each SETTINGS is acknowledged", brings("SETTINGS ACK"), settings((INITIAL_WINDOW, 7)))

case = section("http2/6.6", "RFC 9113 6.6, 8.4")
case("PUSH_PROMISE from a client", dies("PROTOCOL_ERROR"),
     headers(1, POST, 0) + frame(PUSH_PROMISE, END_HEADERS, 1, u32(3) + BLOCK))

case = section("http2/6.7", "RFC 9113 6.7")
case("a PING is answered with its payload", brings("PONG"), ping(b"are you?"))
case("an acknowledgement is not answered", lives(), ping(b"nobody's", flags=ACK))
case("PING on a stream", dies("PROTOCOL_ERROR"), ping(stream=1))
case("PING of 6 octets", dies("FRAME_SIZE_ERROR"), frame(PING, 0, 0, b"\0" * 6))
case("PING of 9 octets", dies("FRAME_SIZE_ERROR"), frame(PING, 0, 0, b"\0" * 9))

case = section("http2/6.8", "RFC 9113 6.8")
case("GOAWAY on a stream", dies("PROTOCOL_ERROR"), frame(GOAWAY, 0, 1, b"\0" * 8))
case("GOAWAY of 7 octets", dies("FRAME_SIZE_ERROR"), frame(GOAWAY, 0, 0, b"\0" * 7))

case = section("http2/6.9", "RFC 9113 6.9")
case("no increment, connection", dies("PROTOCOL_ERROR"), window(0, 0))
case("no increment, stream", resets(1, "PROTOCOL_ERROR"), headers(1, POST, 0) + window(1, 0))
case("WINDOW_UPDATE of 3 octets, connection", dies("FRAME_SIZE_ERROR"),
     frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"))
case("WINDOW_UPDATE of 5 octets, stream", dies("FRAME_SIZE_ERROR"),
     headers(1, POST, 0) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1\0"))
case("the reserved bit is ignored", lives(), frame(WINDOW_UPDATE, 0, 0, u32(1 << 31 | 1)))

case = section("http2/6.9.1", "RFC 9113 6.9.1")
NARROW = {"settings": ((INITIAL_WINDOW, 1),)}
DRIBBLE = {"skip": ("HEADERS", "SETTINGS", "WINDOW_UPDATE")}
case("no more DATA than the window", brings("DATA 1 1", **DRIBBLE), headers(1, OK), **NARROW)
case("more windows, more DATA", brings("DATA 1 3", skip=("HEADERS", "DATA 1 1", "SETTINGS")),
     headers(1, OK), until(DATA, 1), window(1, 3), **NARROW)
case("above 2^31-1, connection", dies("FLOW_CONTROL_ERROR"), window(0, MOST) + window(0, MOST))
case("above 2^31-1, stream", resets(1, "FLOW_CONTROL_ERROR"),
     headers(1, POST, 0) + window(1, MOST) + window(1, MOST))
case("DATA beyond the windows", resets(1, "FLOW_CONTROL_ERROR"),
     headers(1, request("POST", "/echo", [("content-length", "99999999")]), 0)
     + data(1, b"x" * 2**14) * 512)

case = section("http2/6.9.2", "RFC 9113 6.9.2")
case("INITIAL_WINDOW_SIZE grows those of open streams",
     brings("DATA 1 2", skip=("HEADERS", "DATA 1 1", "SETTINGS")),
     headers(1, OK), until(DATA, 1), settings((INITIAL_WINDOW, 3)), **NARROW)


async def negative(connection):
    """Of a window of 3 two octets are used; it is made 1, which is -1, and grows by 2."""
    await connection.send(headers(1, OK))
    seen = 0
    while seen < 3:
        got = await connection.read()
        seen += len(got.payload) if got.kind == DATA else 0
    await connection.send(settings((INITIAL_WINDOW, 1)) + window(1, 2) + ping())
    while (got := await connection.read()).kind != PING:
        if got.kind == DATA:
            return "DATA too soon"
    await connection.send(window(1, 1))
    while (got := await connection.read()).kind != DATA:
        await asyncio.sleep(0)
    return f"DATA {len(got.payload)}"


case("a window may be negative", brings("DATA 1"), negative, settings=((INITIAL_WINDOW, 3),))
case("INITIAL_WINDOW_SIZE makes a window too large", dies("FLOW_CONTROL_ERROR"),
     headers(1, POST, 0) + window(1, 2) + settings((INITIAL_WINDOW, MOST)))

case = section("http2/6.10", "RFC 9113 6.10")
OPEN = frame(HEADERS, END_STREAM, 1, BLOCK[:3])
case("CONTINUATION behind END_HEADERS", dies("PROTOCOL_ERROR"),
     headers(1, POST, 0) + frame(CONTINUATION, END_HEADERS, 1, block([("x", "y")])))
case("CONTINUATION behind the END_HEADERS of another", dies("PROTOCOL_ERROR"),
     OPEN + frame(CONTINUATION, END_HEADERS, 1, BLOCK[3:])
     + frame(CONTINUATION, END_HEADERS, 1, b""))
case("CONTINUATION on stream 0", dies("PROTOCOL_ERROR"),
     OPEN + frame(CONTINUATION, END_HEADERS, 0, BLOCK[3:]))
case("CONTINUATION on another stream", dies("PROTOCOL_ERROR"),
     OPEN + frame(CONTINUATION, END_HEADERS, 3, BLOCK[3:]))
case("CONTINUATION behind DATA", dies("PROTOCOL_ERROR"),
     headers(1, POST, 0) + data(1, b"x") + frame(CONTINUATION, END_HEADERS, 1, b""))

case = section("http2/7", "RFC 9113 7")
case("RST_STREAM with an unknown code", lives(),
     headers(1, POST, 0) + frame(RST_STREAM, 0, 1, u32(0xFF)))
case("GOAWAY with an unknown code", answers(1), headers(1, POST, 0)
     + frame(GOAWAY, 0, 0, u32(0) + u32(0xFF)) + data(1, b"test", END_STREAM))

case = section("http2/8.1", "RFC 9113 8.1")
case("a second HEADERS that does not end the stream", malformed(1),
     headers(1, POST, 0) + data(1, b"x") + headers(1, [("x", "y")], 0))
case("pseudo-headers in trailers", malformed(1),
     headers(1, POST, 0) + data(1, b"x") + headers(1, [(":method", "GET")]),
     instead=("END 1 200", "h2 drops them from the trailers, and nobody sees them"))

case = section("http2/8.1.1", "RFC 9113 8.1.1")
for length, pieces in (("1", 1), ("9", 1), ("3", 2), ("9", 2), ("0", 1)):
    case(f"content-length of {length}, {2 * pieces} octets in {pieces} DATA", malformed(1),
         headers(1, [*POST, ("content-length", length)], 0) + data(1, b"te") * (pieces - 1)
         + data(1, b"te", END_STREAM))
case("content-length of 4, no DATA", malformed(1), headers(1, [*POST, ("content-length", "4")]))
case("content-length twice, different", malformed(1),
     headers(1, [*POST, ("content-length", "4"), ("content-length", "5")], 0))

case = section("http2/8.2.1", "RFC 9113 8.2.1")
for name, value, what in (
    ("X-Test", "ok", "an upper-case name"), ("x test", "y", "a space in a name"),
    ("x\x7f", "y", "DEL in a name"), ("x:y", "z", "a colon in a name"), ("", "y", "an empty name"),
    ("x", "a\0b", "NUL in a value"), ("x", "a\r\nb: c", "CR LF in a value"),
    ("x", "a\nb", "LF in a value"), ("x", "a\rb", "CR in a value"),
    ("x", " a", "a value that begins with a space"), ("x", "a\t", "a value that ends with a tab"),
):  # fmt: skip
    literal = [b"\0", *(bytes([len(part)]) + part.encode() for part in (name, value))]
    trimmed = ("END 1 200", "the spaces are taken off, as in HTTP/1.1, and not passed on")
    case(what, malformed(1), headers(1, BLOCK + b"".join(literal)),
         instead=trimmed if value.strip(" \t") != value else None)

case = section("http2/8.2.2", "RFC 9113 8.2.2")
for name, value in (("connection", "keep-alive"), ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked"),
                    ("upgrade", "h2c"), ("te", "trailers, deflate"), ("te", "gzip")):  # fmt: skip
    case(f"{name}: {value}", malformed(1), headers(1, [*OK, (name, value)]))

case = section("http2/8.3", "RFC 9113 8.3")
case("an unknown pseudo-header", malformed(1), headers(1, [(":test", "ok"), *OK]))
case("a pseudo-header of responses", malformed(1), headers(1, [*OK, (":status", "200")]))
case("a pseudo-header behind a field", malformed(1), headers(1, [OK[0], ("x", "y"), *OK[1:]]))
for pair in OK:
    case(f"{pair[0]} twice", malformed(1), headers(1, [pair, *OK]))

case = section("http2/8.3.1", "RFC 9113 8.3.1")
case("an empty :path", malformed(1), headers(1, request(path="")))
case("a :path without a slash", malformed(1), headers(1, request(path="status/200")))
case("a :path with a scheme", malformed(1), headers(1, request(path="http://other/status/200")))
case("no :method", malformed(1), headers(1, request(None)))
case("no :scheme", malformed(1), headers(1, request(scheme=None)))
case("no :path", malformed(1), headers(1, request(path=None)))
case("nothing but :path", malformed(1), headers(1, [(":path", "/")]))
case("no field at all", malformed(1), headers(1, []))
case(":authority with a user", malformed(1), headers(1, request(authority="me@test")))
case(":authority and Host differ", malformed(1), headers(1, request(fields=[("host", "other")])))

case = section("http2/8.5", "RFC 9113 8.5")
CONNECT = [(":method", "CONNECT"), (":authority", "test:443")]
case("CONNECT is refused with a status", answers(1, 405), headers(1, CONNECT, 0))
case("CONNECT with :path", malformed(1), headers(1, [*CONNECT, (":path", "/")]))
case("CONNECT with :scheme", malformed(1), headers(1, [*CONNECT, (":scheme", "https")]))
case("CONNECT without :authority", malformed(1), headers(1, CONNECT[:1]))

case = section("http2/8441", "RFC 8441 3-4")
case(":protocol without CONNECT", malformed(1), headers(1, [*OK, (":protocol", "websocket")]))
