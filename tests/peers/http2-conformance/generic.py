"""What any client may do."""

from case import response, section
from expect import answers, brings, lives
from http2_wire import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, PADDED, PREFACE,
    PRIORITIZED, PRIORITY, TABLE_SIZE, block, data, frame, headers, ping, priority, request, reset,
    settings, u32, window)  # fmt: skip

OK = request(path="/status/200")
POST = request("POST", "/echo")
DONE = END_STREAM | END_HEADERS
BLOCK = block(OK)

case = section("generic/3.4", "RFC 9113 3.4")
case("a preface and empty settings are answered with settings", brings("SETTINGS"),
     PREFACE + settings(), raw=True)
case("the client's settings are acknowledged", brings("SETTINGS ACK", skip=("SETTINGS", "WINDOW")),
     PREFACE + settings((INITIAL_WINDOW, 65535)), raw=True)
case("a request in the packet of the preface", answers(1),
     PREFACE + settings() + headers(1, OK), raw=True)

case = section("generic/5.1", "RFC 9113 5.1")
case("PRIORITY on an idle stream", answers(1), priority(1) + headers(1, OK))
case("PRIORITY on a half-closed stream", lives(),
     headers(1, request(path="/sse?n=99")) + priority(1))
case("WINDOW_UPDATE on a half-closed stream", lives(),
     headers(1, request(path="/sse?n=99")) + window(1, 100))
case("RST_STREAM on a half-closed stream", lives(),
     headers(1, request(path="/sse?n=99")) + reset(1))
case("PRIORITY on a closed stream", lives(), headers(1, OK), response(1), priority(1))
case("WINDOW_UPDATE on a closed stream", lives(), headers(1, OK), response(1), window(1, 100))
case("RST_STREAM on a closed stream", lives(), headers(1, OK), response(1), reset(1))
case("stream numbers may be left out", answers(2**31 - 1), headers(1, OK), response(1),
     headers(2**31 - 1, OK))
case("200 requests, one after the other", answers(401),
     *[step for at in range(1, 401, 2) for step in (headers(at, OK), response(at))],
     headers(401, OK))

case = section("generic/6", "RFC 9113 6.1-6.10")
case("one DATA frame", answers(1), headers(1, POST, 0) + data(1, b"test", END_STREAM))
case("several DATA frames", answers(1),
     headers(1, POST, 0) + data(1, b"te") + data(1, b"st") + data(1, b"", END_STREAM))
case("DATA with padding", answers(1), headers(1, POST, 0)
     + frame(DATA, END_STREAM | PADDED, 1, b"\x06test" + b"\0" * 6))
case("DATA with nothing but padding", answers(1), headers(1, POST, 0)
     + frame(DATA, PADDED, 1, b"\x06" + b"\0" * 6) + data(1, b"test", END_STREAM))
case("HEADERS", answers(1), headers(1, OK))
case("HEADERS with padding", answers(1),
     frame(HEADERS, DONE | PADDED, 1, b"\x08" + BLOCK + b"\0" * 8))
case("HEADERS with a priority", answers(1),
     frame(HEADERS, DONE | PRIORITIZED, 1, u32(0) + b"\xff" + BLOCK))
case("HEADERS with padding and a priority", answers(1),
     frame(HEADERS, DONE | PADDED | PRIORITIZED, 1, b"\x08" + u32(0) + b"\0" + BLOCK + b"\0" * 8))
case("PRIORITY of the lowest weight", answers(1), priority(1, 0, 0) + headers(1, OK))
case("PRIORITY of the highest weight", answers(1), priority(1, 0, 255) + headers(1, OK))
case("PRIORITY, exclusive, on an idle stream", answers(1),
     priority(1, 1 << 31 | 5) + headers(1, OK))
case("RST_STREAM", lives(), headers(1, POST, 0) + reset(1))
case("SETTINGS of all parameters", lives(),
     settings((1, 4096), (2, 0), (3, 100), (4, 65535), (5, 16384), (6, 65536)))
