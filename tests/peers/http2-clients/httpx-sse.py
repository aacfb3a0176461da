"""httpx, with HTTP/2, reads a stream of events from echo.py, each when it is sent.

    python httpx-sse.py PROXY_URL [--events 20]

Measures {"version", "events", "moments"}: at how many different moments events came.
"""

import sys
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import peer


def main(options):
    events, moments = [], []
    # Without HTTP/1.1 httpx speaks HTTP/2 without asking.
    with httpx.Client(http1=False, http2=True, trust_env=False) as client:
        url = f"{options.proxy_url}/sse?n={options.events}&gap_ms=50"
        with client.stream("GET", url) as response:
            peer.expect(response.status_code == 200, f"status {response.status_code}")
            for line in response.iter_lines():
                if line.startswith("data: "):
                    events.append(line[6:])
                    moments.append(time.monotonic())
    peer.expect(events == [str(n) for n in range(options.events)], f"events {events}")
    apart = [later - earlier > 0.01 for earlier, later in zip(moments, moments[1:])]
    return {"version": response.http_version, "events": len(events), "moments": 1 + sum(apart)}


if __name__ == "__main__":
    parser = peer.arguments(__doc__, "PROXY_URL")
    parser.add_argument("--events", type=int, default=20)
    peer.client(main, parser.parse_args())
