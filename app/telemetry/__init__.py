"""Hold what the service says about itself: events, with one function for each, and counters.

No event holds anything of a CDR, or a secret. Counters are plain numbers; ops gives them to Prometheus.
May import config; nobody else imports structlog.
"""
