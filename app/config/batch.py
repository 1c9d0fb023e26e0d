"""Define the variables of an endpoint's batches."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field

MIB: Final = 1024 * 1024

BatchFormat = Literal["envelope", "json", "ndjson"]


class BatchSettings(BaseModel):
    """Holds how many CDRs one POST carries, and how. A size of 1: each is a POST of its own bytes."""

    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 1
    batch_bytes: Annotated[int, Field(ge=1024, le=32 * MIB)] = MIB
    batch_linger: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 0.1
    """Seconds."""
    batch_format: BatchFormat = "envelope"

    @property
    def batches(self) -> bool:
        return self.batch_size > 1
