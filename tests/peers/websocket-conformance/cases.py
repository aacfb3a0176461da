"""The table: what a client sends, and what RFC 6455 and RFC 7692 say must come of it.

A case is data. Its `steps` are frames, raw bytes and the few words below; `echo` and `pongs` are
what an echo server must answer. `fails` names the close codes with which the RFC lets an end fail
the connection; `lenient` is the section by which a proxy may fail a case that a server lets pass.
"""

import random
import zlib
from dataclasses import dataclass, field, replace
from typing import List, Optional, Tuple

from frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Deflate, Frame, close_payload

KIB, MIB = 1024, 1024 * 1024
LIMIT = 16 * MIB

# Words among the steps.
FIN = "fin"  # the client half-closes
RESET = "reset"  # the client cuts the connection
SERVER_CLOSE = "server-close"  # wait for the server's close frame, without answering it


@dataclass(frozen=True)
class Case:
    group: str
    name: str
    section: str
    steps: List[object]
    echo: List[Tuple[int, bytes]] = field(default_factory=list)
    pongs: List[bytes] = field(default_factory=list)
    fails: Tuple[int, ...] = ()
    lenient: Optional[str] = None
    cut: object = "frames"  # frames | whole | bytes | (offset, …) within each frame
    offer: str = ""  # Sec-WebSocket-Extensions
    early: bool = False  # the first write goes with the handshake
    request: Optional[dict] = None  # what is other than usual about the handshake
    abrupt: bool = False  # an end vanishes: there is no last word that must be heard
    server_ends: bool = False  # the server begins the closing handshake
    quick: bool = False

    @property
    def id(self):
        return f"{self.group}/{self.name}"

    @property
    def sends_close(self):
        return any(isinstance(step, Frame) and step.opcode == CLOSE for step in self.steps)


