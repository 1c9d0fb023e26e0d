"""Run the real service as a child process, for the demo."""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from app.demo.leash import Leash
from app.errors import ForwarderError

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
LAST_WORDS = 20
LONGEST_LOG_LINE = 1024 * 1024


class Forwarder:
    """Runs the real service. `on_log` gets each of its log lines. If the service ends by itself, this raises."""

    def __init__(
        self,
        settings: dict[str, str],
        directory: Path,
        on_log: Callable[[str], None],
        tasks: asyncio.TaskGroup,
        python: str = sys.executable,
    ) -> None:
        self._command = (python, "-m", "app", "run")
        self._environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | settings
        self._environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
        self._directory = directory
        self._on_log = on_log
        self._tasks = tasks
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = False
        self._followed: asyncio.Task[None]

    async def start(self) -> None:
        leash = Leash()
        with leash:
            self._process = await asyncio.create_subprocess_exec(
                *leash.on(*self._command),
                stdin=leash.childs_end,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=LONGEST_LOG_LINE,
                cwd=self._directory,  # a .env file of whoever runs the demo is not the demo's
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches only us; we then stop the child
            )
        self._wanted = True
        self._followed = self._tasks.create_task(self._follow(self._process, leash))

    async def kill(self) -> None:
        """Kill it with SIGKILL: nothing of it runs any more, not even a handler."""
        self.force()
        await asyncio.wait([self._followed])

    async def stop(self, grace: float) -> None:
        if self._process:
            self._wanted = False
            with suppress(ProcessLookupError):
                self._process.terminate()
            await asyncio.wait([self._followed], timeout=grace)
            self.force()
            await self._process.wait()

    def force(self) -> None:
        self._wanted = False
        if self._process:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _follow(self, process: asyncio.subprocess.Process, leash: Leash) -> None:
        output = cast("asyncio.StreamReader", process.stdout)
        last_words: list[str] = []
        try:
            while line := await output.readline():
                last_words = [*last_words[1 - LAST_WORDS :], line.decode(errors="replace").rstrip()]
                self._on_log(last_words[-1])
            status = await process.wait()
        finally:
            leash.release()
        if self._wanted:
            said = "\n".join(last_words)
            raise ForwarderError(f"The forwarder ended by itself, with exit status {status}. It said:\n{said}")
