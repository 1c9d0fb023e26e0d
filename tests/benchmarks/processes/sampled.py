"""`python -m app`, with a look every few milliseconds of CPU at what it is about.

Sampling leaves the costs as they are; a tracing profiler makes many small functions look dear. At the end it
writes the number of samples of each part, as JSON, to the file that it was given.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from app.cli.main import main

SECONDS = 0.002

HTTP, REDIS = "HTTP attempt", "Redis"
LANE = "lane: workers, claims, settlements"
LOOP = "event loop"

# The innermost frame that is in one of these decides. asyncio's streams are only used by redis-py.
PARTS = {
    "/app/delivery/gate.py": LANE,
    "/app/delivery/breaker.py": LANE,
    "/app/delivery/": HTTP,
    "/site-packages/aiohttp/": HTTP,
    "/site-packages/httpx/": HTTP,
    "/site-packages/httptools/": HTTP,
    "/app/store/": REDIS,
    "/site-packages/redis/": REDIS,
    "/asyncio/streams.py": REDIS,
    "/app/cli/main.py": LOOP,
    "/app/": LANE,
}


class Samples:
    """How often each part was met; `lines` say where exactly, in our own code."""

    def __init__(self) -> None:
        self.parts: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def clear(self, *_: object) -> None:
        self.parts.clear()
        self.lines.clear()

    def _sample(self, _: int, frame: FrameType | None) -> None:
        part = _part_of(frame)
        self.parts[part] += 1
        self.lines[f"{part}: {_place(frame)}"] += 1


def _part_of(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        for mark, part in PARTS.items():
            if mark in file:
                return part
        frame = frame.f_back
    return LOOP


def _place(frame: FrameType | None) -> str:
    if frame is None:
        return "?"
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split('/')[-2:])} {code.co_qualname}"


def run(result: Path) -> None:
    samples = Samples()
    signal.signal(signal.SIGUSR1, samples.clear)
    samples.start()
    try:
        main()
    finally:
        samples.stop()
        result.write_text(json.dumps({"parts": samples.parts, "places": samples.lines.most_common(40)}))


if __name__ == "__main__":
    run(Path(sys.argv.pop()))
