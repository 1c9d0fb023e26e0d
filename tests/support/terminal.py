"""A command on a terminal of a given size, as a person sees it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from threading import Timer
from typing import Final

from tests.support.harness import DEADLINE, measured

STYLE: Final = re.compile(r"\r?\x1b\[[?0-9;]*[A-Za-z]")


def on_terminal(
    variables: Mapping[str, str], *arguments: str, columns: int = 80, rows: int = 24, typed: bytes = b""
) -> tuple[int, str]:
    """Run `python -m app` there until it ends; return its exit status, and what it printed, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", **measured(), **variables}
    command = [sys.executable, "-m", "app", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as child:
        os.close(theirs)
        os.write(ours, typed)
        deadline = Timer(DEADLINE, child.kill)
        deadline.start()
        printed = b"".join(iter(lambda: _read(ours), b""))
        status = child.wait()
        deadline.cancel()
    os.close(ours)
    return status, STYLE.sub("", printed.decode()).replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    with suppress(OSError):  # EIO: nobody holds the other side any more
        return os.read(terminal, 65536)
    return b""
