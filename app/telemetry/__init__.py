"""Events and metrics. May import config."""
