"""openai for Python reads a stream that breaks: it must raise.

    .venv/bin/python broken-stream/openai-python.py BASE_URL [--api chat|responses] [--whole]
                                                    [--deadline 30]

BASE_URL ends in /v1. Prints {"error":…,"message":…,"text":…}: the class and the words of what was
raised, and the text that had come by then. A stream that ends without an error is a failure.
With --whole it is the other way round: it must end without one, and {"text":…} is printed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer

try:
    import httpx
    import openai
except ImportError as missing:
    sys.exit(f"{missing}: run tests/peers/install and take the python of tests/peers/.venv")


def chat(client):
    """The text of a chat completion, piece by piece."""
    messages = [{"role": "user", "content": "Say hello."}]
    with client.chat.completions.create(model="demo", messages=messages, stream=True) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                yield choice.delta.content or ""


def responses(client):
    """The text of a response, piece by piece."""
    with client.responses.create(model="demo", input="Say hello.", stream=True) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                yield event.delta


def main(options):
    client = openai.OpenAI(
        base_url=options.base_url,
        api_key="none",
        max_retries=0,
        http_client=httpx.Client(trust_env=False),
    )
    return peer.read_to_its_end({"chat": chat, "responses": responses}[options.api](client), options.whole)


parser = peer.arguments(__doc__, "BASE_URL")
parser.add_argument("--api", choices=["chat", "responses"], default="chat")
parser.add_argument("--whole", action="store_true")
peer.client(main, parser.parse_args())
