"""What /metrics says, as a dictionary."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Metrics = dict[tuple[str, ...], float]


async def metrics_of(http: httpx.AsyncClient) -> Metrics:
    """Return every sample by its name, without our prefix, and the values of its labels."""
    text = (await http.get("/metrics")).text
    return {
        (sample.name.removeprefix("cdr_forwarder_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
