"""How thoroughly to measure."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Scale:
    is_quick: bool

    def of(self, full: T, quick: T) -> T:
        return quick if self.is_quick else full


FULL = Scale(is_quick=False)
QUICK = Scale(is_quick=True)
