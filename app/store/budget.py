"""Adapt how many bytes one command may carry each way."""


class Budget:
    """Halves with each lost reply, down to one CDR, and grows again with each answer.

    A claim of 20 MiB over 1 MiB/s would otherwise be lost, and asked for again, for ever.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.bytes = most

    def lost(self) -> None:
        self.bytes = max(1, self.bytes // 2)

    def answered(self) -> None:
        self.bytes = min(self._most, self.bytes + self.bytes // 4 + 1)