def table():
    """All cases, in order; their names are unique."""
    groups = [
        framing,
        control,
        reserved,
        fragmentation,
        utf8,
        close,
        limits,
        deflate,
        server,
        upstream,
        handshake,
    ]
    cases = [case for group in groups for case in group()]
    names = [case.id for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    assert not twice, twice
    quick = {name for group in {case.group for case in cases} for name in sample(cases, group)}
    return [replace(case, quick=case.id in quick) for case in cases]


def sample(cases, group):
    """Four of a group, spread over it, for a short run."""
    ids = [case.id for case in cases if case.group == group]
    return [ids[index * (len(ids) - 1) // 3] for index in range(4)]


def noise(length, seed=1):
    return (
        random.Random(f"{length} {seed}").getrandbits(8 * length).to_bytes(length, "big")
        if length
        else b""
    )


def text(length, seed=1):
    return bytes(97 + byte % 26 for byte in noise(length, seed))


def content(opcode, length):
    return text(length) if opcode == TEXT else noise(length)


NAMES = {
    CONTINUATION: "continuation",
    TEXT: "text",
    BINARY: "binary",
    CLOSE: "close",
    PING: "ping",
    PONG: "pong",
}
BYE = Frame(CLOSE, close_payload(1000))
HELLO = Frame(TEXT, b"hello")
COMPRESSED = "permessage-deflate; client_max_window_bits"


def framing():
    def one(name, frame, section="5.2", **more):
        payload = frame.payload
        return Case("framing", name, section, [frame], [(frame.opcode, payload)], **more)

    for opcode in (TEXT, BINARY):
        kind = NAMES[opcode]
        lengths = [
            0,
            1,
            2,
            124,
            125,
            126,
            127,
            128,
            255,
            256,
            65534,
            65535,
            65536,
            65537,
            131072,
            MIB,
        ]
        for length in lengths:
            yield one(f"{kind}-{length}", Frame(opcode, content(opcode, length)))
        for length in (0, 1, 125, 126, 127, 1000):
            yield one(
                f"{kind}-{length}-bytewise", Frame(opcode, content(opcode, length)), cut="bytes"
            )
    for length, head in ((5, 6), (126, 8), (65536, 14)):
        frame = Frame(BINARY, noise(length))
        for at in range(1, head + 2):
            yield one(f"binary-{length}-cut-{at}", frame, cut=(at,))
    for mask in (bytes(4), b"\xff" * 4, b"\x00\x01\x02\x03", b"\x80\x00\x00\x00"):
        yield one(f"mask-{mask.hex()}", Frame(TEXT, b"masked in many ways", mask=mask), "5.3")
    for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
        payload = close_payload(1000) if opcode == CLOSE else b"bare"
        frame = Frame(opcode, payload, mask=None)
        yield Case("framing", f"unmasked-{NAMES[opcode]}", "5.1", [frame], fails=(1002,))
    yield Case(
        "framing",
        "unmasked-after-masked",
        "5.1",
        [HELLO, Frame(TEXT, b"bare", mask=None)],
        [(TEXT, b"hello")],
        fails=(1002,),
    )
    for length, form in ((0, 16), (1, 16), (125, 16), (0, 64), (125, 64), (126, 64), (65535, 64)):
        frame = Frame(BINARY, noise(length), form=form)
        yield one(f"length-{length}-in-{form}-bits", frame, lenient="6455 5.2 (minimal length)")
    many = [Frame(TEXT, text(number % 130, number)) for number in range(200)]
    echoes = [(TEXT, frame.payload) for frame in many]
    for cut in ("whole", "frames"):
        yield Case("framing", f"200-messages-{cut}", "5.2", many, echoes, cut=cut)
    yield Case("framing", "20-messages-bytewise", "5.2", many[:20], echoes[:20], cut="bytes")


def control():
    def ping(name, payload, section="5.5.2", **more):
        return Case("control", name, section, [Frame(PING, payload)], pongs=[payload], **more)

    for length in (0, 1, 2, 124, 125):
        yield ping(f"ping-{length}", noise(length))
        yield Case(
            "control",
            f"pong-{length}",
            "5.5.3",
            [Frame(PONG, noise(length)), HELLO],
            [(TEXT, b"hello")],
        )
    for length in (0, 1, 125):
        yield ping(f"ping-{length}-bytewise", noise(length), cut="bytes")
    for at in range(1, 7):
        yield ping(f"ping-4-cut-{at}", b"four", cut=(at,))
    yield ping("ping-not-utf8", b"\xff\xfe\x80")
    for number in (2, 10):
        pings = [Frame(PING, b"%d" % index) for index in range(number)]
        payloads = [frame.payload for frame in pings]
        yield Case("control", f"{number}-pings", "5.5.3", pings, pongs=payloads)
        yield Case(
            "control", f"{number}-pings-in-one-write", "5.5.3", pings, pongs=payloads, cut="whole"
        )
    yield Case(
        "control",
        "pings-between-messages",
        "5.5.2",
        [HELLO, Frame(PING, b"a"), Frame(BINARY, noise(70000)), Frame(PING, b"b"), HELLO],
        [(TEXT, b"hello"), (BINARY, noise(70000)), (TEXT, b"hello")],
        [b"a", b"b"],
    )
    yield Case(
        "control",
        "pong-to-no-ping-then-ping",
        "5.5.3",
        [Frame(PONG, b"?"), Frame(PING, b"!")],
        pongs=[b"!"],
    )
    for opcode in (PING, PONG, CLOSE):
        kind = NAMES[opcode]
        start = close_payload(1000) if opcode == CLOSE else b""
        for length in (126, 127, 65535, 65536):
            frame = Frame(opcode, start + text(length - len(start)))
            yield Case("control", f"{kind}-of-{length}", "5.5", [frame], fails=(1002,))
        yield Case(
            "control", f"{kind}-fragmented", "5.5", [Frame(opcode, start, fin=False)], fails=(1002,)
        )
        fragments = [Frame(opcode, start, fin=False), Frame(CONTINUATION, b"")]
        yield Case("control", f"{kind}-fragmented-and-continued", "5.5", fragments, fails=(1002,))
    for opcode in (PING, PONG):
        for form in (16, 64):
            yield Case(
                "control",
                f"{NAMES[opcode]}-length-5-in-{form}-bits",
                "5.5",
                [Frame(opcode, b"short", form=form), HELLO],
                [(TEXT, b"hello")],
                [b"short"] if opcode == PING else [],
                lenient="6455 5.2 (minimal length)",
            )


def reserved():
    bits = {CLOSE: close_payload(1000)}
    for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
        for rsv in range(1, 8):
            frame = Frame(opcode, bits.get(opcode, b"bits"), rsv=rsv)
            yield Case("reserved", f"rsv-{rsv:03b}-{NAMES[opcode]}", "5.2", [frame], fails=(1002,))
    for rsv in (1, 2, 4, 7):
        steps = [Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"b", rsv=rsv)]
        yield Case("reserved", f"rsv-{rsv:03b}-continuation", "5.2", steps, fails=(1002,))
    for opcode in (*range(3, 8), *range(11, 16)):
        for name, frame in (
            ("", Frame(opcode, b"?")),
            ("-empty", Frame(opcode)),
            ("-fragment", Frame(opcode, b"?", fin=False)),
        ):
            yield Case("reserved", f"opcode-{opcode}{name}", "5.2", [frame], fails=(1002,))
        steps = [Frame(TEXT, b"a", fin=False), Frame(opcode, b"?"), Frame(CONTINUATION, b"b")]
        yield Case("reserved", f"opcode-{opcode}-amid-a-message", "5.2", steps, fails=(1002,))
    for name, step in (("rsv", Frame(TEXT, b"bits", rsv=2)), ("opcode", Frame(5, b"?"))):
        for cut in ("bytes", (1,)):
            cuts = cut if cut == "bytes" else "cut-1"
            yield Case("reserved", f"{name}-{cuts}", "5.2", [step], fails=(1002,), cut=cut)
        yield Case(
            "reserved",
            f"{name}-after-a-message",
            "5.2",
            [HELLO, step],
            [(TEXT, b"hello")],
            fails=(1002,),
        )


def fragments(opcode, pieces, between=(), rsv=0):
    """The pieces as one message, with the frames of `between` before each continuation."""
    frames = []
    for index, piece in enumerate(pieces):
        if index:
            frames += between
        last = index == len(pieces) - 1
        frames.append(
            Frame(CONTINUATION if index else opcode, piece, fin=last, rsv=0 if index else rsv)
        )
    return frames


def fragmentation():
    for opcode in (TEXT, BINARY):
        kind = NAMES[opcode]
        for name, pieces in (
            ("two", [b"frag", b"ment"]),
            ("first-empty", [b"", b"ment"]),
            ("last-empty", [b"frag", b""]),
            ("all-empty", [b"", b"", b""]),
            ("middle-empty", [b"frag", b"", b"ment"]),
            ("100-of-one-byte", [b"%d" % (index % 10) for index in range(100)]),
            ("lengths-at-limits", [content(opcode, n) for n in (125, 126, 127, 65535, 65536)]),
        ):
            message = [(opcode, b"".join(pieces))]
            yield Case("fragmentation", f"{kind}-{name}", "5.4", fragments(opcode, pieces), message)
            if sum(map(len, pieces)) < 1000:
                yield Case(
                    "fragmentation",
                    f"{kind}-{name}-in-one-write",
                    "5.4",
                    fragments(opcode, pieces),
                    message,
                    cut="whole",
                )
                yield Case(
                    "fragmentation",
                    f"{kind}-{name}-bytewise",
                    "5.4",
                    fragments(opcode, pieces),
                    message,
                    cut="bytes",
                )
        three = [b"one", b"two", b"three"]
        message = [(opcode, b"onetwothree")]
        ping, pong = Frame(PING, b"between"), Frame(PONG, b"between")
        for cut in ("frames", "whole", "bytes"):
            yield Case(
                "fragmentation",
                f"{kind}-pings-between-{cut}",
                "5.4",
                fragments(opcode, three, [ping]),
                message,
                [b"between"] * 2,
                cut=cut,
            )
            yield Case(
                "fragmentation",
                f"{kind}-pongs-between-{cut}",
                "5.4",
                fragments(opcode, three, [pong]),
                message,
                cut=cut,
            )
        empty = Frame(PING, b"")
        yield Case(
            "fragmentation",
            f"{kind}-many-controls-between",
            "5.4",
            fragments(opcode, three, [ping, pong, empty]),
            message,
            [b"between", b""] * 2,
        )
        open_ = Frame(opcode, b"open", fin=False)
        for name, steps in (
            ("text-amid", [open_, Frame(TEXT, b"new")]),
            ("binary-amid", [open_, Frame(BINARY, b"new")]),
            ("fragment-amid", [open_, Frame(opcode, b"new", fin=False)]),
            ("text-after-ping-amid", [open_, Frame(PING, b"p"), Frame(TEXT, b"new")]),
            ("two-starts-then-end", [open_, open_, Frame(CONTINUATION, b"end")]),
        ):
            pongs = [b"p"] if "ping" in name else []
            yield Case("fragmentation", f"{kind}-{name}", "5.4", steps, pongs=pongs, fails=(1002,))
        yield Case("fragmentation", f"{kind}-close-amid", "5.4", [open_, BYE])
    for fin in (True, False):
        frame = Frame(CONTINUATION, b"of nothing", fin=fin)
        end = "last" if fin else "more"
        yield Case("fragmentation", f"continuation-of-nothing-{end}", "5.4", [frame], fails=(1002,))
        yield Case(
            "fragmentation",
            f"continuation-after-a-message-{end}",
            "5.4",
            [HELLO, frame],
            [(TEXT, b"hello")],
            fails=(1002,),
        )
        done = fragments(TEXT, [b"a", b"b"])
        yield Case(
            "fragmentation",
            f"continuation-after-the-last-{end}",
            "5.4",
            [*done, frame],
            [(TEXT, b"ab")],
            fails=(1002,),
        )
    two = [*fragments(TEXT, [b"a", b"b"]), *fragments(BINARY, [b"c", b"d"])]
    yield Case("fragmentation", "two-messages", "5.4", two, [(TEXT, b"ab"), (BINARY, b"cd")])


GOOD = {
    "ascii": "plain",
    "two-bytes": "κόσμε",
    "three-bytes": "漢字",
    "four-bytes": "🌍𐍈",
    "nul": "\0",
    "u+7f": "\x7f",
    "u+80": "\x80",
    "u+7ff": "\u07ff",
    "u+800": "\u0800",
    "u+d7ff": "\ud7ff",
    "u+e000": "\ue000",
    "u+fffe": "\ufffe",
    "u+ffff": "\uffff",
    "u+10000": "\U00010000",
    "u+10ffff": "\U0010ffff",
    "bom": "\ufeffx",
}
BAD = {
    "lone-continuation": b"\x80",
    "two-continuations": b"\x80\xbf",
    "start-without-rest": b"\xc3",
    "cut-three": b"\xe2\x82",
    "cut-four": b"\xf0\x9f\x8c",
    "overlong-two": b"\xc0\xaf",
    "overlong-nul": b"\xc0\x80",
    "overlong-three": b"\xe0\x80\xaf",
    "overlong-four": b"\xf0\x80\x80\xaf",
    "overlong-limit": b"\xc1\xbf",
    "surrogate-low": b"\xed\xa0\x80",
    "surrogate-high": b"\xed\xbf\xbf",
    "surrogate-pair": b"\xed\xa0\x80\xed\xb0\x80",
    "above-10ffff": b"\xf4\x90\x80\x80",
    "five-bytes": b"\xf8\x88\x80\x80\x80",
    "six-bytes": b"\xfc\x84\x80\x80\x80\x80",
    "fe": b"\xfe",
    "ff": b"\xff",
    "latin-1": "grün".encode("latin-1"),
    "bad-amid-good": "κόσμε".encode() + b"\xed\xa0\x80" + b"edited",
    "start-twice": b"\xc3\xc3\xa4",
    "wrong-rest": b"\xe2\x28\xa1",
}


def utf8():
    for name, good in GOOD.items():
        raw = good.encode()
        yield Case("utf-8", f"good-{name}", "8.1", [Frame(TEXT, raw)], [(TEXT, raw)])
        if len(raw) > 1:
            pieces = [raw[index : index + 1] for index in range(len(raw))]
            yield Case(
                "utf-8",
                f"good-{name}-cut-by-fragments",
                "5.6",
                fragments(TEXT, pieces),
                [(TEXT, raw)],
            )
    for name, bad in BAD.items():
        yield Case("utf-8", f"bad-{name}", "8.1", [Frame(TEXT, bad)], fails=(1007,))
        yield Case("utf-8", f"bad-{name}-as-binary", "5.6", [Frame(BINARY, bad)], [(BINARY, bad)])
    for name in ("cut-three", "surrogate-low", "overlong-two", "ff", "above-10ffff"):
        bad = BAD[name]
        steps = fragments(TEXT, [b"good", bad, b"good"])
        yield Case("utf-8", f"bad-{name}-amid-fragments", "8.1", steps, fails=(1007,))
        steps = fragments(TEXT, [bad[:1], bad[1:]])
        yield Case("utf-8", f"bad-{name}-cut-by-fragments", "8.1", steps, fails=(1007,))
    steps = [HELLO, Frame(TEXT, b"\xff")]
    yield Case("utf-8", "bad-after-a-message", "8.1", steps, [(TEXT, b"hello")], fails=(1007,))


VALID_CODES = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


def close():
    def one(name, payload, section="5.5.1", **more):
        return Case("close", name, section, [Frame(CLOSE, payload)], **more)

    yield one("empty", b"")
    yield one("one-byte", b"\x03", fails=(1002,))
    for code in VALID_CODES:
        yield one(f"code-{code}", close_payload(code), "7.4")
        yield one(f"code-{code}-reason", close_payload(code, "weil ø".encode()), "7.4")
    for code in INVALID_CODES:
        yield one(f"code-{code}", close_payload(code), "7.4", fails=(1002,))
        yield one(f"code-{code}-reason", close_payload(code, b"because"), "7.4", fails=(1002,))
    for length in (1, 122, 123):
        yield one(f"reason-of-{length}", close_payload(1000, text(length)))
    for name in ("ff", "cut-three", "surrogate-low"):
        yield one(f"reason-bad-{name}", close_payload(1000, BAD[name]), "8.1", fails=(1007, 1002))
    yield one("bytewise", close_payload(1000, b"slowly"), cut="bytes")
    for at in range(1, 9):
        yield one(f"cut-{at}", close_payload(3001, b"slowly"), cut=(at,))
    hello = [(TEXT, b"hello")]
    yield Case(
        "close", "after-a-message", "5.5.1", [HELLO, Frame(CLOSE, close_payload(4001))], hello
    )
    for name, after in (
        ("text", HELLO),
        ("ping", Frame(PING, b"?")),
        ("close", BYE),
        ("garbage", b"\xff" * 20),
        ("half-a-frame", HELLO.bytes()[:4]),
    ):
        for cut in ("frames", "whole"):
            how = "-in-one-write" if cut == "whole" else ""
            yield Case("close", f"{name}-after-close{how}", "5.5.1", [BYE, after], cut=cut)
    open_ = Frame(TEXT, b"never ends", fin=False)
    yield Case(
        "close", "amid-a-message", "5.4", [open_, Frame(CLOSE, close_payload(1001, b"gone"))]
    )
    for name, steps, answers in (
        ("fin-without-close", [HELLO, FIN], hello),
        ("fin-at-once", [FIN], []),
        ("fin-amid-a-head", [HELLO.bytes()[:1], FIN], []),
        ("fin-amid-a-mask", [HELLO.bytes()[:4], FIN], []),
        ("fin-amid-a-payload", [HELLO.bytes()[:-1], FIN], []),
        ("fin-amid-a-message", [open_, FIN], []),
        ("fin-amid-a-close", [BYE.bytes()[:-1], FIN], []),
        ("fin-after-close", [BYE, FIN], []),
        ("reset", [HELLO, RESET], hello),
        ("reset-amid-a-frame", [HELLO, HELLO.bytes()[:-1], RESET], hello),
    ):
        yield Case("close", name, "7.1.5", steps, answers, abrupt="fin-after" not in name)


def limits():
    yield Case("limits", "16-MiB", "10.4", [Frame(BINARY, noise(LIMIT))], [(BINARY, noise(LIMIT))])
    yield Case("limits", "16-MiB-text", "10.4", [Frame(TEXT, b"x" * LIMIT)], [(TEXT, b"x" * LIMIT)])
    pieces = [noise(4 * MIB, seed) for seed in range(4)]
    yield Case(
        "limits",
        "16-MiB-in-fragments",
        "10.4",
        fragments(BINARY, pieces),
        [(BINARY, b"".join(pieces))],
    )
    for length in (LIMIT + 1, 2**31, 2**32, 2**53, 2**63 - 1):
        frame = Frame(BINARY, b"a beginning", length=length)
        yield Case("limits", f"frame-of-{length}", "10.4", [frame], fails=(1009,))
    for length in (LIMIT + 1, 2**32):
        frame = Frame(TEXT, b"", length=length)
        yield Case(
            "limits", f"head-of-{length}-bytewise", "10.4", [frame], fails=(1009,), cut="bytes"
        )
        steps = [Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"", length=length)]
        yield Case("limits", f"continuation-of-{length}", "10.4", steps, fails=(1009,))
    for length in (2**63, 2**64 - 1):
        frame = Frame(BINARY, b"a beginning", length=length)
        yield Case("limits", f"frame-of-{length}", "5.2", [frame], fails=(1002, 1009))
    over = fragments(BINARY, [noise(4 * MIB, seed) for seed in range(4)] + [b"one more"])
    yield Case("limits", "message-above-16-MiB-in-fragments", "10.4", over, fails=(1009,))


def deflated(pieces, **how):
    """The messages of one client, compressed in one context, as frames."""
    client = Deflate(**how)
    return [Frame(opcode, client.message(payload), rsv=4) for opcode, payload in pieces]


def deflate():
    def one(name, steps, echo=(), section="7692 7.2", offer=COMPRESSED, **more):
        return Case("deflate", name, section, list(steps), list(echo), offer=offer, **more)

    hello = [(TEXT, b"hello")]
    for name, offer in (
        ("plain", "permessage-deflate"),
        ("client-bits", COMPRESSED),
        ("client-bits-15", "permessage-deflate; client_max_window_bits=15"),
        ("client-bits-10", "permessage-deflate; client_max_window_bits=10"),
        ("server-bits-10", "permessage-deflate; server_max_window_bits=10"),
        ("server-bits-15", "permessage-deflate; server_max_window_bits=15"),
        ("no-server-context", "permessage-deflate; server_no_context_takeover"),
        ("no-client-context", "permessage-deflate; client_no_context_takeover"),
        (
            "no-context",
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        ),
        ("two-offers", "permessage-deflate; server_max_window_bits=9, permessage-deflate"),
        ("quoted", 'permessage-deflate; client_max_window_bits="12"'),
        ("unknown-too", "x-webkit-deflate-frame, permessage-deflate"),
        ("unknown", "x-webkit-deflate-frame"),
        ("case", "permessage-deflate;client_max_window_bits"),
        ("bits-7", "permessage-deflate; server_max_window_bits=7"),
        ("bits-16", "permessage-deflate; server_max_window_bits=16"),
        ("bad-parameter", "permessage-deflate; nonsense"),
        (
            "twice-the-same",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        ),
        ("malformed", "permessage-deflate; ="),
    ):
        # Uncompressed messages are right whatever was agreed on.
        yield one(f"offer-{name}", [HELLO], hello, "7692 7.1", offer, request={"may_refuse": True})
    for opcode in (TEXT, BINARY):
        for length in (0, 1, 125, 126, 127, 4096, 65535, 65536, MIB):
            message = (opcode, content(opcode, length))
            yield one(f"{NAMES[opcode]}-{length}", deflated([message]), [message])
    for length in (0, 1, 126, 3000):
        message = (TEXT, text(length))
        yield one(f"text-{length}-bytewise", deflated([message]), [message], cut="bytes")
    for level in (0, 1, 9):
        message = (TEXT, b"again and again, " * 500)
        yield one(f"level-{level}", deflated([message], level=level), [message])
    for name, strategy in (
        ("fixed", zlib.Z_FIXED),
        ("huffman", zlib.Z_HUFFMAN_ONLY),
        ("rle", zlib.Z_RLE),
    ):
        message = (TEXT, b"aaaaabbbbb, " * 500)
        yield one(f"strategy-{name}", deflated([message], strategy=strategy), [message])
    for bits in range(9, 16):
        message = (TEXT, text(3000) * 10)
        offer = COMPRESSED if bits <= 12 else "permessage-deflate"
        frames = deflated([message], bits=bits)
        yield one(f"window-{bits}", frames, [message], "7692 7.1.2.2", offer)
    for count in (2, 10, 50):
        messages = [(TEXT, b"takeover of context")] * count
        yield one(f"context-{count}", deflated(messages), messages, "7692 7.2.3.2")
        yield one(
            f"context-{count}-in-one-write",
            deflated(messages),
            messages,
            "7692 7.2.3.2",
            cut="whole",
        )
    mixed = [deflated([(TEXT, b"compressed")])[0], Frame(TEXT, b"bare"), Frame(BINARY, noise(300))]
    echo = [(TEXT, b"compressed"), (TEXT, b"bare"), (BINARY, noise(300))]
    yield one("uncompressed-between", mixed, echo, "7692 6")
    for count in (2, 3, 20):
        raw = Deflate().message(text(2000))
        size = -(-len(raw) // count)
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        message = [(TEXT, text(2000))]
        yield one(f"{count}-fragments", fragments(TEXT, pieces, rsv=4), message, "7692 6.1")
        ping = Frame(PING, b"bare")
        yield one(
            f"{count}-fragments-pings-between",
            fragments(TEXT, pieces, [ping], rsv=4),
            message,
            "7692 6.1",
            pongs=[b"bare"] * (len(pieces) - 1),
        )
    raw = Deflate().message(b"an empty first and last")
    yield one(
        "empty-fragments",
        fragments(BINARY, [b"", raw, b""], rsv=4),
        [(BINARY, b"an empty first and last")],
        "7692 6.1",
    )
    yield one("no-block-at-all", [Frame(TEXT, b"\x00", rsv=4)], [(TEXT, b"")], "7692 7.2.3.6")
    two = zlib.compressobj(6, zlib.DEFLATED, -15)
    raw = (
        two.compress(b"two ")
        + two.flush(zlib.Z_FULL_FLUSH)
        + two.compress(b"blocks")
        + two.flush(zlib.Z_SYNC_FLUSH)
    )
    yield one("two-blocks", [Frame(TEXT, raw[:-4], rsv=4)], [(TEXT, b"two blocks")], "7692 7.2.3.5")
    stored = b"\x00\x05\x00\xfa\xffHello\x00"
    yield one("stored-of-the-rfc", [Frame(TEXT, stored, rsv=4)], [(TEXT, b"Hello")], "7692 7.2.3.3")
    rfc = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
    yield one("hello-of-the-rfc", [Frame(TEXT, rfc, rsv=4)], [(TEXT, b"Hello")], "7692 7.2.3.1")
    takeover = [Frame(TEXT, rfc, rsv=4), Frame(TEXT, b"\xf2\x00\x11\x00\x00", rsv=4)]
    yield one("takeover-of-the-rfc", takeover, [(TEXT, b"Hello")] * 2, "7692 7.2.3.2")
    for rsv in (1, 2, 3, 5, 6, 7):
        yield one(f"rsv-{rsv:03b}", [Frame(TEXT, rfc, rsv=rsv)], fails=(1002,), section="6455 5.2")
    for opcode in (PING, PONG, CLOSE):
        payload = close_payload(1000) if opcode == CLOSE else b"bits"
        yield one(
            f"rsv1-{NAMES[opcode]}",
            [Frame(opcode, payload, rsv=4)],
            fails=(1002,),
            section="7692 6.1",
        )
    steps = [Frame(TEXT, rfc[:3], fin=False, rsv=4), Frame(CONTINUATION, rfc[3:], rsv=4)]
    yield one("rsv1-continuation", steps, fails=(1002,), section="7692 6.1")
    steps = [Frame(TEXT, b"a", fin=False), Frame(CONTINUATION, b"b", rsv=4)]
    yield one("rsv1-only-on-continuation", steps, fails=(1002,), section="7692 6.1")
    for name, bad in (
        ("garbage", b"\xff" * 30),
        ("bad-block-type", b"\x06\x00"),
        ("bad-distance", b"\x03\x42\x00\x10"),
    ):
        yield one(f"undecodable-{name}", [Frame(TEXT, bad, rsv=4)], fails=(1002, 1003, 1007, 1011))
    yield one("bad-utf-8", deflated([(TEXT, b"\xff\xfe")]), fails=(1007,), section="6455 8.1")
    bomb = deflated([(BINARY, bytes(LIMIT + 1))])
    yield one("message-above-16-MiB", bomb, fails=(1009,), section="6455 10.4")
    big = [(TEXT, b"z" * LIMIT)]
    yield one("16-MiB", deflated(big), big, "6455 10.4")
    yield one(
        "after-uncompressed-ping",
        [Frame(PING, b"p"), Frame(TEXT, rfc, rsv=4)],
        [(TEXT, b"Hello")],
        pongs=[b"p"],
    )


def server():
    """What the server begins."""

    def ask(name, command, echo, section, **more):
        return Case("server", name, section, [Frame(TEXT, command)], echo, **more)

    for offer, kind in (("", ""), (COMPRESSED, "-compressed")):
        for length in (0, 1, 125, 126, 127, 65535, 65536, MIB, LIMIT):
            payload = (b"longwire" * (length // 8 + 1))[:length]
            yield ask(
                f"sends-{length}{kind}",
                b"!send %d" % length,
                [(BINARY, payload)],
                "5.2",
                offer=offer,
            )
        for count in (2, 3, 20):
            words = [b"word%d" % number for number in range(count)]
            command = b"!fragments " + b" ".join(words)
            yield ask(
                f"sends-{count}-fragments{kind}",
                command,
                [(TEXT, b"".join(words))],
                "5.4",
                offer=offer,
            )
        for payload in (b"x", b"a longer one", b"y" * 120):
            command = b"!ping " + payload
            yield ask(
                f"pings-{len(payload)}{kind}",
                command,
                [(TEXT, b"pong " + payload)],
                "5.5.2",
                offer=offer,
            )
    for code in (1000, 1001, 1003, 1008, 1011, 3000, 4999):
        steps = [Frame(TEXT, b"!close %d" % code)]
        yield Case("server", f"closes-{code}", "7.1.2", steps, server_ends=True)
        steps = [Frame(TEXT, f"!close {code} darum ø".encode())]
        yield Case("server", f"closes-{code}-reason", "7.1.6", steps, server_ends=True)
    yield Case("server", "closes-empty", "7.1.5", [Frame(TEXT, b"!close")], server_ends=True)
    steps = [Frame(TEXT, b"!close 4000 first"), SERVER_CLOSE, HELLO]
    yield Case("server", "closes-text-after", "5.5.1", steps, server_ends=True)
    steps = [Frame(TEXT, b"!close 4000 first"), SERVER_CLOSE, Frame(CLOSE, close_payload(4001))]
    yield Case("server", "closes-other-code-back", "7.1.5", steps, server_ends=True)
    yield Case("server", "cuts", "7.1.5", [Frame(TEXT, b"!die")], abrupt=True, server_ends=True)
    steps = [Frame(TEXT, b"open", fin=False), Frame(PING, b"p"), FIN]
    yield Case("server", "sees-fin-amid-a-message", "7.1.5", steps, pongs=[b"p"], abrupt=True)


def bare(*steps):
    """The same as a server sends it."""
    return [replace(step, mask=None) if isinstance(step, Frame) else step for step in steps]


def upstream():
    """What a server may send that no server library would: the client decides (scripted.py)."""

    def one(name, steps, messages=(), section="5.2", **more):
        return Case("upstream", name, section, list(steps), list(messages), **more)

    hello = [(TEXT, b"hello")]
    for opcode in (TEXT, BINARY):
        for length in (0, 1, 125, 126, 127, 65535, 65536, MIB):
            frame = Frame(opcode, content(opcode, length))
            yield one(f"{NAMES[opcode]}-{length}", bare(frame), [(opcode, frame.payload)])
    for at in range(1, 12):
        message = (BINARY, noise(65536))
        yield one(f"binary-65536-cut-{at}", bare(Frame(*message)), [message], cut=(at,))
    for cut in ("whole", "frames", (1,), (3,)):
        name = cut if isinstance(cut, str) else f"cut-{cut[0]}"
        yield one(f"early-{name}", bare(HELLO, HELLO), hello * 2, "4.2.2", cut=cut, early=True)
    pieces = [b"one", b"", b"three"]
    ping = Frame(PING, b"between")
    for cut in ("whole", "frames", "bytes"):
        yield one(
            f"fragments-pings-between-{cut}",
            bare(*fragments(TEXT, pieces, [ping])),
            [(TEXT, b"onethree")],
            "5.4",
            pongs=[b"between"] * 2,
            cut=cut,
        )
    for length in (0, 1, 125):
        yield one(
            f"ping-{length}",
            bare(Frame(PING, noise(length))),
            section="5.5.2",
            pongs=[noise(length)],
        )
        yield one(f"pong-{length}", bare(Frame(PONG, noise(length)), HELLO), hello, "5.5.3")
    for opcode in (TEXT, PING, CLOSE):
        payload = close_payload(1000) if opcode == CLOSE else b"masked"
        yield one(f"masked-{NAMES[opcode]}", [Frame(opcode, payload)], section="5.1", fails=(1002,))
    yield one("masked-after-a-message", [*bare(HELLO), HELLO], hello, "5.1", fails=(1002,))
    for rsv in range(1, 8):
        yield one(f"rsv-{rsv:03b}", bare(Frame(TEXT, b"bits", rsv=rsv)), fails=(1002,))
    for opcode in (*range(3, 8), *range(11, 16)):
        yield one(f"opcode-{opcode}", bare(Frame(opcode, b"?")), fails=(1002,))
    open_ = Frame(TEXT, b"open", fin=False)
    for name, steps in (
        ("continuation-of-nothing", [Frame(CONTINUATION, b"?")]),
        ("text-amid-a-message", [open_, HELLO]),
        ("ping-of-126", [Frame(PING, noise(126))]),
        ("ping-fragmented", [Frame(PING, b"", fin=False)]),
        ("close-of-one-byte", [Frame(CLOSE, b"\x03")]),
    ):
        yield one(name, bare(*steps), section="5.4", fails=(1002,))
    for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
        yield one(
            f"close-{code}", bare(Frame(CLOSE, close_payload(code))), section="7.4", fails=(1002,)
        )
    for code in (1000, 1001, 1011, 3000, 4999):
        yield one(f"close-{code}", bare(Frame(CLOSE, close_payload(code, b"so"))), section="7.4")
    yield one("close-empty", bare(Frame(CLOSE)), section="5.5.1")
    yield one("text-after-close", bare(BYE, HELLO), section="5.5.1", cut="whole")
    for length in (LIMIT + 1, 2**32, 2**63 - 1):
        frame = Frame(BINARY, b"a beginning", length=length)
        yield one(f"frame-of-{length}", bare(frame), section="10.4", fails=(1009,))
    rfc = b"\xf2\x48\xcd\xc9\xc9\x07\x00"
    offer = "permessage-deflate"
    yield one(
        "compressed", bare(Frame(TEXT, rfc, rsv=4)), [(TEXT, b"Hello")], "7692 7.2.3.1", offer=offer
    )
    pieces = fragments(TEXT, [rfc[:3], rfc[3:]], [ping], rsv=4)
    more = {"offer": offer, "pongs": [b"between"]}
    yield one("compressed-fragments", bare(*pieces), [(TEXT, b"Hello")], "7692 7.2.3.1", **more)
    yield one("compressed-rsv-110", bare(Frame(TEXT, rfc, rsv=6)), offer=offer, fails=(1002,))
    yield one(
        "compressed-ping",
        bare(Frame(PING, b"p", rsv=4)),
        section="7692 6.1",
        offer=offer,
        fails=(1002,),
    )
    for name, steps in (
        ("end-without-close", [HELLO, FIN]),
        ("end-amid-a-head", [HELLO, replace(HELLO, mask=None).bytes()[:1], FIN]),
        ("end-amid-a-payload", [HELLO, replace(HELLO, mask=None).bytes()[:-1], FIN]),
        ("end-amid-a-message", [HELLO, open_, FIN]),
    ):
        yield one(name, bare(*steps), hello, "7.1.5", abrupt=True)


def handshake():
    """`request` says what is other: fields (None removes one), method, version, target."""
    hello = [(TEXT, b"hello")]

    def good(name, section="4.2.1", **request):
        return Case("handshake", name, section, [HELLO], hello, request=request)

    def bad(name, section="4.2.1", lenient=None, **request):
        return Case(
            "handshake",
            name,
            section,
            [HELLO],
            hello,
            request={"refused": True, **request},
            lenient=lenient,
        )

    for value in ("WebSocket", "WEBSOCKET", "webSocket"):
        yield good(f"upgrade-{value}", fields={"Upgrade": value})
    for name, value in (
        ("lower", "upgrade"),
        ("upper", "UPGRADE"),
        ("list", "keep-alive, Upgrade"),
        ("list-first", "Upgrade, keep-alive"),
        ("tight-list", "keep-alive,upgrade"),
    ):
        yield good(f"connection-{name}", fields={"Connection": value})
    yield good("lower-case-fields", lower=True)
    yield good("subprotocol", "4.2.2", fields={"Sec-WebSocket-Protocol": "only"})
    yield good("subprotocols", "4.2.2", fields={"Sec-WebSocket-Protocol": "first, second"})
    yield good(
        "subprotocols-twice", "11.3.4", fields={"Sec-WebSocket-Protocol": ["first", "second"]}
    )
    yield good("cookie", "4.1", fields={"Cookie": "a=b; c=d", "Authorization": "Bearer x"})
    yield good("same-origin", "10.2", same_origin=True)
    yield good("content-length-0", "4.1", fields={"Content-Length": "0"})
    for name, change in (
        ("no-key", {"Sec-WebSocket-Key": None}),
        ("short-key", {"Sec-WebSocket-Key": "dG9vIHNob3J0"}),
        ("key-not-base64", {"Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!!!"}),
        ("empty-key", {"Sec-WebSocket-Key": ""}),
        ("no-version", {"Sec-WebSocket-Version": None}),
        ("version-12", {"Sec-WebSocket-Version": "12"}),
        ("version-14", {"Sec-WebSocket-Version": "14"}),
        ("version-text", {"Sec-WebSocket-Version": "thirteen"}),
        ("two-versions", {"Sec-WebSocket-Version": "13, 8"}),
    ):
        yield bad(name, fields=change, lenient="6455 4.2.1")
    two = ["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="]
    yield bad("two-keys", "11.3.1", fields={"Sec-WebSocket-Key": two}, lenient="6455 11.3.1")
    yield bad("post", method="POST", fields={"Content-Length": "0"}, lenient="6455 4.1")
    yield bad("http-1.0", version="HTTP/1.0", lenient="9110 7.8 (Upgrade in HTTP/1.0 is ignored)")
    yield bad(
        "foreign-origin", "10.2", fields={"Origin": "http://elsewhere.example"}, lenient="6455 10.2"
    )
    yield bad("null-origin", "10.2", fields={"Origin": "null"}, lenient="6455 10.2")
    yield bad("no-upgrade", fields={"Upgrade": None}, lenient="6455 4.2.1")
    yield bad("other-upgrade", fields={"Upgrade": "h2c"}, lenient="6455 4.2.1")
    yield bad("no-connection", fields={"Connection": None}, lenient="6455 4.2.1")
    yield bad(
        "connection-without-upgrade", fields={"Connection": "keep-alive"}, lenient="6455 4.2.1"
    )
    for name, steps, cut in (
        ("early-frame", [HELLO], "frames"),
        ("early-half-a-frame", [HELLO], (3,)),
        ("early-fragments", fragments(TEXT, [b"he", b"llo"]), "whole"),
        ("early-large-frame", [Frame(BINARY, noise(100_000))], "frames"),
        ("early-frames", [HELLO] * 10, "whole"),
    ):
        payload = (
            [(BINARY, noise(100_000))]
            if "large" in name
            else hello * (10 if name.endswith("frames") else 1)
        )
        yield Case("handshake", name, "4.1", steps, payload, cut=cut, early=True)
    yield Case(
        "handshake",
        "early-violation",
        "5.1",
        [Frame(TEXT, b"bare", mask=None)],
        fails=(1002,),
        early=True,
    )
