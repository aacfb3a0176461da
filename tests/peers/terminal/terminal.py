"""Runs a program in a terminal of 80 columns, and does something to it once it is drawn.

    python3 terminal.py quit|resize|close|close-another's -- COMMAND...

quit: the key q. resize: the terminal grows to 180 columns; then q. close: the terminal's other end is
closed; with close-another's it is not the one that the program controls, so that no signal tells it.

A line of JSON: "status" of its exit, whether it "left" the other screen and whether the terminal's
"modes" are those of before, whether an id was on the screen "before" and "after" it grew, after how
many milliseconds it "ended_ms", and "cpu_ms", the CPU time that it took in all.
"""
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

DEADLINE = time.monotonic() + 20
DRAWN = b"streaming"
ID = b"ID"


class Terminal:
    """Its other end, and what was written into it."""

    def __init__(self, controlling, command):
        self.end, inner = pty.openpty()
        self.resize(24, 80)
        self.modes = termios.tcgetattr(inner)
        start = self.take if controlling else None
        self.process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner,
                                        start_new_session=True, preexec_fn=start)
        self.inner = inner
        self.seen = b""

    @staticmethod
    def take():
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text):
        """Reads until that was written."""
        while text not in self.seen:
            left = DEADLINE - time.monotonic()
            ready, _, _ = select.select([self.end], [], [], max(0, left))
            if not ready:
                sys.exit(f"{text!r} was not written, but {self.seen!r}")
            self.seen += os.read(self.end, 65536)

    def rest(self):
        """Exit status and CPU time in milliseconds, once it has ended; reads what it writes."""
        while True:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                # What it wrote last may not have been read.
                while self.end is not None and select.select([self.end], [], [], 0)[0]:
                    self.seen += os.read(self.end, 65536)
                cpu = (usage.ru_utime + usage.ru_stime) * 1000
                return os.waitstatus_to_exitcode(status), cpu
            if time.monotonic() > DEADLINE:
                self.process.kill()
                sys.exit("it does not end")
            if self.end is not None and select.select([self.end], [], [], 0.02)[0]:
                self.seen += os.read(self.end, 65536)
            elif self.end is None:
                time.sleep(0.02)


def main():
    what, dashes, *command = sys.argv[1:]
    assert dashes == "--", __doc__
    terminal = Terminal(what != "close-another's", command)
    terminal.until(DRAWN)
    told = {}
    if what == "resize":
        told["before"] = ID in terminal.seen
        terminal.seen = b""
        terminal.resize(24, 180)
        terminal.until(ID)
        told["after"] = True
    began = time.monotonic()
    if what.startswith("close"):
        # The other end is the last that holds it but for the program itself.
        os.close(terminal.inner)
        os.close(terminal.end)
        terminal.end = None
    else:
        os.write(terminal.end, b"q")
    status, cpu = terminal.rest()
    told |= {"status": status, "ended_ms": (time.monotonic() - began) * 1000, "cpu_ms": cpu}
    if terminal.end is not None:
        told["left"] = b"\x1b[?1049l" in terminal.seen and b"\x1b[?25h" in terminal.seen
        told["modes"] = termios.tcgetattr(terminal.inner) == terminal.modes
    print(json.dumps(told))


main()
