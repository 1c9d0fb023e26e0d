"""What the log looks like on a terminal."""

import subprocess
import sys

TELL = """
from app.telemetry import events, log, stderr
log.configure("info", "console")
events.log.info("text.said", text="one\\x1b[2J\\ntwo")
stderr.flush(5)
"""


def test_text_of_others_steers_no_terminal() -> None:
    """An event is one line, without control characters; somebody else may have written what it tells."""
    said = subprocess.run([sys.executable, "-c", TELL], capture_output=True, check=True, text=True).stderr

    [line] = said.splitlines()
    assert "\x1b" not in line
    assert "one\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}two" in line
