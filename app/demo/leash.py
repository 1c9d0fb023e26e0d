"""Keep a child process from outliving us, no matter how we die."""

import os
from pathlib import Path
from typing import Self

# A line tells the watcher that this is no death of ours. It then never kills a pid that was used again.
_WATCHED = 'exec 3<&0; (read -r _ <&3 || kill -9 $$) >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'


class Leash:
    """Holds a pipe open. When it closes without a word, the child that `on` started is killed.

    PR_SET_PDEATHSIG would be shorter, but only Linux has it, and it fires when the *thread* that forked ends.
    """

    def __init__(self) -> None:
        self.childs_end, self._our_end = os.pipe()

    def on(self, *command: str | Path) -> list[str]:
        """Return what to run instead, with `childs_end` as its stdin. Its process id is the command's own."""
        return ["/bin/sh", "-c", _WATCHED, "sh", *map(str, command)]

    def release(self) -> None:
        """Forget the child: it has ended, or is about to."""
        if self._our_end >= 0:
            os.write(self._our_end, b"\n")
            os.close(self._our_end)
            self._our_end = -1

    def __enter__(self) -> Self:
        """Start the child inside: only it may keep its end of the pipe."""
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.childs_end)
