"""openai for Python streams a chat completion through the proxy.

It proves that the SDK reads a stream full of heartbeats as if there were none: each chunk has
choices, the pieces are the text of the answer that was asked for without streaming, they came one
by one, and the end is "stop".

    .venv/bin/python openai-stream/chat.py BASE_URL [--think-ms 1200] [--tokens 20] [--rate 20]
                                           [--expect-heartbeats] [--deadline 30]

BASE_URL ends in /v1. Prints {"chunks":…,"pieces":…,"comments":…,"first_ms":…,"span_ms":…}:
`comments` counts the comment lines in the very bytes that the SDK read, `first_ms` is the wait for
the first piece, `span_ms` the time from the first to the last.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer
from peer import expect

try:
    import httpx
    import openai
except ImportError as missing:
    sys.exit(f"{missing}: run tests/peers/install and take the python of tests/peers/.venv")


class Tap(httpx.SyncByteStream):
    """A body that keeps a copy of what was read from it."""

    def __init__(self, body, copy):
        self.body, self.copy = body, copy

    def __iter__(self):
        for chunk in self.body:
            self.copy.extend(chunk)
            yield chunk

    def close(self):
        self.body.close()


class TappedTransport(httpx.HTTPTransport):
    """httpx's own transport; `copy` holds the bytes of the last body."""

    def handle_request(self, request):
        response = super().handle_request(request)
        self.copy = bytearray()
        response.stream = Tap(response.stream, self.copy)
        return response


def main(options):
    transport = TappedTransport()
    client = openai.OpenAI(
        base_url=options.base_url,
        api_key="none",
        max_retries=0,
        http_client=httpx.Client(transport=transport, trust_env=False),
    )
    demo = {"think": f"{options.think_ms}ms", "tokens": options.tokens, "rate": options.rate}
    question = {
        "model": "demo",
        "messages": [{"role": "user", "content": "What does the proxy hold back?"}],
        "extra_body": {"longwire_demo": demo},
    }

    start = time.monotonic()
    chunks, pieces, finish_reasons = 0, [], []
    with client.chat.completions.create(stream=True, **question) as stream:
        for chunk in stream:
            chunks += 1
            expect(chunk.choices, f"chunk {chunks} has no choices: {chunk}")
            choice = chunk.choices[0]
            if choice.delta.content:
                pieces.append((choice.delta.content, time.monotonic() - start))
            if choice.finish_reason:
                finish_reasons.append(choice.finish_reason)
    wire = bytes(transport.copy)
    whole = client.chat.completions.create(**question).choices[0]

    text = "".join(piece for piece, _ in pieces)
    expect(text == whole.message.content, f"{text!r} is not {whole.message.content!r}")
    expect(finish_reasons == ["stop"], f"finish reasons: {finish_reasons}")
    expect(len(pieces) == options.tokens, f"{len(pieces)} pieces of {options.tokens} tokens")
    expect(wire.endswith(b"data: [DONE]\n\n"), f"the stream ends with {wire[-80:]!r}")

    first, last = pieces[0][1], pieces[-1][1]
    think, span = options.think_ms / 1000, (options.tokens - 1) / options.rate
    expect(first >= 0.9 * think, f"the first piece came after {first:.3f} s, not {think} s")
    expect(last - first >= span / 2, f"{span} s of pieces came within {last - first:.3f} s")

    # A blank line after a heartbeat is an empty event for an SDK that has seen an `id` before.
    events = sum(b"data:" in block for block in wire.split(b"\n\n"))
    blank = wire.split(b"\n")[:-1].count(b"")
    expect(blank == events, f"{blank} blank lines for {events} events")
    comments = sum(line.startswith(b":") for line in wire.split(b"\n"))
    expect(comments or not options.expect_heartbeats, "the stream had no comment line")
    return {
        "chunks": chunks,
        "pieces": len(pieces),
        "comments": comments,
        "first_ms": round(first * 1000),
        "span_ms": round((last - first) * 1000),
    }


parser = peer.arguments(__doc__, "BASE_URL")
parser.add_argument("--think-ms", type=int, default=1200)
parser.add_argument("--tokens", type=int, default=20)
parser.add_argument("--rate", type=int, default=20, help="tokens per second")
parser.add_argument("--expect-heartbeats", action="store_true")
peer.client(main, parser.parse_args())
