"""anthropic for Python reads a stream that breaks: it must raise.

    .venv/bin/python broken-stream/anthropic-python.py BASE_URL [--api create|stream] [--whole]
                                                       [--deadline 30]

BASE_URL has no /v1; `stream` is the SDK's helper that gathers a message. Prints
{"error":…,"message":…,"text":…}: the class and the words of what was raised, and the text that had
come by then. A stream that ends without an error is a failure. With --whole it is the other way
round: the stream must end without an error, and {"text":…} is printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

try:
    import anthropic
    import httpx
except ImportError as missing:
    sys.exit(f"{missing}: run tests/peers/install and take the python of tests/peers/.venv")

QUESTION = {
    "model": "demo",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello."}],
}


def create(client):
    """The text of a message, piece by piece."""
    with client.messages.create(stream=True, **QUESTION) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                yield event.delta.text


def stream(client):
    """The same, by the helper, which is asked for the whole message in the end."""
    with client.messages.stream(**QUESTION) as stream:
        yield from stream.text_stream
        stream.get_final_message()


def main(options):
    client = anthropic.Anthropic(
        base_url=options.base_url,
        api_key="none",
        max_retries=0,
        http_client=httpx.Client(trust_env=False),
    )
    return peer.read_to_its_end({"create": create, "stream": stream}[options.api](client), options.whole)


parser = peer.arguments(__doc__, "BASE_URL")
parser.add_argument("--api", choices=["create", "stream"], default="create")
parser.add_argument("--whole", action="store_true")
peer.client(main, parser.parse_args())
