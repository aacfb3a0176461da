"""What a case is."""

from dataclasses import dataclass
from typing import Optional

TABLE = []


@dataclass
class Case:
    """One requirement of an RFC.

    `steps` are sent in turn. A step is bytes, or an async function of the connection, which may
    give the outcome itself. `settings` are the client's; `raw` is without preface and settings.
    """

    name: str
    rfc: str
    expected: object
    steps: tuple
    settings: tuple = ()
    raw: bool = False
    instead: Optional[tuple] = None  # what comes of it in truth, and why


def section(group, rfc):
    """Adds cases: `case(name, expected, *steps)`, of one section."""

    def case(name, expected, *steps, **more):
        TABLE.append(Case(f"{group}: {name}", rfc, expected, steps, **more))

    return case


def response(stream):
    """A step: reads a whole response."""

    async def read(connection):
        await connection.response(stream)

    return read


def until(kind, stream):
    """A step: reads up to a frame."""

    async def read(connection):
        while True:
            seen = await connection.read()
            if seen.kind == 1:
                connection.fields(seen)
            if (seen.kind, seen.stream) == (kind, stream):
                return

    return read
