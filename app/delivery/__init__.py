"""All that knows HTTP: one attempt, its verdict, the transport, the gate. May import config and telemetry."""
