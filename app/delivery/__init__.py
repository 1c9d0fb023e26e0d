"""Hold all that knows HTTP: one attempt, its verdict, and the gate that each attempt must pass.

Only this folder may import httpx. Of ours it may import telemetry and config.
A verdict says only what the endpoint has answered; what becomes of the CDR is decided in lane. The gate (breaker, hold,
rate limit) belongs to an endpoint, not to a lane.
"""
