"""Fuzz both transports for as long as you like: `python -m tests.fuzz MINUTES`."""

import sys

from tests.fuzz.run import fuzz

minutes = float(sys.argv[1]) if sys.argv[1:] else 1.0
print(f"{fuzz(60 * minutes)} scenes in {minutes:g} minutes, and nothing found")