case("PING", brings("PONG"), ping(b"are you?"))
case("GOAWAY: open streams go on", answers(1), headers(1, POST, 0)
     + frame(GOAWAY, 0, 0, u32(0) + u32(0)) + data(1, b"test", END_STREAM))
case("GOAWAY with debug data", answers(1), headers(1, POST, 0)
     + frame(GOAWAY, 0, 0, u32(0) + u32(0) + b"good bye") + data(1, b"test", END_STREAM))
case("WINDOW_UPDATE of the connection", answers(1), window(0, 1) + headers(1, OK))
case("WINDOW_UPDATE of a stream", answers(1),
     headers(1, POST, 0) + window(1, 1) + data(1, b"test", END_STREAM))
case("CONTINUATION", answers(1), frame(HEADERS, END_STREAM, 1, BLOCK[:5])
     + frame(CONTINUATION, END_HEADERS, 1, BLOCK[5:]))
case("several CONTINUATIONs", answers(1), frame(HEADERS, END_STREAM, 1, BLOCK[:2])
     + frame(CONTINUATION, 0, 1, BLOCK[2:9]) + frame(CONTINUATION, END_HEADERS, 1, BLOCK[9:]))
case("an empty HEADERS and an empty CONTINUATION", answers(1), frame(HEADERS, END_STREAM, 1)
     + frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, BLOCK))

case = section("generic/8.1", "RFC 9113 8.1")
case("GET", answers(1), headers(1, OK))
case("HEAD", answers(1), headers(1, request("HEAD", "/status/200")))
case("POST", answers(1), headers(1, POST, 0) + data(1, b"test", END_STREAM))
case("POST with trailers", answers(1),
     headers(1, POST, 0) + data(1, b"test") + headers(1, [("x-test", "ok")]))
case("OPTIONS *", answers(1, 404), headers(1, request("OPTIONS", "*")))
case("no :authority, but Host", answers(1),
     headers(1, request(path="/status/200", authority=None, fields=[("host", "test")])))
case("TE: trailers", answers(1), headers(1, [*OK, ("te", "trailers")]))
case("cookies in crumbs", answers(1), headers(1, [*OK, ("cookie", "a=1"), ("cookie", "b=2")]))
case("a content-length that is right", answers(1),
     headers(1, [*POST, ("content-length", "4")], 0) + data(1, b"test", END_STREAM))

case = section("generic/hpack", "RFC 7541 6.1-6.3")
PSEUDO = b"\x82\x86\x04\x0b/status/200\x01\x04test"
case("an indexed field", answers(1), headers(1, PSEUDO + b"\x90"))
case("a literal with indexing", answers(1), headers(1, PSEUDO + b"\x40\x01x\x01y"))
case("a literal with indexing, name by index", answers(1), headers(1, PSEUDO + b"\x7a\x02me"))
case("a literal without indexing", answers(1), headers(1, PSEUDO + b"\x00\x01x\x01y"))
case("a literal without indexing, name by index", answers(1),
     headers(1, PSEUDO + b"\x0f\x2b\x02me"))
case("a literal never indexed", answers(1), headers(1, PSEUDO + b"\x10\x01x\x01y"))
case("a literal never indexed, name by index", answers(1), headers(1, PSEUDO + b"\x1f\x2b\x02me"))
case("Huffman codes", answers(1),
     headers(1, PSEUDO + b"\x40\x01x\x8c\xf1\xe3\xc2\xe5\xf2:k\xa0\xab\x90\xf4\xff"))
case("an entry of the dynamic table", answers(3), headers(1, PSEUDO + b"\x40\x01x\x01y"),
     response(1), headers(3, PSEUDO + b"\xbe"))
case("a dynamic table of size 0", answers(1), headers(1, b"\x20" + PSEUDO + b"\x40\x01x\x01y"))
case("two size updates in a row", answers(1), headers(1, b"\x20\x3f\xe1\x1f" + PSEUDO))
case("an integer of several octets", answers(1),
     headers(1, PSEUDO + b"\x00\x01x\x7f\x00" + b"y" * 127))
case("our table is as large as the client says: 0", answers(1), headers(1, OK),
     settings=((TABLE_SIZE, 0),))
