"""All that knows Redis: clients, keys, the lease, scripts. May import config and telemetry."""
