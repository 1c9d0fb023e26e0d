"""Hold all that knows HTTP: one attempt, its verdict, and the gate that each attempt must pass.

A verdict says only what the endpoint has answered; what becomes of the CDR is decided in lane. The gate (breaker, hold,
rate limit) belongs to an endpoint, not to a lane. May import telemetry and config; nobody else imports httpx.
"""
